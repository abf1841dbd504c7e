"""A student trained by torchdistill: what edgekd is compared with. Run by an environment that has torchdistill, not edgekd.

    python torchdistill_student.py FOLDER/job.json                 trains all epochs
    python torchdistill_student.py FOLDER/job.json --interleaved   trains an epoch for each line `epoch` on stdin, ends on `end`

The folder holds `student.py` with `student.safetensors`, `teacher.py` with `teacher.safetensors`, and `train.npz` and
`test.npz` with `inputs` (N, 1, H, W) uint8 and `labels` (N,). Each answer on stdout is one JSON document a line; the last one
has `epoch_seconds`, `cpu_seconds` (of this process in the same spans), `loading_seconds` (the part of them spent waiting for
batches), `accuracy` and `versions`.

torchdistill is driven as its examples/torchvision/image_classification.py does: a DistillationBox configured by a dict (which is
what its YAML files load to), the teacher answering in every step, pictures varied one by one by torchvision in the DataLoader.
Two things are in its favour. The example's progress meters are left out. And the teacher is put into evaluation mode: the box
leaves it in whatever mode it comes in, where a freshly built one would normalise by its batches and cost more. Without a
teacher in the job, the student is trained by a TrainingBox.
"""

import argparse
import importlib.util
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import Dataset, RandomSampler, SequentialSampler
from torchdistill.common.main_util import set_seed
from torchdistill.core.distillation import get_distillation_box
from torchdistill.core.training import get_training_box
from torchvision import transforms

WARM_UP = 0.2
"""Share of the steps over which the rate rises, to `learning_rate` from a 25th of it, before it falls to a 10,000th: edgekd's."""
PACKAGES = ("torchdistill", "torch", "torchvision", "numpy")


@dataclass(frozen=True, kw_only=True)
class Network:
    """A function of `student.py` or `teacher.py` that returns the network, and what it is given."""

    function: str
    arguments: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Job:
    """`mean` and `std` are of pixels in 0 to 1; pictures move by up to `shift` pixels; `channels_last` is the memory layout."""

    student: Network
    teacher: Network | None
    mean: list[float]
    std: list[float]
    shift: int
    flip: bool
    batch_size: int
    epochs: int
    learning_rate: float
    momentum: float
    weight_decay: float
    nesterov: bool
    temperature: float
    distill_weight: float
    task_weight: float
    threads: int
    seed: int
    channels_last: bool


class Pictures(Dataset[Any]):
    """Grey pictures as torchvision's own FashionMNIST gives them: a PIL image through the transform, and the label."""

    def __init__(self, file: Path, transform: Any) -> None:
        with np.load(file, allow_pickle=False) as arrays:
            self.inputs, self.labels = arrays["inputs"][:, 0], arrays["labels"].astype(int)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(Image.fromarray(self.inputs[index])), int(self.labels[index])


def read_job(file: Path) -> Job:
    numbers = json.loads(file.read_text())
    networks = {name: Network(**numbers[name]) if numbers[name] else None for name in ("student", "teacher")}
    return Job(**{**numbers, **networks})


def load_network(folder: Path, name: str, network: Network, channels_last: bool) -> nn.Module:
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    loaded: nn.Module = getattr(module, network.function)(**network.arguments)
    loaded.load_state_dict(load_file(folder / f"{name}.safetensors"))
    return loaded.to(memory_format=torch.channels_last) if channels_last else loaded  # type: ignore[call-overload]


def datasets(job: Job, folder: Path) -> dict[str, Pictures]:
    plain = [transforms.ToTensor(), transforms.Normalize(job.mean, job.std)]
    train = Pictures(folder / "train.npz", None)
    # A padded picture cropped at a random place is one moved by up to `shift` pixels, zeros coming in from outside.
    varied = [transforms.RandomCrop(train.inputs.shape[1:], padding=job.shift)] if job.shift else []
    varied += [transforms.RandomHorizontalFlip(0.5)] if job.flip else []
    train.transform = transforms.Compose(varied + plain)
    return {"train": train, "test": Pictures(folder / "test.npz", transforms.Compose(plain))}


def training_config(job: Job, steps: int) -> dict[str, Any]:
    """What the `train` part of a torchdistill YAML file loads to."""
    loader = {"batch_size": job.batch_size, "num_workers": 0}
    sgd = {"lr": job.learning_rate, "momentum": job.momentum, "weight_decay": job.weight_decay, "nesterov": job.nesterov}
    rate = {
        "max_lr": job.learning_rate,
        "total_steps": steps,
        "pct_start": WARM_UP,
        "div_factor": 25,
        "final_div_factor": 400,
        "cycle_momentum": False,
    }
    networks = {"teacher": {"requires_grad": False}, "student": {}} if job.teacher else {"model": {}}
    return {
        "num_epochs": job.epochs,
        "train_data_loader": {
            "dataset_id": "train",
            "sampler": {"class_or_func": RandomSampler},
            "kwargs": {**loader, "drop_last": True},
        },
        "val_data_loader": {"dataset_id": "test", "sampler": {"class_or_func": SequentialSampler}, "kwargs": loader},
        **{name: {"forward_proc": "forward_batch_only", **config} for name, config in networks.items()},
        "optimizer": {"key": "SGD", "kwargs": sgd},
        "scheduler": {"key": "OneCycleLR", "kwargs": rate, "scheduling_step": 1},
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"loss": {**criterion(job), "weight": 1.0}}}},
    }


