"""Candidates as points of accuracy and cost: what fits a budget, and what no other point beats.

A figure may be measured or predicted. It is held against a limit by its value or, where only certainty helps, by the upper end
of its interval; a limit without a figure cannot be held against anything and is not (see `unmeasured`).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from edgekd.types import Budget, Candidate, Provenance

LIMITS = ("latency_ms", "peak_memory_bytes", "size_bytes", "energy_mj")
"""The limits of a budget that are costs: less is better."""
Judged = Literal["value", "high"]
"""By what a figure is held against a limit: its value, or the upper end of its interval."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One cost of a point, in the unit of its limit. `low` and `high` are its interval, equal to `value` where measured.

    Raises:
        ValueError: unless low <= value <= high are finite numbers and the figure is to be had at all.
    """

    value: float
    low: float
    high: float
    provenance: Provenance

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.value <= self.high):
            raise ValueError(f"figure {self.value} with interval {self.low} to {self.high}, expected it to lie inside")
        if self.provenance == Provenance.UNAVAILABLE:
            raise ValueError("a figure that is unavailable is left out of its point")

    @classmethod
    def measured(cls, value: float) -> "Figure":
        return cls(value=value, low=value, high=value, provenance=Provenance.MEASURED)


@dataclass(frozen=True, kw_only=True)
class Point:
    """A candidate as built in one precision for one deployment.

    `accuracy` is a fraction, of the validation split. `figures` has one entry for each limit that could be measured or predicted.
    """

    candidate: Candidate
    params: int
    accuracy: float
    precision: str
    figures: dict[str, Figure] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.candidate.id


def over(point: Point, budget: Budget, judged: Judged = "value") -> list[str]:
    """The limits of the budget that the point's figures exceed."""
    limits = ((limit, getattr(budget, limit)) for limit in LIMITS)
    return [
        limit
        for limit, allowed in limits
        if allowed is not None and limit in point.figures and getattr(point.figures[limit], judged) > allowed
    ]


def unmeasured(point: Point, budget: Budget) -> list[str]:
    """The limits of the budget that the point has no figure for."""
    return [limit for limit in LIMITS if getattr(budget, limit) is not None and limit not in point.figures]


def fits(point: Point, budget: Budget, judged: Judged = "value", least_accuracy: float | None = None) -> bool:
    """Whether the point is within every limit that it has a figure for, and accurate enough.

    Args:
        judged: `high` for what must hold though it is only predicted.
        least_accuracy: what `edgekd.search.budget.least_accuracy` says; None takes the budget's `min_accuracy` alone.
    """
    least = budget.min_accuracy if least_accuracy is None else least_accuracy
    return not over(point, budget, judged) and (least is None or point.accuracy >= least)


def pareto(points: Iterable[Point], limit: str) -> list[Point]:
    """The points that no other beats: none costs less and is as accurate, none is more accurate at that cost. Cheapest first.

    Points without a figure for `limit` are left out; of equal ones the first by id stays.
    """
    front: list[Point] = []
    costly = [point for point in points if limit in point.figures]
    for point in sorted(costly, key=lambda p: (p.figures[limit].value, -p.accuracy, p.id, p.precision)):
        if not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return front


def to_record(point: Point) -> dict[str, Any]:
    """The point as JSON holds it; `from_record` reads it again."""
    return {
        "candidate": {"family": point.candidate.family, "values": point.candidate.values},
        "params": point.params,
        "accuracy": point.accuracy,
        "precision": point.precision,
        "figures": figures_record(point),
    }


def figures_record(point: Point) -> dict[str, dict[str, Any]]:
    """The figures alone, as `report.json` has them."""
    return {
        limit: {"value": f.value, "low": f.low, "high": f.high, "provenance": str(f.provenance)}
        for limit, f in point.figures.items()
    }


def from_record(record: dict[str, Any]) -> Point:
    """What `to_record` wrote, equal to the point it was."""
    candidate = record["candidate"]
    return Point(
        candidate=Candidate.of(candidate["family"], candidate["values"]),
        params=record["params"],
        accuracy=record["accuracy"],
        precision=record["precision"],
        figures={
            limit: Figure(value=f["value"], low=f["low"], high=f["high"], provenance=Provenance(f["provenance"]))
            for limit, f in record["figures"].items()
        },
    )
