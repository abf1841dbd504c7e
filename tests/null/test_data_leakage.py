"""Splits that share samples, and inputs that carry the label, are found before training."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgekd.data import Data, Split
from edgekd.data.leakage import check_leakage, find_leakage, label_columns, teacher_leakage
from edgekd.data.settings import DataSettings
from edgekd.data.sources import load_data
from edgekd.data.splits import Samples, split
from edgekd.errors import InputError


def pictures(count: int = 2000) -> Data:
    """Random pictures, no two alike: 1,440 for training, 160 for validation, 400 for test."""
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 256, (count, 1, 4, 4), dtype=np.uint8)
    samples = Samples(name="noise", inputs=inputs, labels=np.arange(count) % 4, classes=tuple("abcd"), value_max=255.0)
    return split(samples, DataSettings(source="noise"), Path())


def with_copies(data: Data, source: str, target: str, count: int, relabel: int = 0) -> Data:
    """The first `count` samples of a split replaced by copies from another one, `relabel` of them with another label."""
    first, second = getattr(data, source), getattr(data, target)
    inputs, labels = second.inputs.copy(), second.labels.copy()
    inputs[:count], labels[:count] = first.inputs[:count], first.labels[:count]
    labels[:relabel] = (labels[:relabel] + 1) % 4
    return replace(data, **{target: replace(second, inputs=inputs, labels=labels)})


def tabular(columns: NDArray[Any], labels: NDArray[np.int64]) -> Data:
    """Samples (N, F), not divided into classes' shares by anything but chance."""
    samples = Samples(name="table", inputs=columns.astype(np.float32), labels=labels, classes=tuple("abcd"), value_max=1.0)
    return split(samples, DataSettings(source="table"), Path())


@pytest.mark.parametrize("source", ["digits", "fashion-mnist"])
def test_real_data_are_clean(source: str) -> None:
    """No two of 1,797 digits, or of 70,000 pictures of Fashion-MNIST, are alike to the byte."""
    if source == "fashion-mnist" and not Path("/usr/share/datasets/fashion-mnist").is_dir():
        pytest.skip("the data set is not installed")
    if source == "digits":
        pytest.importorskip("sklearn")
    assert check_leakage(load_data(DataSettings(source=source), base=Path())) == ()


@pytest.mark.parametrize(("target", "count"), [("validation", 2), ("test", 5)])
def test_more_than_a_hundredth_in_training_stops(target: str, count: int) -> None:
    """2 of 160 and 5 of 400 are over 1 %: the rule, the split and the count are named, and what to do."""
    data = with_copies(pictures(), "train", target, count)
    with pytest.raises(InputError, match=rf"label-leakage: data 'noise': {count} of \d+ {target} samples .* drop the copies"):
        check_leakage(data)


def test_a_hundredth_is_a_warning() -> None:
    """4 of 400 test samples in training are told, not refused; those that contradict themselves are counted."""
    (leak,) = check_leakage(with_copies(pictures(), "train", "test", 4, relabel=3))
    assert (leak.rule, leak.count, leak.samples, leak.stop, leak.share) == ("label-leakage", 4, 400, False, 0.01)
    assert "4 of 400 test samples (1.00%) are in the train split to the byte, 3 of them under another label" in leak.text


def test_validation_in_test_is_a_warning() -> None:
    """Nothing is trained on validation samples: a tenth of them in test is told and goes on."""
    (leak,) = check_leakage(with_copies(pictures(), "validation", "test", 40))
    assert (leak.count, leak.stop) == (40, False)
    assert "in the validation split" in leak.text


def test_the_worst_comes_first() -> None:
    """A leak that stops is before those that do not: a training sample in test and in validation makes three."""
    data = with_copies(with_copies(pictures(), "train", "test", 1), "train", "validation", 20)
    assert [(leak.count, leak.stop) for leak in find_leakage(data)] == [(20, True), (1, False), (1, False)]


def test_float_and_noncontiguous_samples_are_compared_too() -> None:
    """Copies are found whatever the type and the memory layout of the arrays."""
    data = pictures()
    turned = {n: replace(getattr(data, n), inputs=getattr(data, n).inputs.astype(np.float32)) for n in ("train", "test")}
    turned["test"] = replace(turned["test"], inputs=turned["train"].inputs.transpose(0, 1, 3, 2)[:400].transpose(0, 1, 3, 2))
    validation = replace(data.validation, inputs=data.validation.inputs.astype(np.float32))
    assert find_leakage(replace(data, validation=validation, **turned))[0].count == 400


LABELS = np.random.default_rng(3).integers(0, 4, 3000)
NOISE = np.random.default_rng(4).normal(size=(3000, 6))
CODES = 10 * LABELS + np.random.default_rng(5).integers(0, 3, 3000)


@pytest.mark.parametrize(
    "column",
    [LABELS, 7.5 - LABELS, CODES, LABELS == 2],
    ids=["the label", "a number for it", "a finer code", "one column of one-hot labels"],
)
def test_a_column_that_gives_the_label_stops(column: NDArray[Any]) -> None:
    """The label under any name is found among features, by the column's number."""
    columns = NOISE.copy()
    columns[:, 4] = column
    with pytest.raises(InputError, match=r"label-leakage: data 'table': column 4 of the inputs .*; drop column 4"):
        check_leakage(tabular(columns, LABELS))


@pytest.mark.parametrize(
    "column",
    [np.zeros(3000), np.arange(3000), LABELS + 0.5 * NOISE[:, 0], np.where(np.arange(3000) % 25, LABELS, 0)],
    ids=["constant", "a row number", "a good feature", "right 97 times of 100"],
)
def test_an_honest_column_is_no_leak(column: NDArray[Any]) -> None:
    """Features that are only good, unique or constant are let through."""
    columns = NOISE.copy()
    columns[:, 4] = column
    assert check_leakage(tabular(columns, LABELS)) == ()


@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(2, 4))
def test_random_columns_are_no_leak(seed: int, values: int, classes: int) -> None:
    """Few values, few classes and few samples: what fits by chance is not called a leak."""
    rng = np.random.default_rng(seed)

    def part(count: int) -> Split:
        labels = rng.integers(0, classes, count)
        return Split(inputs=rng.integers(0, values, (count, 8)), labels=labels, ids=np.arange(count))

    train, validation = part(int(rng.integers(1, 200))), part(int(rng.integers(1, 100)))
    assert label_columns(train, validation) == ()


def test_pictures_have_no_columns() -> None:
    """A pixel may well be the same in all of a class's pictures."""
    data = pictures()
    assert label_columns(data.train, data.validation) == ()


def test_a_teacher_better_on_validation_than_on_training_is_told() -> None:
    """97.0 against 94.0 % of 1,000 each is no chance; the same lead on 100 is; equal and less are what is expected."""
    leak = teacher_leakage(train_right=940, train_samples=1000, validation_right=970, validation_samples=1000)
    assert leak is not None
    assert (leak.rule, leak.stop) == ("teacher-saw-validation", False)
    assert "97.00% of validation, 94.00% of training" in leak.text
    assert teacher_leakage(train_right=94, train_samples=100, validation_right=97, validation_samples=100) is None
    assert teacher_leakage(train_right=1000, train_samples=1000, validation_right=600, validation_samples=600) is None
    assert teacher_leakage(train_right=990, train_samples=1000, validation_right=940, validation_samples=1000) is None
