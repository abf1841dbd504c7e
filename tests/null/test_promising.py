"""Which students are worth a rating: what is clearly smaller than another that fits as well is not."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgekd.search.costing import SMALLER, enlarged, not_smaller
from edgekd.students.space import Space
from edgekd.types import Budget, Candidate

SPACE = Space(family="resnet", axes={"width": (4, 8, 16), "depth": (1, 2, 3)})
STUDENTS = SPACE.candidates()


def student(width: int, depth: int) -> Candidate:
    return Candidate.of("resnet", {"width": width, "depth": depth})


def test_a_neighbour_stays_and_what_is_smaller_by_two_steps_goes() -> None:
    """One step below what fits may still be the better one by training; students larger on another axis are no less."""
    assert not_smaller(SPACE, STUDENTS, [student(8, 2)]) == set(STUDENTS) - {student(4, 1)}
    assert not_smaller(SPACE, STUDENTS, [student(16, 3)]) == {student(16, 3), student(8, 3), student(16, 2)}


def test_without_one_that_surely_fits_all_stay() -> None:
    assert not_smaller(SPACE, STUDENTS, []) == set(STUDENTS)
    assert not_smaller(SPACE, [], STUDENTS) == set()


@given(st.sets(st.sampled_from(STUDENTS), min_size=1), st.sets(st.sampled_from(STUDENTS), min_size=1))
def test_it_is_as_defined_pair_by_pair(ours: set[Candidate], theirs: set[Candidate]) -> None:
    def beaten(one: Candidate) -> bool:
        gaps = [np.subtract(SPACE.steps(other), SPACE.steps(one)) for other in theirs]
        return any(gap.min() >= 0 and gap.sum() >= SMALLER for gap in gaps)

    assert not_smaller(SPACE, sorted(ours, key=str), sorted(theirs, key=str)) == {one for one in ours if not beaten(one)}


def test_only_costs_are_enlarged() -> None:
    budget = Budget(latency_ms=2.0, size_bytes=1000, min_accuracy=0.9)
    assert enlarged(budget, 1.5) == Budget(latency_ms=3.0, size_bytes=1500.0, min_accuracy=0.9)  # type: ignore[arg-type]
