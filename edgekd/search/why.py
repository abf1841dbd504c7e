"""Why this student: the limit that binds, the runner-up, what a little more budget would buy and a little less would save.

All of it is read off the points of one deployment, measured and predicted; a sentence carries the lowest provenance of the
figures that it rests on. A difference in accuracy that chance alone makes is never called a gain.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from edgekd.errors import InputError
from edgekd.search.budget import UNITS, number
from edgekd.search.front import LIMITS, Figure, Judged, Point, figures_record, fits, over, unmeasured
from edgekd.types import Budget, Candidate, Provenance

Record = dict[str, Any]
WITHIN = 0.5
"""Of a limit: how much more of it is still a little more, for the best that it buys."""
MOST_LOSS = 0.01
"""One point of accuracy: what is still a little less."""
WORTH = 0.05
"""Of a cost: a smaller saving is within the noise of a shared machine, as in `edgekd.search.selection`."""
LABELS = {"latency_ms": "latency", "peak_memory_bytes": "peak memory", "size_bytes": "size", "energy_mj": "energy"}


@dataclass(frozen=True, kw_only=True)
class _Case:
    """What every answer is about. `others` are other students' points that have every figure the selected one is judged by.

    Not the selected student in other precisions: a rating by the supernet is the student's, and tells no precisions apart.
    """

    selected: Point
    others: list[Point]
    budget: Budget
    noise: float
    judged: Judged

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are set and that the selected point has a figure for."""
        found = {limit: getattr(self.budget, limit) for limit in LIMITS if limit in self.selected.figures}
        return {limit: allowed for limit, allowed in found.items() if allowed is not None}

    def figure(self, point: Point, limit: str) -> float:
        return float(getattr(point.figures[limit], self.judged))

    def gain(self, point: Point) -> float:
        return point.accuracy - self.selected.accuracy


def explain(
    points: Iterable[Point],
    selected: Candidate,
    budget: Budget,
    *,
    precision: str | None = None,
    samples: int | None = None,
    noise: float | None = None,
    judged: Judged = "value",
    least_accuracy: float | None = None,
) -> Record:
    """Why `selected` is the answer to `budget`, as `report.json` has it.

    Args:
        points: all points of one deployment, those that do not fit too; `selected` among them.
        precision: of the selected artifact, where points come in several.
        samples: of the validation split, from which `noise` is made where it is not given.
        noise: standard error of a difference between two accuracies, a fraction. By default sqrt(p (1 - p) / samples), p the
            selected one's accuracy: that of paired answers, sqrt(d / samples), where a share d = p (1 - p) is answered rightly
            by only one of the two, as it is between students of one space.
        judged: by what figures are held against limits.
        least_accuracy: as for `edgekd.search.front.fits`.

    Returns:
        `text`, `binding`, `runner_up`, `more`, `less`, `notes`, `noise`. A step of `more` is an increase of one limit alone by
        `by`, in its `unit`, that admits a student more accurate by `gain`, a fraction; in `less`, which is about one limit, both
        are negative.

    Raises:
        InputError: where the selected one is not among the points.
        ValueError: where neither `samples` nor `noise` is given.
    """
    points = list(points)
    chosen = [p for p in points if p.candidate == selected and precision in (None, p.precision)]
    if not chosen:
        raise InputError(f"{selected.id} is not among the {len(points)} points of its deployment")
    case = _case(chosen[0], points, budget, _noise(chosen[0], samples, noise), judged)
    better = [p for p in case.others if case.gain(p) > 0 and over(p, budget, judged)]
    within = [p for p in case.others if fits(p, budget, judged, least_accuracy)]
    binding = _binding(case, better)
    more, less = _more(case, better), _less(case, within, binding)
    return {
        "text": _text(case, binding),
        "binding": binding,
        "runner_up": _runner_up(case, within),
        "more": more,
        "less": less,
        "notes": _notes(case, points, better, more),
        "noise": case.noise,
    }


def _case(selected: Point, points: list[Point], budget: Budget, noise: float, judged: Judged) -> _Case:
    missing = set(unmeasured(selected, budget))
    others = [p for p in points if p.candidate != selected.candidate and set(unmeasured(p, budget)) <= missing]
    return _Case(selected=selected, others=others, budget=budget, noise=noise, judged=judged)


