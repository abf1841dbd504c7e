"""Figures against a budget: what is over, by how much, and the sentence that says so."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.search.budget import (
    apart,
    least_accuracy,
    leeway_of,
    number,
    over_budget,
    smallest_reachable,
    unmeasured,
    violation,
)
from edgekd.types import Budget

LIMITS = ("latency_ms", "peak_memory_bytes", "size_bytes", "energy_mj")
FIGURES = st.floats(1e-4, 1e9, allow_nan=False)


def record(latency: float | None, memory: float | None, size: float, energy: float | None) -> dict[str, Any]:
    """A profile whose latencies are all equal, so that every percentile is that figure."""
    return {
        "values": {"latency_ms": [] if latency is None else [latency] * 200},
        "peak_memory_bytes": {"value": memory},
        "size_bytes": size,
        "energy_mj": {"value": energy},
    }


RECORDS = st.builds(record, st.none() | FIGURES, st.none() | FIGURES, FIGURES, st.none() | FIGURES)
BUDGETS = st.builds(Budget, **{limit: st.none() | FIGURES for limit in LIMITS})


def figure(found: dict[str, Any], limit: str) -> float | None:
    if limit == "latency_ms":
        return found["values"]["latency_ms"][0] if found["values"]["latency_ms"] else None
    return found[limit] if limit == "size_bytes" else found[limit]["value"]


@given(RECORDS, BUDGETS)
def test_over_is_what_exceeds_its_limit(found: dict[str, Any], budget: Budget) -> None:
    """Exactly the limits that are set, measured and exceeded are over, the relatively worst first."""
    over = over_budget(found, budget)
    expected = {
        limit
        for limit in LIMITS
        if getattr(budget, limit) is not None
        and figure(found, limit) is not None
        and figure(found, limit) > getattr(budget, limit)
    }
    assert {item.limit for item in over} == expected
    excess = [item.value / item.allowed for item in over]
    assert excess == sorted(excess, reverse=True)
    assert all(share > 1 for share in excess) or not excess


@given(RECORDS, BUDGETS)
def test_unmeasured_is_what_is_set_and_unknown(found: dict[str, Any], budget: Budget) -> None:
    """A limit that nothing measured is neither over nor within: it is named."""
    expected = [limit for limit in LIMITS if getattr(budget, limit) is not None and figure(found, limit) is None]
    assert unmeasured(found, budget) == expected


@given(RECORDS)
def test_figures_at_their_limits_are_within(found: dict[str, Any]) -> None:
    """Equal to the limit is not over it."""
    budget = Budget(**{limit: figure(found, limit) for limit in LIMITS})
    assert over_budget(found, budget) == []
    assert violation([found], budget) == 0


@given(st.lists(RECORDS, min_size=1, max_size=4), BUDGETS)
def test_violation_is_of_the_best(found: list[dict[str, Any]], budget: Budget) -> None:
    """At most 0 exactly where one of the records fits, and never more than any one's own."""
    excess = violation(found, budget)
    assert (excess <= 0) == any(not over_budget(item, budget) for item in found)
    assert excess == min(violation([item], budget) for item in found)


def test_violation_of_nothing_is_bad() -> None:
    """A candidate that could not be built at all counts as over budget."""
    assert violation([], Budget(latency_ms=1.0)) > 0


@given(st.lists(FIGURES, min_size=1, max_size=5), st.floats(0.01, 0.9))
def test_smallest_reachable_names_the_smallest(latencies: list[float], share: float) -> None:
    """The sentence has the smallest of the figures with its unit, and its number reads as it within 0.1 %."""
    budget = Budget(latency_ms=min(latencies) * share)
    over, text = smallest_reachable([record(latency, 1, 1, None) for latency in latencies], budget)
    assert over.value == min(latencies)
    words = text.split()
    assert words[:2] == ["smallest", "reachable"]
    assert words[3] == "ms"
    assert float(words[2]) == pytest.approx(min(latencies), rel=1e-3)
    assert "latency_ms p90" in text


def test_the_binding_limit_is_the_one_hardest_to_meet() -> None:
    """A record a hundred times over in size and twice in latency is bound by its size."""
    over, text = smallest_reachable([record(2.0, 1, 100_000, None)], Budget(latency_ms=1.0, size_bytes=1000))
    assert over.limit == "size_bytes"
    assert text == "smallest reachable 100000 bytes (size_bytes), the budget is 1000 bytes"


@given(st.floats(1e-9, 1e15))
def test_a_number_reads_back(value: float) -> None:
    """No exponent, ever, and within 0.1 % of the value."""
    text = number(value)
    assert "e" not in text.lower()
    assert math.isclose(float(text), value, rel_tol=1e-3)


@pytest.mark.parametrize(
    ("value", "text"), [(3.1, "3.1"), (0.123456, "0.1235"), (300_000, "300000"), (1e-6, "0.000001"), (12345.6, "12350"), (0, "0")]
)
def test_numbers_as_people_write_them(value: float, text: str) -> None:
    """Four digits, and whole numbers as they are."""
    assert number(value) == text


def test_accuracy_demands_add_up_to_the_stricter() -> None:
    """Of a floor and a drop from the teacher's, the higher accuracy is demanded; of neither, none."""
    assert least_accuracy(Budget(), 0.9) is None
    assert least_accuracy(Budget(min_accuracy=0.8), 0.9) == 0.8
    assert least_accuracy(Budget(min_accuracy=0.8, max_accuracy_drop=0.05), 0.9) == pytest.approx(0.85)
    assert least_accuracy(Budget(min_accuracy=0.88, max_accuracy_drop=0.05), 0.9) == 0.88


def test_a_percentile_needs_its_samples() -> None:
    """Thirty latencies give no p90: the limit counts as unmeasured, not as met."""
    found = record(1.0, 1, 1, None) | {"values": {"latency_ms": [1.0] * 30}}
    assert unmeasured(found, Budget(latency_ms=0.5)) == ["latency_ms"]


def measured(latency: float, memory: int = 1000) -> dict[str, Any]:
    """An artifact's figures: `latency` in ms at every percentile, peak memory in bytes."""
    return {
        "values": {"latency_ms": [latency] * 64},
        "peak_memory_bytes": {"value": memory},
        "size_bytes": 10,
        "energy_mj": {"value": None},
    }


def test_a_budget_is_held_by_what_two_measurements_differ_by() -> None:
    """Just within counts only as far as measuring it again would not change it; sizes are exact and need no leeway."""
    budget = Budget(latency_ms=1.05, size_bytes=10)
    leeway = leeway_of(measured(1.0), measured(0.96), budget)
    assert leeway == {"latency_ms": pytest.approx(1 / 24), "peak_memory_bytes": 0.01}
    assert not over_budget({**measured(1.0), "leeway": leeway}, budget)
    tight = replace(budget, latency_ms=1.04)
    assert not over_budget(measured(1.0), tight)
    assert [over.limit for over in over_budget({**measured(1.0), "leeway": leeway}, tight)] == ["latency_ms"]
    _, text = smallest_reachable([{**measured(1.0), "leeway": leeway}], tight)
    assert "with 4.2% for what two measurements differ by" in text


@given(st.floats(1e-6, 1e9), st.floats(1e-12, 0.5))
def test_figures_that_differ_read_differently(allowed: float, share: float) -> None:
    """Nobody is told that 0.01531 ms is over a budget of 0.01531 ms."""
    value = allowed * (1 + share)
    if value != allowed:
        reached, limit = apart(value, allowed)
        assert reached != limit
        assert float(reached) >= float(limit)
