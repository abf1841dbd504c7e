"""What an epoch costs by each distillation loss, and by torchdistill with the teacher in its loop, against one without a teacher.

    python benchmarks/kd_cost.py --rounds 5 --torchdistill PYTHON

PYTHON is the interpreter of an environment of its own with torchdistill, safetensors, and the torch that is installed here.

The same student (65,130 parameters) on 10,000 Fashion-MNIST images, moved by up to 2 pixels, in batches of 128 on one thread. The
epochs of all alternate, so that what else the machine does strikes all. Prints the median seconds of an epoch and the median of
the rounds' ratios to the plain one, by the clock and in CPU time: on one thread the two agree where nothing else runs, and where
something does, trust the second. torchdistill is run as its examples do it, then with its networks laid out in memory as edgekd
does it, and so without its teacher, which tells what the teacher alone costs there. At the end edgekd trains as many epochs as
torchdistill had, and both accuracies are printed.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from rivals.rival import Rival, Seconds, write_folder, write_job

from edgekd.data import Data, Split, normalise
from edgekd.data.settings import DataSettings
from edgekd.data.sources import augment_of, load_data
from edgekd.data.views import Augment
from edgekd.distill.answers import Answers
from edgekd.distill.cache import TeacherCache, open_cache
from edgekd.distill.learners.solo import Solo
from edgekd.distill.objective import Objective
from edgekd.distill.recipe import Recipe, WeightedLoss
from edgekd.distill.taps import Tapped, spatial_taps
from edgekd.distill.trainer import Trainer, predict
from edgekd.distill.training import feature_request
from edgekd.errors import EdgekdError
from edgekd.students import find_family
from edgekd.students.program import build_student, count_params
from edgekd.teachers.load import load_teacher
from edgekd.types import Candidate

PROJECT = Path(__file__).parent / "fashion_mnist"
RESNET = {"width": 16, "growth": 1.4, "depth": 2, "kernel": 3, "bottleneck": 0.0, "skip": True}
SOFT_TARGETS = WeightedLoss(name="soft_targets", weight=0.9, numbers={"temperature": 4.0})
LOSSES = {
    "soft_targets": (SOFT_TARGETS,),
    "dkd": (WeightedLoss(name="dkd", weight=1.0, numbers={}),),
    "dist": (WeightedLoss(name="dist", weight=2.0, numbers={}),),
    "attention": (WeightedLoss(name="attention", weight=1000.0, numbers={}),),
    "rkd": (WeightedLoss(name="rkd_distance", weight=25.0, numbers={}), WeightedLoss(name="rkd_angle", weight=50.0, numbers={})),
}
"""With the weights that the papers' authors train CIFAR-100 with. They change nothing of what an epoch costs."""
PLAIN = "plain"

Epoch = Callable[[], Seconds]


def edgekd_epoch(
    data: Data, cache: TeacherCache | None, augment: Augment, losses: tuple[WeightedLoss, ...], folder: Path
) -> Seconds:
    """Seconds of one epoch's steps, validation left out."""
    recipe = Recipe(losses=losses, epochs=2, views=1, threads=1)
    learner, answers = make_learner(recipe, data, cache)
    checkpoint = folder / "checkpoint.safetensors"
    # A slow epoch may have left one, which the next would take up.
    checkpoint.unlink(missing_ok=True)
    ended: list[tuple[float, float]] = []
    trainer = Trainer(
        learner,
        data,
        data.contract,
        recipe,
        answers,
        augment,
        checkpoint,
        # The first epoch of the two is timed; the second is not begun.
        on_epoch=lambda epoch, accuracy: True,
        on_step=lambda step: ended.append((time.perf_counter(), time.process_time())),
    )
    trainer.run()
    # From the first step's end, which pays for allocations; and for that step, as much as for another.
    share = len(ended) / (len(ended) - 1)
    return Seconds(*(share * (last - first) for first, last in zip(ended[0], ended[-1], strict=True)))


def make_learner(recipe: Recipe, data: Data, cache: TeacherCache | None) -> tuple[Solo, Answers | None]:
    """The student, and what its losses look at of the cache."""
    network = build_student(find_family("resnet"), candidate(), data.contract, 0)
    objective = Objective(recipe, taught=cache is not None)
    request = feature_request((), objective.needs)
    theirs = cache.feature_keys(request) if cache and request else ()
    taps = {key: path for key, path in spatial_taps(network, data.contract.shape).items() if key in theirs}
    learner = Solo(Tapped(network, len(data.contract.classes), taps), objective)
    if cache is None:
        return learner, None
    embedding = "embedding" in objective.needs
    return learner, Answers(caches=(cache,), embedding=embedding, request=request, keys=tuple(sorted(taps)))


def candidate() -> Candidate:
    return Candidate.of("resnet", {**RESNET, "input_size": 28})


def edgekd_epochs(data: Data, augment: Augment, folder: Path) -> dict[str, Epoch]:
    """Each loss's epoch, from one cache that holds all that they look at."""
    every = tuple(loss for losses in LOSSES.values() for loss in losses)
    request = feature_request((), Objective(Recipe(losses=every), taught=True).needs)
    teacher = load_teacher("teacher:resnet", "teacher.safetensors", data=data, base=PROJECT, seed=0, features=request)
    cache = open_cache(folder, teacher, data, augment, 0)
    started = time.perf_counter()
    asked = cache.fill(teacher, 1, lambda title, done, total: None, request)
    print(f"edgekd asks its teacher once: {asked:,} answers in {time.perf_counter() - started:.1f} s")
    taught = {name: partial(edgekd_epoch, data, cache, augment, losses, folder) for name, losses in LOSSES.items()}
    return {PLAIN: partial(edgekd_epoch, data, None, augment, (), folder), **taught}


