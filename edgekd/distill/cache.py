"""The teacher's answers, computed once for every view of every sample and kept in memory-mapped files.

The student must see exactly the picture that the teacher answered for (Beyer et al. 2022, arXiv:2106.05237): views are
stateless functions of (seed, sample, view), so the cache needs to store no picture and no seed. A folder is named by the
hash of all that the answers depend on (teacher, data, augmentation, seed, precision); a view is a file, written under
another name and renamed when whole, so that an interrupted fill goes on where it was.

    <root>/<key>/key.json · view-000.logits.npy (N, C) float32 · view-000.embedding.npy (N, D) float16 · validation.…
                 · corrupted-<version>-<samples>.logits.npy (76, n, C) float32: test samples under each corruption
                 · view-000.witness · view-000.seconds
                 · view-000.<tap>.<form>.npy (N, C, H, W) float16, listed in view-000.features-<request>.json
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.data import Data, Split, normalise
from edgekd.data.views import Augment, render
from edgekd.errors import InputError, StorageError, storage_errors
from edgekd.fidelity import corruptions, robustness
from edgekd.teachers import FeatureRequest, Teacher, TeacherOutputs
from edgekd.types import digest

CHUNK = 256
"""Samples a teacher call: the fastest batch of those tried with a 0.7 M-parameter network on two cores."""

WITNESSES = 64
"""Pictures of each view by which equal views are told: any difference in augmentation or seed shows in the first few."""

PAIRING = 2
"""Version of how layers are found by resolution (taps.spatial_taps): maps of an earlier one are asked for anew."""

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

    def features(self, view: int, request: FeatureRequest) -> dict[str, NDArray[np.float16]]:
        """Feature maps by key, each (N, C, H, W) float16, memory-mapped. They must have been filled by the same request."""
        stem = f"view-{view:03}"
        return {key: self._load(_feature_file(stem, key, request)) for key in self.feature_keys(request)}

    def feature_keys(self, request: FeatureRequest) -> tuple[str, ...]:
        """Keys of the feature maps that a request brought."""
        return tuple(json.loads(self._text(_listing("view-000", request))))

    def witness(self, view: int) -> str:
        """What `witness_of` gave for the pictures that the teacher answered for."""
        return self._text(f"view-{view:03}.witness")

    def seconds(self, views: int) -> float:
        """How long the teacher took to answer for the first `views` views, in whichever run it was asked."""
        return sum(self._seconds(f"view-{view:03}") for view in range(views))

    def _seconds(self, stem: str) -> float:
        name = f"{stem}.seconds"
        return float(json.loads(self._text(name))) if (self.folder / name).exists() else 0.0

    def validation_logits(self) -> NDArray[np.float32]:
        """(N, C) float32 on the validation split, as it is."""
        logits: NDArray[np.float32] = self._load("validation.logits.npy")
        return logits

    def test_logits(self) -> NDArray[np.float32]:
        """(N, C) float32 on the test split, as it is: for the final figures only."""
        logits: NDArray[np.float32] = self._load("test.logits.npy")
        return logits

    def test_embedding(self) -> NDArray[np.float16] | None:
        """(N, D) float16 on the test split, or None where the teacher shows no embedding."""
        return self._load("test.embedding.npy") if (self.folder / "test.embedding.npy").exists() else None

    def corrupted_logits(self) -> NDArray[np.float32]:
        """(76, n, C) float32 under each of `robustness.CONDITIONS`, on n test samples: what `fill_corrupted` kept."""
        logits: NDArray[np.float32] = self._load(self._corrupted_file(robustness.spaced(len(self.data.test))))
        return logits

    def _text(self, name: str) -> str:
        try:
            return (self.folder / name).read_text()
        except (OSError, ValueError) as error:
            raise InputError(f"teacher cache {self.folder / name}: {error}; delete the folder and run again") from error

    def _load(self, name: str) -> Any:
        try:
            return np.load(self.folder / name, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"teacher cache {self.folder / name}: {error}; delete the folder and run again") from error

    def fill(self, teacher: Teacher, views: int, progress: Progress, request: FeatureRequest | None = None) -> int:
        """Compute what is missing of `views` views, and of the other splits as they are. Returns teacher calls, in samples.

        `request` says which feature maps of the views are wanted beside; the teacher must have been loaded with it.
        """
        calls = 0
        for view in range(views):
            calls += self._fill_one(f"view-{view:03}", self.data.train, teacher, view, progress, request)
        for name, split in (("validation", self.data.validation), ("test", self.data.test)):
            calls += self._fill_one(name, split, teacher, None, progress, None)
        return calls

    def fill_corrupted(self, teacher: Teacher, progress: Progress) -> int:
        """Ask the teacher about the corrupted test samples, if it was not yet. Returns teacher calls, in samples.

        The folder's seed is that of the corruptions. Samples that cannot be corrupted (`robustness.unsuited`) are left out.
        """
        contract, rows = self.data.contract, robustness.spaced(len(self.data.test))
        split, file = robustness.part_of(self.data.test, rows), self.folder / self._corrupted_file(rows)
        if file.exists() or robustness.unsuited(split, contract):
            return 0
        shape = len(robustness.CONDITIONS), len(rows), len(contract.classes)
        with storage_errors(f"the teacher cache in {self.folder}"), _Growing(file, shape, np.float32) as growing:
            for number, pictures in enumerate(robustness.corrupted(split, self.seed, contract.value_max), start=1):
                growing.add(teacher.outputs(normalise(pictures, contract)).logits[None])
                progress("teacher, corrupted pictures", number, shape[0])
            growing.keep()
        return shape[0] * shape[1]

    def _corrupted_file(self, rows: NDArray[np.int64]) -> str:
        return f"corrupted-{corruptions.VERSION}-{len(rows)}.logits.npy"

    def _fill_one(
        self,
        stem: str,
        split: Split,
        teacher: Teacher,
        view: int | None,
        progress: Progress,
        request: FeatureRequest | None,
    ) -> int:
        there = (self.folder / f"{stem}.logits.npy").exists()
        if there and (request is None or (self.folder / _listing(stem, request)).exists()):
            return 0
        keys: list[str] = []
        started = time.monotonic()
        with storage_errors(f"the teacher cache in {self.folder}"), ExitStack() as opened:
            files: dict[str, _Growing] = {}
            for start in range(0, len(split), CHUNK):
                answers = teacher.outputs(self._inputs(split, slice(start, start + CHUNK), view))
                keys = sorted(answers.features) if request else []
                if not files:
                    files = self._files(stem, answers, keys, len(split), request, opened)
                for name, file in files.items():
                    file.add(answers.by_name()[name])
                progress(f"teacher, {stem.replace('-', ' ')}", min(start + CHUNK, len(split)), len(split))
            if view is not None:
                _write_text(self.folder / f"{stem}.witness", witness_of(split, view, self.seed, self.augment))
                seconds = self._seconds(stem) + time.monotonic() - started
                _write_text(self.folder / f"{stem}.seconds", json.dumps(seconds))
            # The logits last: their presence is what says that the view is whole.
            for name in sorted(files, key=lambda name: name == "logits"):
                files[name].keep()
            if request:
                _write_text(self.folder / _listing(stem, request), json.dumps(keys))
        return len(split)

    def _files(
        self,
        stem: str,
        answers: TeacherOutputs,
        keys: list[str],
        rows: int,
        request: FeatureRequest | None,
        opened: ExitStack,
    ) -> "dict[str, _Growing]":
        """A file for each kind of answer that is to be kept and is not there yet: a view that is whole stays as it is."""
        names: dict[str, tuple[str, Any]] = {}
        if not (self.folder / f"{stem}.logits.npy").exists():
            names["logits"] = (f"{stem}.logits.npy", np.float32)
            if answers.embedding is not None:
                names["embedding"] = (f"{stem}.embedding.npy", np.float16)
        if request:
            names |= {key: (_feature_file(stem, key, request), np.float16) for key in keys}
        found = answers.by_name()
        needed = sum(rows * found[name][0].size * np.dtype(kind).itemsize for name, (_, kind) in names.items())
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            sizes = f"{needed / 1e9:.1f} GB a view, {free / 1e9:.1f} GB are free"
            raise StorageError(f"the teacher cache in {self.folder} needs {sizes}: free some space, or name fewer [distill] taps")
        return {
            name: opened.enter_context(_Growing(self.folder / file, (rows, *found[name].shape[1:]), kind))
            for name, (file, kind) in names.items()
        }

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
        "format": 2,
    }
    folder = root / digest(key)[:24]
    with storage_errors(f"the teacher cache in {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "key.json").write_text(json.dumps(key, indent=1, default=str))
    return TeacherCache(folder=folder, data=data, augment=augment, seed=seed)


def witness_of(split: Split, view: int, seed: int, augment: Augment) -> str:
    """SHA-256 of the first pictures of a view: a student that is shown others has not its teacher's answers to them."""
    pictures = render(split.inputs[:WITNESSES], split.ids[:WITNESSES], view, seed, augment)
    return hashlib.sha256(np.ascontiguousarray(pictures).tobytes()).hexdigest()


