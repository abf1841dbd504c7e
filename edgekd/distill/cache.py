"""The teacher's answers, computed once for every view of every sample and kept in memory-mapped files.

The student must see exactly the picture that the teacher answered for (Beyer et al. 2022, arXiv:2106.05237): views are
stateless functions of (seed, sample, view), so the cache needs to store no picture and no seed. A folder is named by the
hash of all that the answers depend on (teacher, data, augmentation, seed, precision); a view is a file, written under
another name and renamed when whole, so that an interrupted fill goes on where it was.

    <root>/<key>/key.json · view-000.logits.npy (N, C) float32 · view-000.embedding.npy (N, D) float16 · validation.…
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.data import Data, Split, normalise
from edgekd.data.views import Augment, render
from edgekd.errors import InputError, storage_errors
from edgekd.teachers import Teacher, TeacherOutputs
from edgekd.types import digest

CHUNK = 256
"""Samples a teacher call: the fastest batch of those tried with a 0.7 M-parameter network on two cores."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class TeacherCache:
    """Answers of one teacher on one data set's views. Made by `open_cache`."""

    folder: Path
    data: Data
    augment: Augment
    seed: int

    def logits(self, view: int) -> NDArray[np.float32]:
        """(N, C) float32, memory-mapped, for a view of the training split, in the split's order."""
        logits: NDArray[np.float32] = self._load(f"view-{view:03}.logits.npy")
        return logits

    def embedding(self, view: int) -> NDArray[np.float16] | None:
        """(N, D) float16, memory-mapped, or None where the teacher shows no embedding."""
        name = f"view-{view:03}.embedding.npy"
        return self._load(name) if (self.folder / name).exists() else None

    def validation_logits(self) -> NDArray[np.float32]:
        """(N, C) float32 on the validation split, as it is."""
        logits: NDArray[np.float32] = self._load("validation.logits.npy")
        return logits

    def _load(self, name: str) -> Any:
        try:
            return np.load(self.folder / name, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"teacher cache {self.folder / name}: {error}; delete the folder and run again") from error

    def fill(self, teacher: Teacher, views: int, progress: Progress) -> int:
        """Compute what is missing of `views` views and of the validation split. Returns teacher calls, in samples."""
        calls = 0
        for view in range(views):
            calls += self._fill_one(f"view-{view:03}", self.data.train, teacher, view, progress)
        return calls + self._fill_one("validation", self.data.validation, teacher, None, progress)

    def _fill_one(self, name: str, split: Split, teacher: Teacher, view: int | None, progress: Progress) -> int:
        if (self.folder / f"{name}.logits.npy").exists():
            return 0
        answers = []
        for done, rows in _chunks(len(split)):
            answers.append(teacher.outputs(self._inputs(split, rows, view)))
            progress(f"teacher, {name.replace('-', ' ')}", done, len(split))
        with storage_errors(f"the teacher cache in {self.folder}"):
            if answers[0].embedding is not None:
                embedding = np.concatenate([a.embedding for a in answers if a.embedding is not None])
                _write(self.folder / f"{name}.embedding.npy", embedding.astype(np.float16))
            # Last: its presence is what says that the view is whole.
            _write(self.folder / f"{name}.logits.npy", np.concatenate([a.logits for a in answers]).astype(np.float32))
        return len(split)

    def _inputs(self, split: Split, rows: NDArray[np.int64] | slice, view: int | None) -> NDArray[np.float32]:
        inputs = split.inputs[rows]
        if view is not None:
            inputs = render(inputs, split.ids[rows], view, self.seed, self.augment)
        return normalise(inputs, self.data.contract)

    def verify(self, teacher: Teacher, views: int, rows: int = 64) -> float:
        """Recompute `rows` random rows of every view; the largest difference relative to the largest logit.

        Raises InputError where it exceeds 1e-3: the cache is not this teacher's, or was damaged.
        """
        chosen = np.sort(np.random.default_rng(self.seed).choice(len(self.data.train), min(rows, len(self.data.train)), False))
        worst = 0.0
        for view in range(views):
            fresh: TeacherOutputs = teacher.outputs(self._inputs(self.data.train, chosen, view))
            stored = self.logits(view)[chosen]
            worst = max(worst, float(np.abs(fresh.logits - stored).max() / np.abs(fresh.logits).max()))
        if not worst <= 1e-3:
            raise InputError(f"teacher cache {self.folder} is off by {worst:.2g} of the largest logit; delete it and run again")
        return worst


def open_cache(root: Path, teacher: Teacher, data: Data, augment: Augment, seed: int) -> TeacherCache:
    """The cache for exactly this teacher, data, augmentation and seed, below `root`; made where there is none."""
    key = {
        "teacher": teacher.fingerprint,
        "data": data.fingerprint,
        "normalisation": [data.contract.mean, data.contract.std, data.contract.value_max],
        "augment": asdict(augment),
        "seed": seed,
        "format": 1,
    }
    folder = root / digest(key)[:24]
    with storage_errors(f"the teacher cache in {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "key.json").write_text(json.dumps(key, indent=1, default=str))
    return TeacherCache(folder=folder, data=data, augment=augment, seed=seed)


def _chunks(count: int) -> Iterator[tuple[int, slice]]:
    for start in range(0, count, CHUNK):
        yield min(start + CHUNK, count), slice(start, start + CHUNK)


def _write(path: Path, values: NDArray[np.generic]) -> None:
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        with temporary.open("wb") as file:
            np.save(file, values, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
