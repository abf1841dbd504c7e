"""Figures as people read them: a number with its unit, where it comes from, and its limit. Shared by all renderings."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["within", "over", "unmeasured", "free"]
LABELS = {
    "latency_ms": "latency",
    "peak_memory_bytes": "peak memory",
    "size_bytes": "size",
    "energy_mj": "energy",
    "min_accuracy": "accuracy",
    "max_accuracy_drop": "accuracy drop",
}
NOTHING = "–"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One shown figure. `text` is never a number where the provenance is `unavailable`; `detail` is the exact value or why."""

    text: str
    provenance: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A figure with the limit that it is held against. `used` is the share of the limit that it takes, None without one."""

    key: str
    label: str
    figure: Figure
    limit: str = ""
    verdict: Verdict = "free"
    used: float | None = None


def digits(value: float, significant: int = 3) -> str:
    """The value to `significant` digits, thousands set apart; an exponent only below 0.0001."""
    if value == 0:
        return "0"
    if abs(value) < 1e-4:
        return f"{value:.{significant}g}"
    decimals = max(0, significant - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def milliseconds(value: float) -> str:
    return f"{digits(value)} ms"


def millijoules(value: float) -> str:
    return f"{digits(value)} mJ"


def size(value: float) -> str:
    """Bytes in decimal units, as flash and memory are sold and budgets are written."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(value) >= factor:
            return f"{digits(value / factor)} {unit}"
    return f"{value:,.0f} B"


def percent(fraction: float) -> str:
    return f"{100 * fraction:.2f} %"


def points(fraction: float) -> str:
    """A difference of two accuracies, in percentage points, signed."""
    return f"{100 * fraction:+.2f} pp".replace("-", "−")


def seconds(value: float) -> str:
    """A duration for people: 0.82 s, 41 s, 12 min 5 s, 3 h 20 min."""
    if value < 60:
        return f"{digits(value, 2)} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def count(value: int | None) -> str:
    return NOTHING if value is None else f"{value:,}"


UNITS = {"latency_ms": milliseconds, "peak_memory_bytes": size, "size_bytes": size, "energy_mj": millijoules}


def shown(key: str, part: dict[str, Any] | None, name: str = "value") -> Figure:
    """The figure `name` of a part of the report: `value`, or a percentile of the latency."""
    if part is None:
        return Figure(text=NOTHING, provenance="unavailable", detail="not reached")
    value, provenance = part.get(name), part["provenance"]
    if value is None or provenance == "unavailable":
        return Figure(text="unavailable", provenance="unavailable", detail=part.get("reason") or "no value was recorded")
    exact = f"{value:,}" + (f", n = {part['n']:,}" if part.get("n") else "")
    return Figure(text=UNITS[key](value), provenance=provenance, detail=exact)


def accuracy_figure(part: dict[str, Any] | None, who: str) -> Figure:
    """Accuracy of the `student` or the `artifact`; it is measured unless the report says otherwise."""
    if part is None or part.get(who) is None:
        return Figure(text="unavailable", provenance="unavailable", detail="accuracy was not measured")
    return Figure(
        text=percent(part[who]),
        provenance=part.get("provenance", "measured") if who == "artifact" else "measured",
        detail=f"{part['split']} split",
    )


def size_figure(value: int | None) -> Figure:
    """The size of a file is counted, so it is measured."""
    return shown("size_bytes", None if value is None else {"value": value, "provenance": "measured"})


def accuracy_drop(entry: dict[str, Any], report: dict[str, Any]) -> float | None:
    """Teacher's minus artifact's accuracy on the entry's split, None where one of them is not known."""
    part = entry.get("accuracy") or {}
    teacher = report["teacher"].get("accuracy" if part.get("split") == "test" else "validation_accuracy")
    return None if teacher is None or part.get("artifact") is None else teacher - part["artifact"]


def rows(entry: dict[str, Any], report: dict[str, Any]) -> list[Row]:
    """Every figure of a selected artifact against its budget, the accuracy first."""
    return [*_accuracy_rows(entry, report), *_latency_rows(entry), *_resource_rows(entry)]


