"""Metrics that repeat exactly: sizes, planned memory, counts of operators, what runs where, instructions."""

import math
from dataclasses import dataclass

from edgekd.errors import InputError
from edgekd.gate.verdict import Comparison, Verdict
from edgekd.search.budget import apart


@dataclass(frozen=True, kw_only=True)
class ExactRule:
    """What a metric may grow by, as a share of the baseline's and in its own unit, whichever allows more; and its limit.

    `headroom` is the share of `limit` below which a warning is due: so much is left before the build turns red.
    """

    share: float = 0.0
    by: float = 0.0
    limit: float | None = None
    headroom: float = 0.05

    def __post_init__(self) -> None:
        numbers = (self.share, self.by, self.headroom, self.limit or 0.0)
        if not all(math.isfinite(number) and number >= 0 for number in numbers):
            raise InputError("exact rules: share, by, headroom and limit are finite and at least 0")

    def allowed(self, baseline: float) -> float:
        return baseline + max(self.share * abs(baseline), self.by)


def compare_exact(
    metric: str, baseline: float, candidate: float, rule: ExactRule, unit: str = "", *, higher_is_better: bool = False
) -> Comparison:
    """Judge one figure against the baseline's and against the device's own limit. Nothing is left to chance."""
    sign = -1.0 if higher_is_better else 1.0
    over = sign * candidate > rule.allowed(sign * baseline)
    beyond = rule.limit is not None and sign * candidate > sign * rule.limit
    verdict = Verdict.REGRESSED if over or beyond else Verdict.IMPROVED if sign * candidate < sign * baseline else Verdict.PASS
    before, now = apart(baseline, candidate) if baseline != candidate else (f"{baseline:g}", f"{candidate:g}")
    text = f"{metric} {now} {unit}".rstrip() + (", as before" if baseline == candidate else f", before {before}")
    details: dict[str, float | None] = {"baseline": baseline, "candidate": candidate, "limit": rule.limit}
    if rule.limit is not None:
        left = sign * (rule.limit - candidate) / rule.limit if rule.limit else 0.0
        details["headroom"] = left
        if beyond:
            text += f": over the limit of {rule.limit:g}"
        elif left < rule.headroom:
            text += f": {left:.1%} of the limit of {rule.limit:g} is left"
    return Comparison(metric=metric, verdict=verdict, text=text, details=details)


def compare_counts(metric: str, baseline: dict[str, int], candidate: dict[str, int]) -> Comparison:
    """Judge counts by name (operators by type, operators by where they run): any that changed is named, any is a regression."""
    names = sorted(set(baseline) | set(candidate))
    moved = {name: (baseline.get(name, 0), candidate.get(name, 0)) for name in names}
    moved = {name: pair for name, pair in moved.items() if pair[0] != pair[1]}
    said = ", ".join(f"{name} {before} → {now}" for name, (before, now) in moved.items())
    return Comparison(
        metric=metric,
        verdict=Verdict.REGRESSED if moved else Verdict.PASS,
        text=f"{metric}: {said}" if moved else f"{metric}: as before",
        details={"moved": {name: list(pair) for name, pair in moved.items()}},
    )