def _feature_file(stem: str, key: str, request: FeatureRequest) -> str:
    return f"{stem}.{key}.{'energy' if request.energy else 'maps'}.npy"


def _listing(stem: str, request: FeatureRequest) -> str:
    return f"{stem}.features-{digest([PAIRING, asdict(request)])[:12]}.json"


class _Growing:
    """An array file that grows under another name, row by row, and gets its own name when it is whole."""

    def __init__(self, path: Path, shape: tuple[int, ...], kind: Any) -> None:
        self._path, self._temporary, self._done = path, path.with_name(f".{os.getpid()}.{path.name}"), 0
        try:
            self._values = np.lib.format.open_memmap(self._temporary, mode="w+", dtype=kind, shape=shape)
            # A mapped page that the disk has no room for would kill the process: all of it is taken now, or refused.
            with self._temporary.open("rb+") as file:
                os.posix_fallocate(file.fileno(), 0, self._temporary.stat().st_size)
        except OSError:
            self._temporary.unlink(missing_ok=True)
            raise

    def __enter__(self) -> "_Growing":
        return self

    def add(self, rows: NDArray[Any]) -> None:
        with np.errstate(over="ignore"):  # what float16 cannot hold is refused where a loss looks at it (answers.py)
            self._values[self._done : self._done + len(rows)] = rows
        self._done += len(rows)

    def keep(self) -> None:
        self._values.flush()
        with self._temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(self._temporary, self._path)

    def __exit__(self, *error: object) -> None:
        self._temporary.unlink(missing_ok=True)


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    temporary.write_text(text)
    os.replace(temporary, path)
