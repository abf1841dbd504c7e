"""Debiased CKA: golden values, invariances, the null, and the ways in which implementations of it are known to fail."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.data import RawArray
from edgekd.errors import InputError
from edgekd.fidelity.cka import Similarity, embedding_similarity, hsic


def golden() -> tuple[RawArray, RawArray, RawArray, RawArray]:
    """Two related and two independent embeddings, drawn in the order of the reference values."""
    random = np.random.default_rng(0)
    random.normal(size=(2, 3, 2, 2))
    random.normal(size=(2, 5, 2, 2))
    x = random.normal(size=(32, 6))
    y = x @ random.normal(size=(6, 4)) + 0.5 * random.normal(size=(32, 4))
    return x, y, random.normal(size=(32, 64)), random.normal(size=(32, 64))


def similarity(x: RawArray, y: RawArray, **options: int) -> Similarity:
    return embedding_similarity(x, y, **{"permutations": 19, **options})


def value(x: RawArray, y: RawArray, **options: int) -> float:
    found = similarity(x, y, **options).value
    assert found is not None
    return found


def biased(x: RawArray, y: RawArray) -> float:
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return float(np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


def test_values_are_golden() -> None:
    """Independent embeddings come out at about 0, where the usual estimate says 0.65; an embedding with itself at 1."""
    x, y, z, w = golden()
    assert biased(z, w) == pytest.approx(0.6503011438594554)
    assert value(z, w) == pytest.approx(-0.04724938196795504)
    assert value(x, y) == pytest.approx(0.5582795963901828)
    assert value(z, z) == pytest.approx(1)


def test_hsic_is_the_mean_over_all_samples_taken_four_at_a_time() -> None:
    """The closed form is the U-statistic: unbiased because no sample is paired with itself."""
    x, y = golden()[0][:6], golden()[1][:6]
    k, ell = x @ x.T, y @ y.T
    places = range(6)
    fours = [(i, j, q, r) for i in places for j in places for q in places for r in places if len({i, j, q, r}) == 4]
    expected = np.mean([k[i, j] * (ell[i, j] + ell[q, r] - 2 * ell[i, q]) for i, j, q, r in fours])
    np.fill_diagonal(k, 0)
    np.fill_diagonal(ell, 0)
    assert hsic(k, ell) == pytest.approx(float(expected))


@given(seed=st.integers(0, 2**32), scale=st.floats(1e-6, 1e6), shift=st.floats(-100, 100))
def test_turning_scaling_and_moving_an_embedding_changes_nothing(seed: int, scale: float, shift: float) -> None:
    """What a following linear layer can undo is no difference."""
    random = np.random.default_rng(seed)
    x, y = random.normal(size=(20, 5)), random.normal(size=(20, 7))
    turn = np.linalg.qr(random.normal(size=(7, 7)))[0]
    first, second = similarity(x, y), similarity(x, (y @ turn + shift) * scale)
    assert second.value == pytest.approx(first.value, abs=1e-9)
    assert second.null_p95 == pytest.approx(first.null_p95, abs=1e-9)


@given(seed=st.integers(0, 2**32), samples=st.integers(8, 40))
def test_it_is_symmetric_and_at_most_one(seed: int, samples: int) -> None:
    """Which network is called the first does not matter."""
    random = np.random.default_rng(seed)
    x, y = random.normal(size=(samples, 3)), random.normal(size=(samples, 30))
    assert value(x, y) == pytest.approx(value(y, x), abs=1e-12)
    assert -1 <= value(x, y) <= 1


def test_the_null_tells_related_from_unrelated() -> None:
    """Related embeddings reach the least p-value that so many permutations have; independent ones lie inside the null."""
    x, y, z, w = golden()
    related, unrelated = asdict(embedding_similarity(x, y)), asdict(embedding_similarity(z, w))
    assert related["p_value"] == 1 / 200
    assert related["value"] > related["null_p95"] > related["null_mean"]
    assert unrelated["p_value"] > 0.05
    assert unrelated["value"] < unrelated["null_p95"]
    assert abs(related["null_mean"]) < 0.05


def test_p_values_of_independent_embeddings_are_uniform() -> None:
    """A test at the level 0.1 refuses a tenth of what is unrelated: the +1 rule makes it no more."""
    random = np.random.default_rng(1)
    pairs = [(random.normal(size=(12, 4)), random.normal(size=(12, 4))) for _ in range(300)]
    found = np.array([similarity(*pair, seed=run).p_value for run, pair in enumerate(pairs)], np.float64)
    assert 0.05 < np.mean(found <= 0.1) < 0.15
    assert found.min() >= 1 / 20


def test_the_seed_decides_everything() -> None:
    """The same seed gives the same figures, another one another null."""
    x, y, _, _ = golden()
    assert similarity(x, y, seed=3) == similarity(x, y, seed=3)
    assert similarity(x, y, seed=3).null_mean != similarity(x, y, seed=4).null_mean


def test_batches_are_summed_before_anything_is_divided() -> None:
    """Minibatch CKA of many samples is near that of all at once; a mean of ratios would not be the same number."""
    random = np.random.default_rng(2)
    x = random.normal(size=(640, 6)) * np.array([5, 1, 1, 1, 1, 1])
    y = x @ random.normal(size=(6, 4)) + 2 * random.normal(size=(640, 4))
    assert value(x, y, batch=64) == pytest.approx(value(x, y, batch=640), abs=0.02)


@pytest.mark.parametrize(("samples", "used"), [(65, 64), (67, 64), (95, 64), (96, 96), (20, 20)])
def test_a_small_last_batch_is_left_out(samples: int, used: int) -> None:
    """A rest of 1 to 3 samples would divide by zero; the result says how many samples it is of."""
    random = np.random.default_rng(3)
    found = similarity(random.normal(size=(samples, 4)), random.normal(size=(samples, 4)), batch=32)
    assert found.samples == used
    assert found.value is not None
    assert math.isfinite(found.value)


@pytest.mark.parametrize("samples", [0, 1, 2, 3, 4, 7])
def test_too_few_samples_are_an_error(samples: int) -> None:
    """Up to three samples the formula divides by zero or changes sign; up to seven it is mostly noise."""
    with pytest.raises(InputError, match=f"CKA of {samples} samples .* at least 8"):
        similarity(np.ones((samples, 2)), np.ones((samples, 2)))


def test_too_small_batches_are_an_error() -> None:
    """The same holds for the samples of one batch."""
    with pytest.raises(InputError, match="in batches of 3: expected at least 8"):
        similarity(np.ones((100, 2)), np.ones((100, 2)), batch=3)


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_large_float32_values_lose_nothing(scale: float, offset: float) -> None:
    """In float32 sums of such values overflow, or their rounding exceeds HSIC and its root is none."""
    random = np.random.default_rng(4)
    plain, other = random.normal(size=(64, 16)), random.normal(size=(64, 16))
    large = ((plain + offset) * scale).astype(np.float32)
    assert value(large, other) == pytest.approx(value(plain, other), abs=1e-4)
    assert value(large, plain) == pytest.approx(1, abs=1e-4)


def outlier(samples: int) -> RawArray:
    """One sample differs from all others: its HSIC with itself is 0 but for rounding, which may be below."""
    embedding = np.full((samples, 3), 0.1)
    embedding[1] = 1.7
    return embedding


@pytest.mark.parametrize("embedding", [np.full((50, 3), 0.1), np.zeros((50, 3)), outlier(50)], ids=["0.1", "0", "outlier"])
def test_an_embedding_that_does_not_vary_has_no_likeness(embedding: RawArray) -> None:
    """None and a reason on either side, in place of NaN from the root of a negative number."""
    other = np.random.default_rng(5).normal(size=(50, 4))
    first, second = similarity(embedding, other), similarity(other, embedding)
    assert first.value is first.p_value is second.value is None
    assert first.reason == "the first embedding does not vary between samples"
    assert second.reason == "the second embedding does not vary between samples"
    json.dumps([asdict(first), asdict(second)], allow_nan=False)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones((9, 2)), np.ones((8, 2)), "shapes (9, 2) and (8, 2)"),
        (np.ones((9, 2, 2)), np.ones((9, 2)), "expected (N, D1) and (N, D2)"),
        (np.full((9, 2), np.nan), np.ones((9, 2)), "not finite"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(x: RawArray, y: RawArray, message: str) -> None:
    """The message says what was found and what was expected."""
    with pytest.raises(InputError) as caught:
        similarity(x, y)
    assert message in str(caught.value)
