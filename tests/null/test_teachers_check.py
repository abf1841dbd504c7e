"""A teacher that does not fit the data is found out before anything is trained. Teachers here are functions of arrays."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekd.data import Data
from edgekd.data.settings import DataSettings
from edgekd.data.splits import Samples, split
from edgekd.errors import InputError
from edgekd.teachers import TeacherOutputs
from edgekd.teachers.check import accuracy, check_teacher
from edgekd.teachers.loaded import BATCH, LoadedTeacher, gives_probabilities, with_logits

Floats = NDArray[np.float32]


@pytest.fixture(scope="module")
def data() -> Data:
    """Samples of four features: one is lit, and its place is the label. Not normalised."""
    labels = np.arange(800) % 4
    inputs = np.eye(4, dtype=np.float32)[labels]
    samples = Samples(name="lit", inputs=inputs, labels=labels, classes=tuple("abcd"), value_max=1.0)
    return split(samples, DataSettings(source="lit", mean=(0.0,) * 4, std=(1.0,) * 4, validation=0.5), Path())


def teacher(logits: Callable[[Floats], Floats], embedding: Callable[[Floats], Floats] | None = None) -> LoadedTeacher:
    def answer(inputs: Floats) -> TeacherOutputs:
        return TeacherOutputs(logits=logits(inputs), embedding=embedding(inputs) if embedding else None)

    return LoadedTeacher(name="t", params=None, fingerprint="f", runtime="numpy", answer=answer)


def test_a_good_teacher_passes(data: Data) -> None:
    """Its accuracy, chance, classes and the size of its embedding are told."""
    check = check_teacher(teacher(lambda x: x * 5, lambda x: x[:, :3]), data, limit=100)
    assert (check.accuracy, check.samples, check.classes, check.embedding_size) == (1.0, 100, 4, 3)
    assert 0.2 < check.chance < 0.35


def test_the_sample_is_spread_over_the_split(data: Data) -> None:
    """A teacher that is right on three classes of four gets 0.75, also where only a part is asked about."""
    three = teacher(lambda x: x * np.array([1, 1, 1, 0], np.float32))
    assert check_teacher(three, data, limit=80).accuracy == pytest.approx(0.75, abs=0.1)
    assert accuracy(three, data.test, data.contract) == pytest.approx(0.75, abs=0.01)


def _refuse(x: Floats) -> Floats:
    raise RuntimeError("mat1 and mat2 shapes cannot be multiplied\nmore")


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (lambda x: x[:, :3], r"answers with shape \(320, 3\) for 320 samples, expected \(320, 4\)"),
        (lambda x: x[:1], r"answers with shape \(2, 4\)"),
        (lambda x: x * np.float32("nan"), "NaN or infinite"),
        (lambda x: x / 0, "NaN or infinite"),
        (_refuse, r"does not take samples of shape \(4,\): mat1 and mat2"),
        (lambda x: np.zeros_like(x), "knows nothing of data 'lit': .* of 320 validation samples right"),
        (lambda x: np.roll(x, 1, axis=1), "knows nothing of data 'lit': 0 of 320"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_a_wrong_teacher_is_refused(data: Data, logits: Callable[[Floats], Floats], message: str) -> None:
    """Classes, samples, NaN, shapes, guessing: what was expected and found is said in one line."""
    with pytest.raises(InputError, match=message) as caught:
        check_teacher(teacher(logits), data)
    assert "\n" not in str(caught.value)


def test_few_samples_are_enough_for_a_perfect_teacher(data: Data) -> None:
    """The margin above chance is that of a binomial test, not a fixed one: ten of ten is no luck."""
    assert check_teacher(teacher(lambda x: x), data, limit=10).accuracy == 1.0


def test_batches_are_bounded_and_joined() -> None:
    """Any number of samples is answered, a bounded number at a time, in order."""
    sizes = []

    def logits(inputs: Floats) -> Floats:
        sizes.append(len(inputs))
        return inputs * 2

    inputs = np.random.default_rng(0).normal(size=(2 * BATCH + 5, 3)).astype(np.float32)
    found = teacher(logits, lambda x: x[:, :1]).outputs(inputs)
    assert sizes == [BATCH, BATCH, 5]
    np.testing.assert_array_equal(found.logits, inputs * 2)
    np.testing.assert_array_equal(found.embedding, inputs[:, :1])


def test_probabilities_become_logits() -> None:
    """Distributions are told from logits; their logarithms have the same softmax, and stay finite at 0."""
    logits = np.random.default_rng(0).normal(size=(128, 5)).astype(np.float32)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert gives_probabilities(probabilities)
    assert not gives_probabilities(logits)
    assert not gives_probabilities(np.abs(logits))
    found = with_logits(teacher(lambda x: x)).outputs(probabilities).logits
    np.testing.assert_allclose(found - found[:, :1], logits - logits[:, :1], atol=1e-5)
    assert np.isfinite(with_logits(teacher(lambda x: x)).outputs(np.eye(3, dtype=np.float32)).logits).all()
