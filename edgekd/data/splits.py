"""From what a source has to three splits: by shares and a seed, or by a file of numbers."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekd.data import Data, RawArray, Split
from edgekd.data.settings import DataSettings
from edgekd.data.views import permutation
from edgekd.errors import InputError
from edgekd.types import Contract


@dataclass(frozen=True, kw_only=True)
class Samples:
    """All that a source has, checked. `inputs` (N, C, H, W) or (N, F); `test` is None where the source has no test set."""

    name: str
    inputs: RawArray
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    value_max: float
    test: tuple[RawArray, NDArray[np.int64]] | None = None
    image_size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def split(samples: Samples, settings: DataSettings, base: Path) -> Data:
    """Divide `samples` as the settings say. Raises InputError where a split would be empty or the file of numbers is wrong.

    Validation and test have each class in its share; the ids of a source's own test set follow those of its training set.
    """
    order = balanced_order(samples.labels, settings.seed)
    if isinstance(settings.validation, str):
        held = read_indices(base / settings.validation, len(order))
        order = order[~np.isin(order, held)]
    if samples.test is None:
        count = round(settings.test * len(samples.labels))
        test_rows, order = np.sort(order[:count]), order[count:]
        test = _take(samples, test_rows)
    else:
        inputs, labels = samples.test
        test = Split(inputs=inputs, labels=labels, ids=np.arange(len(labels)) + len(samples.labels))
    if not isinstance(settings.validation, str):
        count = round(settings.validation * len(order))
        held, order = np.sort(order[:count]), order[count:]
    train, validation = _take(samples, np.sort(order[: settings.limit])), _take(samples, held)
    for name, part in (("training", train), ("validation", validation), ("test", test)):
        if len(part) == 0:
            raise InputError(f"data '{samples.name}' has {len(samples.labels)} samples, which leaves none for {name}")
    return Data(
        name=samples.name,
        train=train,
        validation=validation,
        test=test,
        contract=_contract(samples, settings, train.inputs),
        fingerprint=fingerprint(train, validation, test),
    )


def balanced_order(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """A random order (N,) of the samples in which every beginning has the classes in their shares, to within one sample."""
    shuffled = permutation(len(labels), 0, seed)
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    counts = np.bincount(labels)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return by_class[np.argsort((rank + 0.5) / np.repeat(counts, counts), kind="stable")]


def read_indices(file: Path, count: int) -> NDArray[np.int64]:
    """The numbers in a text file, one a line, sorted. Raises InputError unless they are distinct and from 0 to count - 1."""
    try:
        lines = file.read_text(encoding="ascii").split()
        found = np.array([int(line) for line in lines], np.int64)
    except OSError as error:
        raise InputError(f"[data] validation: {file} cannot be read: {error.strerror}") from error
    except (ValueError, OverflowError) as error:
        raise InputError(f"[data] validation: {file} must have the number of one training sample a line: {error}") from error
    if len(found) == 0:
        raise InputError(f"[data] validation: {file} is empty")
    if found.min() < 0 or found.max() >= count:
        wrong = found[(found < 0) | (found >= count)][0]
        raise InputError(f"[data] validation: {file} names sample {wrong}, expected 0 to {count - 1}")
    values, repeats = np.unique(found, return_counts=True)
    if repeats.max() > 1:
        raise InputError(f"[data] validation: {file} names sample {values[repeats > 1][0]} more than once")
    return values


def fingerprint(*parts: Split) -> str:
    """SHA-256 over the splits' samples, labels and ids, with their types and shapes."""
    sha = hashlib.sha256()
    for part in parts:
        for array in (part.inputs, part.labels, part.ids):
            sha.update(f"{array.dtype.str} {array.shape}\n".encode())
            sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()


def _take(samples: Samples, rows: NDArray[np.int64]) -> Split:
    return Split(inputs=samples.inputs[rows], labels=samples.labels[rows], ids=rows)


def _contract(samples: Samples, settings: DataSettings, train: RawArray) -> Contract:
    mean, std = settings.mean or samples.mean, settings.std or samples.std
    if mean is None or std is None:
        computed = statistics(train, samples.value_max)
        mean, std = mean or computed[0], std or computed[1]
    channels = samples.inputs.shape[1]
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != channels:
            raise InputError(f"[data] {name} has {len(values)} values, expected one for each of {channels} channels")
    return Contract(
        classes=samples.classes,
        mean=tuple(mean),
        std=tuple(std),
        value_max=samples.value_max,
        shape=tuple(samples.inputs.shape[1:]),
        image_size=samples.image_size,
    )


def statistics(inputs: RawArray, value_max: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of value / value_max by channel, to six digits; the deviation of a constant channel is 1."""
    axes = (0, *range(2, inputs.ndim))
    mean = inputs.mean(axis=axes, dtype=np.float64) / value_max
    std = inputs.std(axis=axes, dtype=np.float64) / value_max
    std[std < 1e-12] = 1.0
    return tuple(float(f"{m:.6g}") for m in mean), tuple(float(f"{s:.6g}") for s in std)
