"""A profile against a budget: what is over, what could not be measured, what is the smallest that was reached."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from edgekd.bench.statistics import latency_at
from edgekd.types import Budget

LEAST_LEEWAY = 0.01
UNITS = {"latency_ms": "ms", "peak_memory_bytes": "bytes", "size_bytes": "bytes", "energy_mj": "mJ"}


@dataclass(frozen=True, kw_only=True)
class Over:
    """A limit that was exceeded: its name, the figure, the limit."""

    limit: str
    value: float
    allowed: float


def figures(record: dict[str, Any], budget: Budget) -> dict[str, float | None]:
    """The figure that each limit is held against; None where it could not be measured. Latency is at the budget's percentile.

    Of an artifact that was measured twice it is enlarged by its leeway (`leeway_of`).
    """
    latencies = record["values"]["latency_ms"]
    latency = latency_at(latencies, budget.latency_percentile) if latencies else None
    found = {
        "latency_ms": latency,
        "peak_memory_bytes": record["peak_memory_bytes"]["value"],
        "size_bytes": record["size_bytes"],
        "energy_mj": record["energy_mj"]["value"],
    }
    leeway = record.get("leeway", {})
    return {limit: value if value is None else value * (1 + leeway.get(limit, 0.0)) for limit, value in found.items()}


def leeway_of(one: dict[str, Any], other: dict[str, Any], budget: Budget) -> dict[str, float]:
    """What an artifact must hold a budget by, as a share of each figure: what two measurements of it differ by, 1 % at least.

    A figure that is only just within a limit is as often over it when it is measured again.
    """
    pairs = {
        limit: (value, figures(other, budget)[limit]) for limit, value in figures(one, budget).items() if limit != "size_bytes"
    }
    return {limit: max(LEAST_LEEWAY, max(a, b) / min(a, b) - 1) for limit, (a, b) in pairs.items() if a and b}


def held(budget: Budget) -> Budget:
    """The budget less the least leeway: what a student must measure within to be worth a full training."""
    limits = {limit: getattr(budget, limit) for limit in UNITS if limit != "size_bytes"}
    return replace(budget, **{limit: allowed / (1 + LEAST_LEEWAY) for limit, allowed in limits.items() if allowed is not None})


def with_least_leeway(record: dict[str, Any]) -> dict[str, Any]:
    """What was measured once, as it is held against a budget."""
    return {**record, "leeway": {limit: LEAST_LEEWAY for limit in UNITS if limit != "size_bytes"}}


def over_budget(record: dict[str, Any], budget: Budget) -> list[Over]:
    """Every limit that the figures exceed, the worst first."""
    found = []
    for limit, value in figures(record, budget).items():
        allowed = getattr(budget, limit)
        if allowed is not None and value is not None and value > allowed:
            found.append(Over(limit=limit, value=value, allowed=allowed))
    return sorted(found, key=lambda over: -over.value / over.allowed)


def unmeasured(record: dict[str, Any], budget: Budget) -> list[str]:
    """Limits of the budget that nothing here can measure."""
    return [name for name, value in figures(record, budget).items() if value is None and getattr(budget, name) is not None]


def violation(records: Iterable[dict[str, Any]], budget: Budget) -> float:
    """How far the best of these is over its worst limit, relative to it; at most 0 where one fits. For the sampler."""
    return min((max((o.value / o.allowed - 1 for o in over_budget(r, budget)), default=0.0) for r in records), default=1.0)


def least_accuracy(budget: Budget, teacher_accuracy: float) -> float | None:
    """The accuracy that the budget demands of an artifact, given the teacher's on the same split; None where none."""
    demands = [budget.min_accuracy]
    if budget.max_accuracy_drop is not None:
        demands.append(teacher_accuracy - budget.max_accuracy_drop)
    return max((demand for demand in demands if demand is not None), default=None)


def smallest_reachable(records: list[dict[str, Any]], budget: Budget) -> tuple[Over, str]:
    """Of records that are all over budget: the binding limit with the smallest figure, and the sentence that says so."""
    worst = [(over_budget(record, budget)[0], record.get("leeway", {})) for record in records]
    binding, leeway = min(worst, key=lambda pair: pair[0].value / pair[0].allowed)
    name = f"{binding.limit} p{budget.latency_percentile}" if binding.limit == "latency_ms" else binding.limit
    unit = UNITS[binding.limit]
    if binding.limit in leeway:
        name += f", with {leeway[binding.limit]:.1%} for what two measurements differ by"
    reached, allowed = apart(binding.value, binding.allowed)
    return binding, f"smallest reachable {reached} {unit} ({name}), the budget is {allowed} {unit}"


def apart(value: float, other: float) -> tuple[str, str]:
    """Two unequal figures to as many digits as tell them apart, four at least."""
    for digits in range(4, 17):
        if (pair := (number(value, digits), number(other, digits)))[0] != pair[1]:
            return pair
    return repr(value), repr(other)


def number(value: float, digits: int = 4) -> str:
    """So many significant digits, never with an exponent; whole numbers as they are."""
    if float(value).is_integer():
        return str(int(value))
    written = format(Decimal(f"{value:.{digits}g}"), "f")
    return written.rstrip("0").rstrip(".") if "." in written else written