def _accuracy_rows(entry: dict[str, Any], report: dict[str, Any]) -> Iterator[Row]:
    budget, part = entry["budget"], entry["accuracy"]
    figure, value, floor = accuracy_figure(part, "artifact"), part.get("artifact"), budget.get("min_accuracy")
    yield Row(
        key="min_accuracy",
        label=f"accuracy ({part['split']})",
        figure=figure,
        limit="" if floor is None else f"≥ {percent(floor)}",
        verdict=_verdict(floor, value, None if floor is None or value is None else value >= floor),
    )
    drop, allowed = accuracy_drop(entry, report), budget.get("max_accuracy_drop")
    text = Figure(text="unavailable", provenance="unavailable", detail="the teacher's accuracy is not known")
    if drop is not None:
        text = Figure(text=points(-drop), provenance=figure.provenance, detail="artifact minus teacher")
    yield Row(
        key="max_accuracy_drop",
        label="against teacher",
        figure=text,
        limit="" if allowed is None else f"≥ {points(-allowed)}",
        verdict=_verdict(allowed, drop, None if allowed is None or drop is None else drop <= allowed + 1e-12),
        used=None if not allowed or drop is None else max(drop, 0) / allowed,
    )
    yield Row(key="student", label=f"student ({part['split']})", figure=accuracy_figure(part, "student"))


def _latency_rows(entry: dict[str, Any]) -> Iterator[Row]:
    latency, limit = entry["latency_ms"], entry["budget"].get("latency_ms")
    held = f"p{entry['budget'].get('latency_percentile', 90)}"
    names = [name for name in ("p50", "p90", "p99") if name != "p99" or latency.get("p99") is not None]
    for name in names if held in names else [*names, held]:
        yield _row("latency_ms", f"latency {name}", latency, limit if name == held else None, name)


def _resource_rows(entry: dict[str, Any]) -> Iterator[Row]:
    budget = entry["budget"]
    yield _row("peak_memory_bytes", "peak memory", entry["peak_memory_bytes"], budget.get("peak_memory_bytes"))
    yield _row("size_bytes", "size", {"value": entry["size_bytes"], "provenance": "measured"}, budget.get("size_bytes"))
    yield _row("energy_mj", "energy", entry["energy_mj"], budget.get("energy_mj"))


def _row(key: str, label: str, part: dict[str, Any], limit: float | None, name: str = "value") -> Row:
    figure = shown(key, part, name)
    value = None if figure.provenance == "unavailable" else part[name]
    return Row(
        key=key,
        label=label,
        figure=figure,
        limit="" if limit is None else f"≤ {UNITS[key](limit)}",
        verdict=_verdict(limit, value, None if limit is None or value is None else value <= limit),
        used=None if not limit or value is None else value / limit,
    )


def _verdict(limit: float | None, value: float | None, holds: bool | None) -> Verdict:
    if limit is None:
        return "free"
    return "unmeasured" if value is None else "within" if holds else "over"


def unmeasured_limits(entry: dict[str, Any]) -> list[str]:
    """Names of the limits that were set but could not be checked, as people call them."""
    return [LABELS.get(name, name) for name in entry["unmeasured"] if entry["budget"].get(name) is not None]


def verdict(entry: dict[str, Any]) -> tuple[Verdict, str]:
    """The one line on a deployment: a verdict and its words."""
    if not entry["within_budget"]:
        return "over", "over budget"
    missing = unmeasured_limits(entry)
    if missing:
        return "unmeasured", f"within budget as far as measured; not measured: {', '.join(missing)}"
    return "within", "within budget"


def headline(report: dict[str, Any]) -> str:
    """The answer of the whole run in one sentence."""
    kinds = [verdict(entry)[0] for entry in report["selected"]]
    lost = len(report.get("lost", []))
    asked, answered = report["project"].get("deploy"), len(kinds) + len(report["infeasible"]) + lost
    total = max(len(asked), answered) if isinstance(asked, list) else answered
    parts = [
        (kinds.count("within"), "within budget"),
        (kinds.count("unmeasured"), "within budget as far as measured"),
        (kinds.count("over"), "over budget"),
        (len(report["infeasible"]), "infeasible"),
        (lost, "not finished: device lost"),
        (total - answered, "without an artifact that passed"),
    ]
    words = ", ".join(f"{n} {words}" for n, words in parts if n)
    return f"{total} deployment{'' if total == 1 else 's'}: {words or 'nothing to choose from'}"
