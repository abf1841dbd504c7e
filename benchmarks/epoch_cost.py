"""What the teacher costs while a student trains: an epoch with its cached answers against one without a teacher.

    python benchmarks/epoch_cost.py --rounds 5

The same student (about 65,000 parameters) on 10,000 Fashion-MNIST images; the two kinds of epoch alternate, so that what else
the machine does strikes both. Prints the median of the rounds' ratios, which must be at most 1.10.
"""

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekd.data import Data
from edgekd.data.settings import DataSettings
from edgekd.data.sources import augment_of, load_data
from edgekd.distill.cache import TeacherCache, open_cache
from edgekd.distill.recipe import Recipe
from edgekd.distill.trainer import Trainer
from edgekd.students import find_family, smallest
from edgekd.students.program import build_student, count_params
from edgekd.teachers import TeacherOutputs
from edgekd.types import Candidate

ALLOWED = 1.10
SETTINGS = DataSettings(source="fashion-mnist", limit=10_000)


class Stand:
    """A teacher whose answers cost nothing: what is timed is training on answers that are cached already."""

    name = fingerprint = "stand-in"
    params: int | None = None

    def outputs(self, inputs: NDArray[np.float32]) -> TeacherOutputs:
        logits = np.random.default_rng(len(inputs)).normal(size=(len(inputs), 10)).astype(np.float32)
        return TeacherOutputs(logits=logits, embedding=np.zeros((len(inputs), 64), np.float32))


def epoch_seconds(data: Data, cache: TeacherCache | None, folder: Path) -> float:
    """Time of one epoch's steps, validation left out."""
    family = find_family("resnet")
    candidate = student(data)
    module = build_student(family, candidate, data.contract, 0)
    ended: list[float] = []
    # Two threads on a shared machine wait for each other more than they compute, which would drown the difference.
    recipe = Recipe(epochs=2, views=1, threads=1)
    trainer = Trainer(
        module,
        data,
        data.contract,
        recipe,
        cache,
        augment_of(SETTINGS),
        folder / "checkpoint.safetensors",
        # The first epoch of the two is timed; the second is not begun.
        on_epoch=lambda epoch, accuracy: True,
        on_step=lambda step: ended.append(time.perf_counter()),
    )
    trainer.run()
    # From the first step's end: that one pays for allocations.
    return ended[-1] - ended[0]


def student(data: Data) -> Candidate:
    values = smallest("resnet", find_family("resnet").space(data.contract.shape)).values
    return Candidate.of(
        "resnet", {**values, "width": 20, "growth": 1.6, "bottleneck": 0.0, "depth": 1, "skip": True, "input_size": 28}
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    data = load_data(SETTINGS, base=Path())
    # Validation costs the same with and without a teacher.
    few = replace(data.validation, **{name: getattr(data.validation, name)[:500] for name in ("inputs", "labels", "ids")})
    data = replace(data, validation=few)
    with tempfile.TemporaryDirectory(prefix="edgekd-") as name:
        folder = Path(name)
        cache = open_cache(folder, Stand(), data, augment_of(SETTINGS), 0)
        cache.fill(Stand(), 1, lambda title, done, total: None)
        pairs = [(epoch_seconds(data, cache, folder), epoch_seconds(data, None, folder)) for _ in range(rounds)]
    ratio = statistics.median(taught / plain for taught, plain in pairs)
    params = count_params(find_family("resnet"), student(data), data.contract)
    shown = ", ".join(f"{taught:.1f}/{plain:.1f}" for taught, plain in pairs)
    print(f"{params:,} parameters, {len(data.train):,} images: median ratio {ratio:.3f} of {rounds} rounds ({shown} s)")
    return 0 if ratio <= ALLOWED else 1


if __name__ == "__main__":
    sys.exit(main())
