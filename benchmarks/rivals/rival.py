"""The caller's side of a rival: a folder with the same networks and pictures, and a process that trains an epoch when told to."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple, Self, cast

import numpy as np
import torch
from rivals.plain_resnet import resnet
from safetensors.torch import load_file, save_file
from torch import nn

from edgekd.data import Data, normalise
from edgekd.data.views import Augment
from edgekd.distill.recipe import Recipe

HERE = Path(__file__).parent
TEACHER = HERE.parent / "fashion_mnist"
TOLERANCE = 1e-5
"""Between the logits of two networks that are the same: float32 sums in another order differ by 1e-6."""
CHECKED = 64


class Seconds(NamedTuple):
    """Of an epoch: by the clock, and of the process's CPU time, which other jobs on the machine hardly touch."""

    wall: float
    cpu: float


class Rival:
    """A script beside this file, run by an environment of its own. Use as a context manager.

    Args:
        python: the interpreter of an environment that has the rival.
        script: name of the script.
        job: the file that tells it what to train.
    """

    def __init__(self, python: str, script: str, job: Path) -> None:
        self._script = script
        command = [python, str(HERE / script), str(job), "--interleaved"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._read()

    def epoch(self) -> Seconds:
        """Train one more."""
        found = self._ask("epoch")
        return Seconds(found["seconds"], found["cpu_seconds"])

    def end(self) -> dict[str, Any]:
        """`epoch_seconds`, `cpu_seconds`, `loading_seconds` (spent waiting for batches), `accuracy` on test, `versions`."""
        return self._ask("end")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()

    def _ask(self, line: str) -> dict[str, Any]:
        stdin = cast(IO[str], self._process.stdin)
        stdin.write(f"{line}\n")
        stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        answer = cast(IO[str], self._process.stdout).readline()
        if not answer:
            sys.exit(f"{self._script} ended with exit code {self._process.wait()}; what it said is above")
        found: dict[str, Any] = json.loads(answer)
        return found


def write_folder(folder: Path, student: nn.Module, arguments: Mapping[str, Any], data: Data) -> None:
    """The networks, their weights and the pictures. Exits where `plain_resnet.py` answers otherwise than `student`.

    Args:
        student: edgekd's, with the weights to start from.
        arguments: of the same network in `plain_resnet.py`.
        data: its training and test splits are written; uint8.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in student.state_dict().items()}, folder / "student.safetensors")
    shutil.copy(HERE / "plain_resnet.py", folder / "student.py")
    for name in ("teacher.py", "teacher.safetensors"):
        shutil.copy(TEACHER / name, folder)
    for name, split in (("train", data.train), ("test", data.test)):
        np.savez(folder / f"{name}.npz", inputs=split.inputs, labels=split.labels)
    plain = resnet(**arguments)
    plain.load_state_dict(load_file(folder / "student.safetensors"))
    found = difference(plain, student, torch.from_numpy(normalise(data.train.inputs[:CHECKED], data.contract)))
    if found > TOLERANCE:
        sys.exit(f"plain_resnet.py differs from edgekd's resnet by {found:.1e} in its logits, expected at most {TOLERANCE}")


@torch.no_grad()
def difference(one: nn.Module, other: nn.Module, inputs: torch.Tensor) -> float:
    """The largest one between the logits of two networks in evaluation mode, which they are left in."""
    return float((one.eval()(inputs) - other.eval()(inputs)).abs().max())


def write_job(
    file: Path,
    arguments: Mapping[str, Any],
    data: Data,
    augment: Augment,
    recipe: Recipe,
    taught: bool,
    channels_last: bool,
) -> Path:
    """A training by the recipe's only loss, soft targets, or by the labels alone where it is not `taught`. Returns `file`.

    `channels_last` lays the networks out as edgekd does its own, which the rival's own examples do not.
    """
    (loss,) = recipe.losses
    job = {
        "student": {"function": "resnet", "arguments": dict(arguments)},
        "teacher": {"function": "resnet", "arguments": {}} if taught else None,
        "mean": list(data.contract.mean),
        "std": list(data.contract.std),
        "shift": augment.shift,
        "flip": augment.flip,
        "batch_size": recipe.batch_size,
        "epochs": recipe.epochs,
        "learning_rate": recipe.learning_rate,
        "momentum": recipe.momentum,
        "weight_decay": recipe.weight_decay,
        "nesterov": True,
        "temperature": loss.numbers["temperature"],
        "distill_weight": loss.weight,
        "task_weight": recipe.task_weight,
        "threads": recipe.threads,
        "seed": 0,
        "channels_last": channels_last,
    }
    file.write_text(json.dumps(job, indent=1))
    return file
