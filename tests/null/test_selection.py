"""What ships: accuracy first, beyond chance; then speed, beyond noise; then size."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgekd.search.selection import choose, ties
from edgekd.types import Budget
from edgekd.verify import pack

N = 1000
BUDGET = Budget()


def record(
    precision: str, right: int, latency: float | None, size: int = 1000, within: bool = True, failed: bool = False
) -> dict[str, Any]:
    """An artifact that gets the first `right` of N samples right."""
    flags = np.arange(N) < right
    return {
        "precision": precision,
        "target": "null",
        "failure": {"stage": "verify"} if failed else None,
        "within_budget": within,
        "accuracy": {"artifact": right / N},
        "latency_ms": {"p50": latency},
        "size_bytes": size,
        "correct": pack(flags),
    }


def chosen(*records: dict[str, Any]) -> str | None:
    found = choose(list(records), BUDGET)
    return None if found is None else found["precision"]


def test_accuracy_beyond_chance_wins() -> None:
    """Twenty samples more of a thousand are no luck: the accurate one ships though it is slower and larger."""
    assert chosen(record("fp32", 950, 2.0, 4000), record("w8a8", 930, 0.5, 1000)) == "fp32"


def test_a_tie_goes_to_the_faster() -> None:
    """One sample more is chance: the faster one ships."""
    assert chosen(record("fp32", 931, 2.0), record("w8a8", 930, 1.0)) == "w8a8"


def test_int8_that_is_slower_does_not_ship() -> None:
    """As on AVX2 without VNNI: a smaller file does not make up for slower answers at the same accuracy."""
    assert chosen(record("fp32", 930, 0.148, 4000), record("w8a8", 930, 0.227, 1000)) == "fp32"


def test_a_latency_within_the_noise_is_no_reason() -> None:
    """Two per cent faster is noise: the smaller one ships."""
    assert chosen(record("fp32", 930, 1.00, 4000), record("w8a8", 930, 1.02, 1000)) == "w8a8"


def test_what_cannot_be_measured_is_told_apart_by_size() -> None:
    """Off a Mac no Core ML artifact has a latency: the smallest of those that tie ships."""
    assert chosen(record("fp16", 930, None, 2000), record("w8", 930, None, 1000)) == "w8"


def test_failed_and_over_budget_never_ship() -> None:
    """The best figures do not help what failed or is over budget; nothing may be left."""
    bad = (record("fp32", 990, 0.1, failed=True), record("fp16", 980, 0.1, within=False))
    assert chosen(*bad, record("w8", 500, 9.0)) == "w8"
    assert chosen(*bad) is None


RECORDS = st.lists(
    st.builds(
        record,
        st.sampled_from(["fp32", "w8", "w8a8"]),
        st.integers(0, N),
        st.floats(0.01, 100) | st.none(),
        st.integers(1, 9999),
        st.booleans(),
        st.booleans(),
    ),
    max_size=6,
)


@given(RECORDS)
def test_the_choice_is_never_worse_than_chance_explains(records: list[dict[str, Any]]) -> None:
    """Whatever is chosen fits, and ties with the most accurate that fits; in any order of the records it is as good."""
    fitting = [item for item in records if item["failure"] is None and item["within_budget"]]
    found = choose(records, BUDGET)
    assert (found is None) == (not fitting)
    if found is not None:
        best = max(fitting, key=lambda item: item["accuracy"]["artifact"])
        assert found in fitting
        assert ties(found, best)


@given(st.integers(0, N), st.integers(0, N))
def test_ties_are_mutual(one: int, other: int) -> None:
    """Each ties with itself, and the question has the same answer both ways."""
    a, b = record("fp32", one, 1.0), record("w8", other, 1.0)
    assert ties(a, a)
    assert ties(a, b) == ties(b, a)
