"""Hypervolume of accuracy and cost: how much of what could be wanted the measured students cover, as a search goes on.

The area between a reference point, worst in both, and the Pareto front. It grows only where a new student beats the front.

Source: Zitzler, Thiele 1998, "Multiobjective Optimization Using Evolutionary Algorithms", PPSN V (size of the space covered).
"""

from collections.abc import Iterable, Sequence

from edgekd.search.front import Point
from edgekd.types import Budget

Pair = tuple[float, float]
"""(accuracy, cost): more of the first is better, less of the second."""


def hypervolume(pairs: Iterable[Pair], reference: Pair) -> float:
    """The area that the pairs dominate down to `reference`, in accuracy times the unit of the cost; exact.

    A pair that is no better than the reference in both adds nothing.
    """
    (floor, ceiling), area = reference, 0.0
    best = floor
    inside = [(accuracy, cost) for accuracy, cost in pairs if accuracy > floor and cost < ceiling]
    for accuracy, cost in sorted(inside, key=lambda pair: (pair[1], -pair[0])):
        if accuracy > best:
            area += (accuracy - best) * (ceiling - cost)
            best = accuracy
    return area


def reference_of(points: Iterable[Point], limit: str, budget: Budget, chance: float = 0.0) -> Pair:
    """The reference of one deployment: `chance` accuracy at the budget's limit, or where none is set at the dearest cost.

    With a limit, students over it add nothing. `chance` is 1 / classes, or 0.
    """
    allowed = getattr(budget, limit)
    dearest = max((p.figures[limit].value for p in points if limit in p.figures), default=0.0)
    return chance, float(dearest if allowed is None else allowed)


def over_time(points: Sequence[Point], limit: str, reference: Pair) -> list[dict[str, float]]:
    """The hypervolume after each of `points`, in the order in which they were measured: `[{"measured": n, "value": v}]`.

    A point without a figure for `limit` counts as measured and adds nothing.
    """
    values, front = [], list[Pair]()
    for number, point in enumerate(points, start=1):
        if limit in point.figures:
            front = _joined(front, (point.accuracy, point.figures[limit].value))
        values.append({"measured": number, "value": hypervolume(front, reference)})
    return values


def _joined(front: list[Pair], new: Pair) -> list[Pair]:
    """The front with a new pair: unchanged where the pair is beaten, else without those that it beats."""
    if any(accuracy >= new[0] and cost <= new[1] for accuracy, cost in front):
        return front
    return [*(pair for pair in front if not (new[0] >= pair[0] and new[1] <= pair[1])), new]
