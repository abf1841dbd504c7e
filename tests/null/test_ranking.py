"""Kendall's tau of the supernet's ranking: as a library computes it, with an interval that covers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from edgekd.errors import InputError
from edgekd.search.ranking import Pair, ranking


def pairs(supernet: list[float], alone: list[float]) -> list[Pair]:
    return [Pair(candidate=f"c{n}", supernet=x, alone=y) for n, (x, y) in enumerate(zip(supernet, alone, strict=True))]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=8, max_size=12))
def test_tau_as_scipy_has_it(rows: list[tuple[int, int]]) -> None:
    """With ties on either side; where nothing is ranked there is no tau; and the interval holds tau."""
    supernet, alone = ([float(row[side]) for row in rows] for side in (0, 1))
    found, theirs = ranking(pairs(supernet, alone), np.random.default_rng(0)), kendalltau(supernet, alone).statistic
    if np.isnan(theirs):
        assert found["kendall_tau"] is found["low"] is found["high"] is None
    else:
        assert found["kendall_tau"] == pytest.approx(theirs, abs=1e-12)
        assert -1 <= found["low"] <= found["kendall_tau"] <= found["high"] <= 1


def test_all_in_order_is_not_certain() -> None:
    """Eight that rank alike: tau 1, and an interval that a resampling of them alone would not have."""
    values = [0.1 * n for n in range(8)]
    found = ranking(pairs(values, values), np.random.default_rng(0))
    assert (found["kendall_tau"], found["high"]) == (1.0, 1.0)
    assert 0.8 < found["low"] < 0.95


def test_the_interval_covers() -> None:
    """Of 200 samples of 12 normal pairs with a tau of 0.6, at least 90 of 100 intervals of 95 % hold it; half do not hold 0."""
    rng, rho = np.random.default_rng(1), np.sin(np.pi * 0.6 / 2)
    held = []
    for _ in range(200):
        x = rng.standard_normal(12)
        y = rho * x + np.sqrt(1 - rho**2) * rng.standard_normal(12)
        found = ranking(pairs(x.tolist(), y.tolist()), rng)
        held.append((found["low"] <= 0.6 <= found["high"], found["low"] <= 0))
    covered, useless = np.mean(held, axis=0)
    assert covered >= 0.9
    assert useless <= 0.5


def test_the_same_generator_gives_the_same_interval() -> None:
    """Every draw is from the generator given."""
    rng = np.random.default_rng(3)
    sample = pairs(rng.random(20).tolist(), rng.random(20).tolist())
    one, other = (ranking(sample, np.random.default_rng(7)) for _ in range(2))
    assert one == other
    assert one["pairs"][0] == {"candidate": "c0", "supernet": sample[0].supernet, "alone": sample[0].alone}


def test_too_few_or_wrong_subnets_are_refused() -> None:
    """Seven do not tell; the same twice is none; a number that is not finite is none."""
    values = [0.1 * n for n in range(8)]
    with pytest.raises(InputError, match="7 subnets, expected at least 8"):
        ranking(pairs(values, values)[:7], np.random.default_rng(0))
    with pytest.raises(InputError, match="occurs twice"):
        ranking([*pairs(values, values)[:7], pairs(values, values)[0]], np.random.default_rng(0))
    with pytest.raises(InputError, match="that are numbers"):
        ranking(pairs(values, [float("nan"), *values[1:]]), np.random.default_rng(0))