def _noise(selected: Point, samples: int | None, noise: float | None) -> float:
    if noise is not None:
        return noise
    if not samples:
        raise ValueError("explain needs the number of validation samples, or the noise of a difference in accuracy")
    return math.sqrt(selected.accuracy * (1 - selected.accuracy) / samples)


def _binding(case: _Case, better: list[Point]) -> Record | None:
    """Of the limits that keep a more accurate student out, the one that the selected student uses most of."""
    keeping = {limit for point in better for limit in over(point, case.budget, case.judged)}
    shares = {limit: case.figure(case.selected, limit) / allowed for limit, allowed in case.limits.items() if limit in keeping}
    if not shares:
        return None
    limit = max(shares, key=lambda name: shares[name])
    return {
        "limit": limit,
        "value": case.figure(case.selected, limit),
        "allowed": case.limits[limit],
        "share": shares[limit],
        "provenance": str(case.selected.figures[limit].provenance),
    }


def _text(case: _Case, binding: Record | None) -> str:
    if binding is not None:
        used = f"{amount(binding['limit'], binding['value'])} of {amount(binding['limit'], binding['allowed'])}"
        return f"{_label(case, binding['limit'])} binds: {used} ({100 * binding['share']:.0f} %, {binding['provenance']})"
    if not case.limits:
        return "nothing binds: no limit is set that could be measured"
    largest = max([case.selected, *case.others], key=lambda p: p.params)
    if not over(largest, case.budget, case.judged):
        return "nothing binds: the largest student of the space fits"
    return "nothing binds: no student over a limit is more accurate"


def _runner_up(case: _Case, within: list[Point]) -> Record | None:
    """The most accurate of the others within budget; of equals, the one that leaves most of the limits."""
    if not within:
        return None

    def order(point: Point) -> tuple[float, float, str]:
        used = max((case.figure(point, limit) / allowed for limit, allowed in case.limits.items()), default=0.0)
        return -point.accuracy, used, point.id

    best = min(within, key=order)
    parts = [f"{100 * best.accuracy:.2f} % ({_difference(case, case.gain(best))})"]
    for limit in case.limits or best.figures:
        own, other = best.figures[limit], case.selected.figures.get(limit)
        apart = "" if other is None else f"{signed(limit, own.value - other.value)}, "
        parts.append(f"{_label(case, limit)} {amount(limit, own.value)} ({apart}{own.provenance})")
    return {
        "candidate": best.id,
        "precision": best.precision,
        "accuracy": best.accuracy,
        "figures": figures_record(best),
        "text": ", ".join(parts),
    }


def _more(case: _Case, better: list[Point]) -> list[Record]:
    """For each limit: the smallest increase that buys accuracy beyond chance, and the best that `WITHIN` more of it buys."""
    steps = []
    for limit, allowed in case.limits.items():
        reachable = [p for p in better if over(p, case.budget, case.judged) == [limit] and case.gain(p) > case.noise]
        if not reachable:
            continue
        nearest = min(reachable, key=lambda p: (case.figure(p, limit), -p.accuracy, p.id))
        near = [p for p in reachable if case.figure(p, limit) <= (1 + WITHIN) * allowed]
        best = max(near, key=lambda p: (p.accuracy, -case.figure(p, limit), p.id), default=nearest)
        chosen = [nearest] if best.accuracy <= nearest.accuracy else [nearest, best]
        steps += [_step(case, point, limit, _missing(case.figure(point, limit), allowed)) for point in chosen]
    return steps


def _less(case: _Case, within: list[Point], binding: Record | None) -> list[Record]:
    """The smallest loss that saves something worth it, and the most that a point of accuracy saves.

    Of the limit that binds, or where none does of the one that is used most. What is only predicted must be cheaper at the upper
    end of its interval.
    """
    if not case.limits:
        return []
    shares = {limit: case.figure(case.selected, limit) / allowed for limit, allowed in case.limits.items()}
    limit = max(shares, key=lambda name: shares[name]) if binding is None else binding["limit"]
    cost = case.selected.figures[limit].value
    cheaper = [p for p in within if p.figures[limit].high <= (1 - WORTH) * cost and -MOST_LOSS <= case.gain(p) <= 0]
    if not cheaper:
        return []
    nearest = max(cheaper, key=lambda p: (p.accuracy, -p.figures[limit].value, p.id))
    most = min(cheaper, key=lambda p: (p.figures[limit].value, -p.accuracy, p.id))
    chosen = [nearest] if most.figures[limit].value >= nearest.figures[limit].value else [nearest, most]
    return [_step(case, point, limit, point.figures[limit].value - cost) for point in chosen]


