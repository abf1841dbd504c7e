"""Find out before training that an evaluation split is no evaluation: its samples were trained on, or carry their labels."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekd.data import Data, RawArray, Split
from edgekd.errors import InputError

RULE = "label-leakage"
LARGEST_SHARE = 0.01
"""Of an evaluation split that may be in the training split: more can move its accuracy by the point that students differ by."""
COVERAGE = 0.99
"""Of the validation samples whose value must have been seen in training before a column is called a copy of the label."""
FEWEST_SAMPLES = 40
"""Beyond one a class. A random binary column fits the labels of n of C classes by chance once in 2^(n - C) columns."""
FIRST_ROWS = 500
"""A column that gives no label here gives none at all; most columns end here."""
SIGNIFICANCE = 0.01


@dataclass(frozen=True, kw_only=True)
class Leak:
    """One way in which labels reach a model that should not see them. `stop` says that no figure would mean anything."""

    rule: str
    text: str
    next_step: str
    count: int
    """Samples of the evaluation split that are concerned."""
    samples: int
    """Of the evaluation split."""
    stop: bool

    @property
    def share(self) -> float:
        """Of the evaluation split that is concerned, 0 to 1."""
        return self.count / self.samples


def check_leakage(data: Data) -> tuple[Leak, ...]:
    """What leaks in `data`, none of it enough to stop.

    Raises:
        InputError: if more than 1 % of validation or test are also in the training split, or a column gives the label.
    """
    leaks = find_leakage(data)
    for leak in leaks:
        if leak.stop:
            raise InputError(f"{leak.rule}: data '{data.name}': {leak.text}; {leak.next_step}")
    return leaks


def find_leakage(data: Data) -> tuple[Leak, ...]:
    """Samples that two splits share to the byte, and columns of (N, F) inputs that give the label away; the worst first."""
    names = ("train", "validation", "test")
    hashes = {name: _hashes(getattr(data, name).inputs) for name in names}
    pairs = (("train", "validation"), ("train", "test"), ("validation", "test"))
    found = [_duplicates(data, hashes, first, second) for first, second in pairs]
    found += [_label_column(data, column) for column in label_columns(data.train, data.validation)]
    return tuple(sorted((leak for leak in found if leak), key=lambda leak: (not leak.stop, -leak.share)))


def _hashes(inputs: RawArray) -> list[bytes]:
    """16 bytes for each sample's raw values: among a billion samples, no two share them by chance."""
    rows = np.ascontiguousarray(inputs).reshape(len(inputs), -1)
    return [hashlib.blake2b(row.data, digest_size=16).digest() for row in rows]


def _duplicates(data: Data, hashes: dict[str, list[bytes]], first: str, second: str) -> Leak | None:
    """Samples of split `second` that are in split `first` too."""
    labels: dict[bytes, set[int]] = {}
    for key, label in zip(hashes[first], getattr(data, first).labels.tolist(), strict=True):
        labels.setdefault(key, set()).add(label)
    own = getattr(data, second).labels.tolist()
    shared = [(key, label) for key, label in zip(hashes[second], own, strict=True) if key in labels]
    if not shared:
        return None
    contradicting = sum(label not in labels[key] for key, label in shared)
    share = len(shared) / len(own)
    extra = f", {contradicting} of them under another label" if contradicting else ""
    return Leak(
        rule=RULE,
        text=f"{len(shared)} of {len(own)} {second} samples ({share:.2%}) are in the {first} split to the byte{extra}",
        next_step=f"drop the copies from the {first} split, or keep all copies of a sample in one split",
        count=len(shared),
        samples=len(own),
        stop=first == "train" and share > LARGEST_SHARE,
    )


def label_columns(train: Split, validation: Split) -> tuple[int, ...]:
    """Columns of inputs (N, F) that are the label under another name, found in training and confirmed in validation.

    Either the label follows from the column's value (a code of the class, finer or not), or the value from the label
    (a number or one-hot column made of the class). Inputs of another shape have none.
    """
    classes = len(np.unique(train.labels))
    if train.inputs.ndim != 2 or min(len(train), len(validation)) < classes + FEWEST_SAMPLES:
        return ()
    suspects = set(_made_of_label(train, validation))
    for column in range(train.inputs.shape[1]):
        values = train.inputs[:, column]
        for rows in (slice(FIRST_ROWS), slice(None)):
            keys, given, sure = _lookup(values[rows], train.labels[rows])
            if not sure:
                break
        else:
            if _confirmed(keys, given, validation.inputs[:, column], validation.labels):
                suspects.add(column)
    return tuple(sorted(suspects))


def _lookup(values: RawArray, labels: NDArray[np.int64]) -> tuple[RawArray, NDArray[np.int64], bool]:
    """Distinct values, the label that each first came with, and whether it came with no other."""
    keys, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    given = labels[first]
    return keys, given, bool((given[inverse] == labels).all())


def _confirmed(keys: RawArray, given: NDArray[np.int64], values: RawArray, labels: NDArray[np.int64]) -> bool:
    """Whether the labels looked up by value are right, for nearly all samples: values of a real feature are mostly new."""
    place = np.searchsorted(keys, values).clip(max=len(keys) - 1)
    known = keys[place] == values
    return bool(known.mean() >= COVERAGE and (given[place] == labels)[known].all())


def _made_of_label(train: Split, validation: Split) -> NDArray[np.intp]:
    """Columns with one value in each class, not the same in all of them."""
    classes = np.unique(train.labels)
    rows = [np.flatnonzero(train.labels == label) for label in classes]
    typical = np.stack([train.inputs[row[0]] for row in rows])
    constant = np.stack([(train.inputs[row] == train.inputs[row[0]]).all(axis=0) for row in rows]).all(axis=0)
    varied = (typical != typical[0]).any(axis=0)
    columns = np.flatnonzero(constant & varied)
    expected = typical[np.searchsorted(classes, validation.labels).clip(max=len(classes) - 1)][:, columns]
    return columns[(validation.inputs[:, columns] == expected).all(axis=0)]


def _label_column(data: Data, column: int) -> Leak:
    return Leak(
        rule=RULE,
        text=f"column {column} of the inputs gives the label of every training and validation sample",
        next_step=f"drop column {column}",
        count=len(data.validation),
        samples=len(data.validation),
        stop=True,
    )


def teacher_leakage(*, train_right: int, train_samples: int, validation_right: int, validation_samples: int) -> Leak | None:
    """A teacher that does better on validation than on the samples it is said to have learnt from: was it trained there?

    Fisher's exact test, one-sided, over samples without augmentation. A teacher that is equally good on both says nothing:
    it may have seen both or neither, or find the task easy.

    Args:
        train_right: right answers among `train_samples` training samples as they are, without augmentation.
        train_samples: how many it was asked about.
        validation_right: right answers among `validation_samples`.
        validation_samples: how many it was asked about.
    """
    from scipy import stats

    right, samples = (validation_right, train_right), (validation_samples, train_samples)
    table = [list(right), [total - hits for total, hits in zip(samples, right, strict=True)]]
    if stats.fisher_exact(table, alternative="greater").pvalue >= SIGNIFICANCE:
        return None
    found = f"{validation_right / validation_samples:.2%} of validation, {train_right / train_samples:.2%} of training"
    return Leak(
        rule="teacher-saw-validation",
        text=f"the teacher is right on {found}: it may have been trained on the validation samples",
        next_step="compare students with each other and with labels, not with this teacher, or hold out samples it never saw",
        count=validation_samples,
        samples=validation_samples,
        stop=False,
    )
