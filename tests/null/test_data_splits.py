"""Splits are balanced, disjoint, and a function of the seed; a file of numbers is taken to the letter."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.data import Data
from edgekd.data.settings import DataSettings
from edgekd.data.splits import Samples, balanced_order, split, statistics
from edgekd.errors import InputError


def samples(count: int = 100, classes: int = 4, test: int = 0) -> Samples:
    """Features that hold the sample's own number; the test set's go on where the training set's end."""
    numbers = np.arange(count + test, dtype=np.float32)[:, None]
    labels = np.arange(count + test) % classes
    own_test = (numbers[count:], labels[count:]) if test else None
    names = tuple("abcdefgh"[:classes])
    return Samples(name="n", inputs=numbers[:count], labels=labels[:count], classes=names, value_max=1.0, test=own_test)


def settings(**values: object) -> DataSettings:
    return DataSettings(source="n", **values)  # type: ignore[arg-type]


def ids(data: Data) -> list[set[int]]:
    return [set(part.ids.tolist()) for part in (data.train, data.validation, data.test)]


def test_ids_are_the_numbers_in_the_source(tmp_path: Path) -> None:
    """Each split's ids tell which samples it holds, and all samples are in exactly one split."""
    data = split(samples(), settings(), tmp_path)
    for part in (data.train, data.validation, data.test):
        np.testing.assert_array_equal(part.inputs[:, 0], part.ids)
    train, validation, test = ids(data)
    assert (len(train), len(validation), len(test)) == (72, 8, 20)
    assert train | validation | test == set(range(100))


def test_a_sources_own_test_set_is_kept_whole(tmp_path: Path) -> None:
    """It keeps its order, and its ids follow those of the training set: none is taken twice."""
    data = split(samples(test=30), settings(), tmp_path)
    assert data.test.ids.tolist() == list(range(100, 130))
    assert (len(data.train), len(data.validation)) == (90, 10)


@given(counts=st.lists(st.integers(1, 40), min_size=1, max_size=6), seed=st.integers(0, 1000))
def test_every_beginning_of_the_order_is_balanced(counts: list[int], seed: int) -> None:
    """Among the first k samples each class has its share, to within one sample."""
    labels = np.repeat(np.arange(len(counts)), counts)
    order = balanced_order(labels, seed)
    assert sorted(order.tolist()) == list(range(len(labels)))
    seen = np.cumsum(np.eye(len(counts))[labels[order]], axis=0)
    share = np.outer(np.arange(1, len(labels) + 1), counts) / len(labels)
    assert np.abs(seen - share).max() <= len(counts) / 2 + 1e-9


def test_the_seed_decides(tmp_path: Path) -> None:
    """The same seed gives the same data, down to the fingerprint; another seed gives another split."""
    first, again, other = (split(samples(), settings(seed=seed), tmp_path) for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert ids(first) == ids(again) != ids(other)


def test_limit_takes_a_balanced_part_of_the_training_samples(tmp_path: Path) -> None:
    """Validation and test stay whole."""
    data = split(samples(), settings(limit=20), tmp_path)
    assert np.bincount(data.train.labels).tolist() == [5, 5, 5, 5]
    assert (len(data.validation), len(data.test)) == (8, 20)


def test_validation_from_a_file(tmp_path: Path) -> None:
    """The numbers in the file, and no others, are held out, also where the test split is drawn."""
    (tmp_path / "held.txt").write_text("7\n3\n50\n")
    data = split(samples(), settings(validation="held.txt"), tmp_path)
    assert data.validation.ids.tolist() == [3, 7, 50]
    assert not ids(data)[0] & {3, 7, 50}
    assert not ids(data)[2] & {3, 7, 50}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n2\n1\n", "names sample 1 more than once"),
        ("1\n100\n", "names sample 100, expected 0 to 99"),
        ("-1\n", "names sample -1, expected 0 to 99"),
        ("1\ntwo\n", "number of one training sample a line"),
        ("1\n99999999999999999999999\n", "number of one training sample a line"),
        ("", "is empty"),
        (None, "cannot be read"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    """Repeats, numbers out of range, words, an empty or a missing file: each is named."""
    if text is not None:
        (tmp_path / "held.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        split(samples(), settings(validation="held.txt"), tmp_path)


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    """Too few samples for the shares are an error, not a split of none."""
    with pytest.raises(InputError, match="leaves none for validation"):
        split(samples(count=4), settings(), tmp_path)


def test_statistics_come_from_the_training_split(tmp_path: Path) -> None:
    """Mean and deviation are those of the training samples alone, divided by the largest value."""
    data = split(samples(), settings(), tmp_path)
    assert data.contract.mean == (pytest.approx(data.train.inputs.mean(), rel=1e-5),)
    assert data.contract.std == (pytest.approx(data.train.inputs.std(), rel=1e-5),)


def test_statistics_of_channels() -> None:
    """By channel, over samples and pixels; a constant channel is divided by 1."""
    pictures = np.zeros((2, 2, 3, 3), np.uint8)
    pictures[0, 1] = 255
    assert statistics(pictures, 255.0) == ((0.0, 0.5), (1.0, 0.5))


def test_mean_and_std_can_be_given(tmp_path: Path) -> None:
    """What the project says goes before what is computed; one value for each channel is needed."""
    contract = split(samples(), settings(mean=(0.5,), std=(2.0,)), tmp_path).contract
    assert (contract.mean, contract.std) == ((0.5,), (2.0,))
    with pytest.raises(InputError, match="mean has 3 values, expected one for each of 1 channels"):
        split(samples(), settings(mean=(0.5, 0.5, 0.5)), tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"validation": 0.0},
        {"validation": 1.0},
        {"test": float("nan")},
        {"limit": 0},
        {"shift": -1},
        {"size": (0, 8)},
        {"std": (0.0,)},
        {"mean": (float("inf"),)},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    """The message names the key."""
    with pytest.raises(InputError, match=rf"\[data\] {next(iter(wrong))} is"):
        settings(**wrong)