def criterion(job: Job) -> dict[str, Any]:
    """KDLoss is alpha · cross-entropy + beta · T² · KL: its alpha weighs the labels, not the teacher."""
    if job.teacher is None:
        source = {"input": {"is_from_teacher": False, "module_path": ".", "io": "output"}, "target": {"uses_label": True}}
        return {
            "criterion": {"key": "CrossEntropyLoss", "kwargs": {"reduction": "mean"}},
            "criterion_wrapper": {"key": "SimpleLossWrapper", "kwargs": source},
        }
    whole = {
        f"{side}_module_{what}": value for side in ("student", "teacher") for what, value in (("path", "."), ("io", "output"))
    }
    numbers = {"temperature": job.temperature, "alpha": job.task_weight, "beta": job.distill_weight, "reduction": "batchmean"}
    return {"criterion": {"key": "KDLoss", "kwargs": {**whole, **numbers}}}


class Training:
    """The box, and one epoch of it at a time."""

    def __init__(self, job: Job, folder: Path) -> None:
        torch.set_num_threads(job.threads)
        set_seed(job.seed)
        self.job, self.epochs = job, list[dict[str, float]]()
        found = datasets(job, folder)
        config = training_config(job, job.epochs * (len(found["train"]) // job.batch_size))
        self.student = load_network(folder, "student", job.student, job.channels_last)
        rest = (found, config, torch.device("cpu"), None, False, 1)
        if job.teacher is None:
            self.box = get_training_box(self.student, *rest)
        else:
            teacher = load_network(folder, "teacher", job.teacher, job.channels_last).eval()
            self.box = get_distillation_box(teacher, self.student, *rest)

    def epoch(self) -> dict[str, float]:
        """Train one. Its `seconds`, `cpu_seconds`, and `loading_seconds`, those that went by waiting for batches."""
        waited, started_cpu = 0.0, time.process_time()
        started = ready = time.perf_counter()
        self.box.pre_epoch_process(epoch=len(self.epochs))
        for inputs, labels, supplement in self.box.train_data_loader:
            waited += time.perf_counter() - ready
            loss = self.box.forward_process(inputs, labels, supplement)
            self.box.post_forward_process(loss=loss)
            if not math.isfinite(loss.item()):
                raise ValueError(f"the loss became {loss.item()} in epoch {len(self.epochs) + 1}")
            ready = time.perf_counter()
        self.box.post_epoch_process()
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
        self.epochs.append({"seconds": seconds, "cpu_seconds": cpu_seconds, "loading_seconds": waited})
        return self.epochs[-1]

    @torch.inference_mode()
    def result(self) -> dict[str, Any]:
        self.student.eval()
        right = sum(int((self.student(inputs).argmax(1) == labels).sum()) for inputs, labels in self.box.val_data_loader)
        return {
            "epoch_seconds": [epoch["seconds"] for epoch in self.epochs],
            "cpu_seconds": [epoch["cpu_seconds"] for epoch in self.epochs],
            "loading_seconds": [epoch["loading_seconds"] for epoch in self.epochs],
            "accuracy": right / len(self.box.val_data_loader.dataset),
            "versions": {name: version(name) for name in PACKAGES},
        }


def commands(interleaved: bool, epochs: int) -> Iterator[str]:
    """`epoch`, at most `epochs` times, until the end."""
    if not interleaved:
        yield from ["epoch"] * epochs
        return
    for done, line in enumerate(map(str.strip, sys.stdin)):
        if line == "end":
            return
        if line != "epoch" or done == epochs:
            sys.exit(f"torchdistill_student.py: line {done + 1} is '{line}', expected 'end', or 'epoch' up to {epochs} times")
        yield line


def say(document: dict[str, Any]) -> None:
    print(json.dumps(document), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train one student by torchdistill")
    parser.add_argument("job", type=Path)
    parser.add_argument("--interleaved", action="store_true", help="an epoch for each line 'epoch' on stdin, until 'end'")
    asked = parser.parse_args()
    training = Training(read_job(asked.job), asked.job.parent)
    if asked.interleaved:
        # The caller's own epochs begin after this one has loaded.
        say({"ready": True})
    for _ in commands(asked.interleaved, training.job.epochs):
        answer = training.epoch()
        if asked.interleaved:
            say(answer)
    say(training.result())


if __name__ == "__main__":
    main()