def _step(case: _Case, point: Point, limit: str, by: float) -> Record:
    used = [point.figures[name] for name in case.limits]
    kind = lowest([*used, case.selected.figures[limit]] if by < 0 else used)
    gain = case.gain(point)
    of_what = f" of {LABELS[limit]}" if UNITS[limit] == "bytes" else ""
    cost, worth = signed(limit, by, upwards=by > 0) + of_what, _difference(case, gain)
    return {
        "limit": limit,
        "by": by,
        "unit": UNITS[limit],
        "gain": gain,
        "candidate": point.id,
        "precision": point.precision,
        "provenance": str(kind),
        "text": f"{cost} → {worth} ({kind})" if by > 0 else f"{worth} → {cost} ({kind})",
    }


def _notes(case: _Case, points: list[Point], better: list[Point], more: list[Record]) -> list[str]:
    """What keeps an answer from being given, in sentences."""
    missing = unmeasured(case.selected, case.budget)
    notes = [f"{_label(case, limit)} is limited but could not be measured: nothing is said about it" for limit in missing]
    left_out = len({p.candidate for p in points} - {case.selected.candidate} - {p.candidate for p in case.others})
    if left_out:
        whom = "1 student is" if left_out == 1 else f"{left_out} students are"
        notes.append(f"{whom} neither measured nor predicted in all that is limited, and not compared")
    if better and not more:
        real = [p for p in better if case.gain(p) > case.noise]
        several = "more accurate students break several limits at once: raising one alone buys nothing"
        lucky = f"what more budget would buy is within chance ({_points(case.noise)})"
        notes.append(several if real else lucky)
    return notes


def lowest(figures: Iterable[Figure]) -> Provenance:
    """The lowest kind among the figures: what a sentence that rests on all of them may claim."""
    kinds: Callable[[Provenance], int] = list(Provenance).index
    return max((figure.provenance for figure in figures), key=kinds)


def _missing(figure: float, allowed: float) -> float:
    """The increase that admits the figure, to the last bit."""
    by = figure - allowed
    return by if allowed + by >= figure else math.nextafter(by, math.inf)


def _label(case: _Case, limit: str) -> str:
    return f"{LABELS[limit]} p{case.budget.latency_percentile}" if limit == "latency_ms" else LABELS[limit]


def _difference(case: _Case, gain: float) -> str:
    if gain == 0:
        return "the same accuracy"
    sign = "+" if gain > 0 else "−"
    return f"{sign}{_points(abs(gain))}" + (", within chance" if abs(gain) <= case.noise else "")


def _points(fraction: float) -> str:
    """Percentage points: one decimal, or one significant digit of what is smaller."""
    value = 100 * fraction
    return f"{value:.1f} point" if value >= 0.095 else f"{number(float(f'{value:.1g}'))} point"


def amount(limit: str, value: float) -> str:
    """A cost with its unit, to three significant digits."""
    factor, unit = _scale(limit, value)
    return f"{number(float(f'{value / factor:.3g}'))} {unit}"


def signed(limit: str, value: float, upwards: bool = False) -> str:
    """A difference of costs to two significant digits; `upwards` rounds up, so that what is asked for is enough."""
    factor, unit = _scale(limit, value)
    size = abs(value) / factor
    if upwards and size:
        step = 10.0 ** (math.floor(math.log10(size)) - 1)
        size = math.ceil(size / step - 1e-9) * step
    return f"{'−' if value < 0 else '+'}{number(float(f'{size:.2g}'))} {unit}"


def _scale(limit: str, value: float) -> tuple[float, str]:
    if UNITS[limit] != "bytes":
        return 1.0, UNITS[limit]
    return next(((factor, unit) for factor, unit in ((1e6, "MB"), (1e3, "kB")) if abs(value) >= factor), (1.0, "B"))
