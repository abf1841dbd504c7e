"""Percentiles with early stopping against LoadGen's figures and an exact binomial distribution."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.bench.statistics import answer, discardable, evidence, fewest_samples, latency_at, latency_summary, percentile
from edgekd.errors import InputError
from edgekd.types import Provenance

latencies = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=900)


@pytest.mark.parametrize(("n", "t90", "t99"), [(64, 1, 0), (100, 3, 0), (200, 10, 0), (500, 34, 0), (662, 48, 1), (1024, 80, 3)])
def test_matches_the_published_vector(n: int, t90: int, t99: int) -> None:
    """t for p90 and p99 equals the table computed from LoadGen's definition."""
    assert (discardable(n, 90), discardable(n, 99)) == (t90, t99)


@pytest.mark.parametrize(("percent", "least"), [(90, 64), (95, 130), (97, 219), (99, 662), (99.9, 6636)])
def test_fewest_samples_are_those_of_the_rules(percent: float, least: int) -> None:
    """The least sample counts are those of MLPerf's inference rules, and one less gives no answer."""
    assert fewest_samples(percent) == least
    assert percentile([1.0] * least, percent) == 1.0
    assert percentile([1.0] * (least - 1), percent) is None


@given(n=st.integers(1, 160), percent=st.sampled_from([50, 75, 90, 95, 99]))
def test_equals_the_exact_binomial(n: int, percent: int) -> None:
    """t is the largest number whose exact (rational) binomial probability is at most 1 in 100."""
    over = Fraction(100 - percent, 100)
    total, largest = Fraction(0), -1
    for k in range(n + 1):
        total += math.comb(n, k) * over**k * (1 - over) ** (n - k)
        if total > Fraction(1, 100):
            break
        largest = k
    assert discardable(n, percent) == max(largest, 0)


@given(values=latencies, percent=st.sampled_from([75, 90, 95, 99]))
def test_estimate_is_a_value_and_never_below_the_sample_percentile(values: list[float], percent: int) -> None:
    """An early-stopping estimate is one of the values, at or above LoadGen's floor-index percentile."""
    estimate = percentile(values, percent)
    if estimate is not None:
        assert estimate in values
        assert estimate >= sorted(values)[len(values) * percent // 100]


@given(values=latencies)
def test_summary_does_not_depend_on_order_and_is_ordered_itself(values: list[float]) -> None:
    """Reversing the values changes nothing, and p50 <= p90 <= p99 where they exist."""
    summary = latency_summary(values)
    assert summary == latency_summary(values[::-1])
    present = [summary[key] for key in ("p50", "p90", "p99") if summary.get(key) is not None]
    assert present == sorted(present)


@given(values=latencies, factor=st.sampled_from([0.5, 2.0, 1024.0]))
def test_percentiles_scale_with_the_unit(values: list[float], factor: float) -> None:
    """Multiplying all values by a power of two multiplies the percentiles by exactly that."""
    before, after = percentile(values, 90), percentile([v * factor for v in values], 90)
    assert after == (None if before is None else before * factor)


def test_summary_shows_only_what_the_samples_allow() -> None:
    """200 values give a median and a p90 and no p99; 63 give no p90; none are unavailable."""
    values = [float(v) for v in range(1, 201)]
    assert latency_summary(values) == {"p50": 100.5, "p90": 191.0, "mean": 100.5, "n": 200, "provenance": "measured"}
    assert latency_summary(values[:63])["p90"] is None
    assert latency_summary([]) == {"p50": None, "p90": None, "n": 0, "provenance": "unavailable"}
    assert latency_summary([float(v) for v in range(662)], Provenance.EMULATED)["p99"] == 661.0


def test_budget_figure_is_the_median_or_the_bound() -> None:
    """A latency budget at 50 is held against the median, at 90 against the early-stopping estimate."""
    taken = [float(v) for v in range(1, 201)]
    assert (latency_at(taken, 50), latency_at(taken, 90), latency_at(taken, 99)) == (100.5, 191.0, None)
    assert latency_at([], 50) is None


@pytest.mark.parametrize("percent", [0, 100, -5, 101])
def test_refuses_what_is_no_percentile(percent: float) -> None:
    """Percentiles outside (0, 100) are an input error, not a number."""
    with pytest.raises(InputError, match="expected 0 < percentile < 100"):
        percentile([1.0] * 100, percent)


def test_a_limit_is_kept_broken_or_left_open() -> None:
    """Too few samples leave a limit open; enough of them decide, on either side; between the bounds it stays open."""
    values = [float(i) for i in range(1, 1001)]
    assert answer([1.0] * 63, 90, 2.0) == "insufficient evidence"
    assert answer([1.0] * 64, 90, 2.0) == "within"
    assert (answer(values, 90, 950.0), answer(values, 90, 850.0)) == ("within", "over")
    assert answer(values, 90, 900.0) == "insufficient evidence"


def test_evidence_says_what_is_missing() -> None:
    """A percentile without enough queries is answered with how many it needs."""
    assert evidence([1.0] * 200, (90, 99)) == {
        "p90": {"answer": 1.0, "queries": 200, "needed": 64},
        "p99": {"answer": "insufficient evidence", "queries": 200, "needed": 662},
    }