def our_accuracy(data: Data, augment: Augment, folder: Path, epochs: int) -> float:
    """Of the student that edgekd trains by soft targets for so many epochs, on the test split."""
    recipe = Recipe(losses=(SOFT_TARGETS,), epochs=epochs, views=epochs, threads=1)
    teacher = load_teacher("teacher:resnet", "teacher.safetensors", data=data, base=PROJECT, seed=0)
    cache = open_cache(folder, teacher, data, augment, 0)
    cache.fill(teacher, epochs, lambda title, done, total: None)
    learner, answers = make_learner(recipe, data, cache)
    trained = Trainer(learner, data, data.contract, recipe, answers, augment, folder / "ours.safetensors").run()
    return float((predict(trained.module, normalise(data.test.inputs, data.contract)).argmax(1) == data.test.labels).mean())


def first(split: Split, count: int = 500) -> Split:
    return Split(inputs=split.inputs[:count], labels=split.labels[:count], ids=split.ids[:count])


def start_rivals(python: str, data: Data, augment: Augment, epochs: int, folder: Path, opened: ExitStack) -> dict[str, Rival]:
    """torchdistill as it comes, laid out as edgekd, and that without its teacher; each after an epoch to warm up."""
    write_folder(folder, build_student(find_family("resnet"), candidate(), data.contract, 0), RESNET, data)
    recipe = Recipe(losses=(SOFT_TARGETS,), epochs=epochs + 1, threads=1)
    rivals = {}
    variants = (("torchdistill", True, False), ("torchdistill, channels last", True, True), ("torchdistill, plain", False, True))
    for number, (name, taught, channels_last) in enumerate(variants):
        job = write_job(folder / f"job-{number}.json", RESNET, data, augment, recipe, taught, channels_last)
        rivals[name] = opened.enter_context(Rival(python, "torchdistill_student.py", job))
        rivals[name].epoch()
    return rivals


def run_rounds(epochs: dict[str, Epoch], rounds: int) -> dict[str, list[Seconds]]:
    """Seconds by name, an epoch a round; one that cannot be trained is named and left out."""
    seconds: dict[str, list[Seconds]] = {name: [] for name in epochs}
    for number in range(rounds):
        # Another one begins each round: what runs first after a pause gains or loses by it.
        names = list(seconds)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            try:
                seconds[name].append(epochs[name]())
            except EdgekdError as error:
                print(f"{name} is left out: {error}")
                del seconds[name]
    return seconds


def show(seconds: dict[str, list[Seconds]]) -> None:
    print("| trained by | s an epoch | to plain | CPU s | to plain | of the rounds |")
    print("|---|---|---|---|---|---|")
    for name, found in seconds.items():
        pairs = list(zip(found, seconds[PLAIN], strict=True))
        wall, cpu = [one.wall / plain.wall for one, plain in pairs], [one.cpu / plain.cpu for one, plain in pairs]
        middle = [statistics.median(values) for values in ((one.wall for one in found), wall, (one.cpu for one in found), cpu)]
        columns = " | ".join(f"{value:.{digits}f}" for value, digits in zip(middle, (2, 3, 2, 3), strict=True))
        print(f"| {name} | {columns} | {min(cpu):.2f} to {max(cpu):.2f} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument(
        "--torchdistill", metavar="PYTHON", help="interpreter of an environment that has it; without, it is left out"
    )
    asked = parser.parse_args()
    settings = DataSettings(source="fashion-mnist", limit=asked.images, validation="validation_indices.txt", flip=False)
    data, augment = load_data(settings, base=PROJECT), augment_of(settings)
    # Neither is timed; a rival's accuracy is that on the whole test split.
    short = replace(data, validation=first(data.validation), test=first(data.test))
    print(f"{count_params(find_family('resnet'), candidate(), data.contract):,} parameters, {len(data.train):,} images")
    with tempfile.TemporaryDirectory(prefix="edgekd-") as folder, ExitStack() as opened:
        epochs = edgekd_epochs(short, augment, Path(folder))
        ours = set(epochs)
        rivals = {}
        if asked.torchdistill:
            rivals = start_rivals(asked.torchdistill, data, augment, asked.rounds, Path(folder) / "rival", opened)
        epochs |= {name: rival.epoch for name, rival in rivals.items()}
        seconds = run_rounds(epochs, asked.rounds)
        show(seconds)
        for name, rival in rivals.items():
            end = rival.end()
            loading = statistics.median(end["loading_seconds"][1:])
            print(f"{name}: {loading:.2f} s an epoch are batches' loading; {end['accuracy']:.4f} on test; {end['versions']}")
        if rivals:
            accuracy = our_accuracy(replace(data, validation=first(data.validation)), augment, Path(folder), asked.rounds + 1)
            print(f"edgekd: {accuracy:.4f} on test after as many epochs, {asked.rounds + 1}")
    return 0 if ours <= set(seconds) else 1


if __name__ == "__main__":
    sys.exit(main())
