"""Hypervolume of accuracy and cost: exact, never falling, and as a library computes it."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.search.front import Figure, Point
from edgekd.search.hypervolume import hypervolume, over_time, reference_of
from edgekd.types import Budget, Candidate


def point(number: int, accuracy: float, latency: float | None) -> Point:
    figures = {} if latency is None else {"latency_ms": Figure.measured(latency)}
    return Point(candidate=Candidate.of("f", {"n": number}), params=1, accuracy=accuracy, precision="fp32", figures=figures)


@pytest.mark.parametrize(
    ("pairs", "area"),
    [
        ([], 0.0),
        ([(0.5, 1.0)], 0.5 * 3),  # one rectangle, 3 ms wide to the reference at 4 ms
        ([(0.5, 1.0), (0.75, 2.0)], 0.5 * 3 + 0.25 * 2),  # and what the second adds above it
        ([(0.75, 2.0), (0.5, 1.0), (0.5, 3.0), (0.75, 2.0)], 2.0),  # beaten and repeated ones add nothing
        ([(0.9, 4.0), (0.9, 5.0), (0.0, 1.0)], 0.0),  # no better than the reference
    ],
)
def test_against_a_hand_calculation(pairs: list[tuple[float, float]], area: float) -> None:
    """Rectangles added up by hand, reference 0 accuracy at 4 ms."""
    assert hypervolume(pairs, (0.0, 4.0)) == pytest.approx(area, abs=1e-15)


def test_against_a_library() -> None:
    """Random fronts give the area that Optuna's own computation gives, accuracies negated since it minimizes."""
    compute = pytest.importorskip("optuna._hypervolume").compute_hypervolume
    rng = np.random.default_rng(0)
    for size in (1, 2, 17, 200):
        pairs = rng.random((size, 2)) * [1.0, 5.0]
        theirs = compute(np.minimum(pairs, 4.0) * [-1.0, 1.0], np.array([0.0, 4.0]))  # it refuses what is beyond the reference
        assert hypervolume([tuple(pair) for pair in pairs.tolist()], (0.0, 4.0)) == pytest.approx(theirs, rel=1e-12)


def test_the_reference_is_the_budget_or_the_dearest() -> None:
    """With a limit its value, without one the highest cost, and the accuracy of chance."""
    points = [point(0, 0.9, 1.0), point(1, 0.95, 3.0), point(2, 0.8, None)]
    assert reference_of(points, "latency_ms", Budget(latency_ms=2.0), chance=0.1) == (0.1, 2.0)
    assert reference_of(points, "latency_ms", Budget()) == (0.0, 3.0)
    assert reference_of([], "latency_ms", Budget()) == (0.0, 0.0)


def test_over_time_in_the_order_of_measuring() -> None:
    """Each measured student is counted; those that add nothing leave the value as it was."""
    points = [point(0, 0.5, 1.0), point(1, 0.5, 3.0), point(2, 0.6, None), point(3, 0.75, 2.0)]
    assert over_time(points, "latency_ms", (0.0, 4.0)) == [
        {"measured": 1, "value": 1.5},
        {"measured": 2, "value": 1.5},
        {"measured": 3, "value": 1.5},
        {"measured": 4, "value": 2.0},
    ]


PAIRS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 10)), max_size=20)


@given(PAIRS, st.tuples(st.floats(0, 0.5), st.floats(0, 10)))
def test_it_never_falls(pairs: list[tuple[float, float]], reference: tuple[float, float]) -> None:
    """More points, no less hypervolume; step by step and at once are the same; and order does not count."""
    points = [point(n, accuracy, cost) for n, (accuracy, cost) in enumerate(pairs)]
    values = [0.0, *(row["value"] for row in over_time(points, "latency_ms", reference))]
    assert all(later >= earlier - 1e-12 for earlier, later in pairwise(values))
    assert values[-1] == hypervolume(pairs, reference) == hypervolume(pairs[::-1], reference)
