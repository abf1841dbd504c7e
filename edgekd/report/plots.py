"""Accuracy against what it costs: everything that was built for a deployment, with the budget drawn in."""

import math
from collections.abc import Iterable

from edgekd.report import figures
from edgekd.report.plotting import GREEN, GREY, PALETTE, RED, SQUEEZED, SYMBOLS, Figure, built, layout, plain


def pareto(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other beats in both x (less is better) and y (more is better), by rising x."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda p: (p[0], -p[1])):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front


def comparable(points: list[Figure], percentile: str) -> tuple[str, dict[str, list[Figure]]]:
    """(x axis, points by provenance, best kind first): latency where there is any, else size, which is always counted."""
    by_kind: dict[str, list[Figure]] = {}
    for kind in SYMBOLS:
        found = [p for p in points if _latency(p, percentile) is not None and p["latency_ms"]["provenance"] == kind]
        if found:
            by_kind[kind] = found
    if by_kind:
        return "latency_ms", by_kind
    return "size_bytes", {"measured": [p for p in points if p.get("size_bytes")]}


def accuracy_plot(report: Figure, entry: Figure) -> Figure | None:
    """Accuracy against latency (against size where no latency is to be had) of everything built for one deployment.

    The Pareto front joins points of one provenance only. None where nothing was built.
    """
    points = built(report, entry["device"], entry["target"])
    percentile = f"p{entry['budget'].get('latency_percentile', 90)}"
    axis, by_kind = comparable(points, percentile)
    shown = [point for group in by_kind.values() for point in group]
    if not shown:
        return None
    xs, ys = [_x(p, axis, percentile) for p in shown], [p["accuracy"]["artifact"] for p in shown]
    limits = {"x": _scaled(entry["budget"].get(axis), axis), "y": accuracy_floor(report, entry["budget"])}
    ranges = {"x": _reach([*xs, limits["x"]]), "y": _range([*ys, limits["y"]])}
    best = next(iter(by_kind.values()))
    traces = _budget_traces(limits, ranges)
    traces.append(_front([(_x(p, axis, percentile), p["accuracy"]["artifact"]) for p in best]))
    traces += _points(by_kind, axis, percentile)
    traces += _chosen(shown, entry, axis, percentile)
    title = f"latency {percentile}, ms" if axis == "latency_ms" else "size, kB"
    page = layout(title, "accuracy (validation)", 380)
    page["xaxis"] |= (
        {"range": ranges["x"]}
        if ranges["x"][0] == 0
        else {"type": "log", "dtick": "D2", "range": [math.log10(v) for v in ranges["x"]]}
    )
    page["yaxis"] |= {"range": ranges["y"], "tickformat": ".1%"}
    return {"data": traces, "layout": page}


def accuracy_floor(report: Figure, budget: Figure) -> float | None:
    """The least accuracy that the budget allows on the validation split, None where it sets none."""
    teacher, drop = report["teacher"].get("validation_accuracy"), budget.get("max_accuracy_drop")
    floors = [budget.get("min_accuracy"), None if teacher is None or drop is None else teacher - drop]
    return max((floor for floor in floors if floor is not None), default=None)


def _latency(point: Figure, percentile: str) -> float | None:
    value: float | None = (point.get("latency_ms") or {}).get(percentile)
    return value


def _x(point: Figure, axis: str, percentile: str) -> float:
    value = _latency(point, percentile) if axis == "latency_ms" else _scaled(point["size_bytes"], axis)
    assert value is not None
    return value


def _scaled(value: float | None, axis: str) -> float | None:
    """Sizes are drawn in kB."""
    return value / 1e3 if value is not None and axis == "size_bytes" else value


def _points(by_kind: dict[str, list[Figure]], axis: str, percentile: str) -> list[Figure]:
    """One trace for each precision and provenance; faint where over budget."""
    precisions = sorted({p["precision"] for group in by_kind.values() for p in group})
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": f"{plain(precision)}, {'latency' if axis == 'latency_ms' else 'size'} {kind}",
            "x": [_x(p, axis, percentile) for p in found],
            "y": [p["accuracy"]["artifact"] for p in found],
            "hovertext": [_hover(p) for p in found],
            "hoverinfo": "text",
            "marker": {
                "symbol": SYMBOLS[kind],
                "size": 9,
                "color": PALETTE[number % len(PALETTE)],
                "opacity": [1 if p.get("within_budget") else 0.4 for p in found],
            },
        }
        for kind, group in by_kind.items()
        for number, precision in enumerate(precisions)
        if (found := [p for p in group if p["precision"] == precision])
    ]


def _hover(point: Figure) -> str:
    latency = [f"{name} {figures.shown('latency_ms', point.get('latency_ms'), name).text}" for name in ("p50", "p90")]
    lines = [
        f"{plain(point['candidate'])} · {plain(point['precision'])}",
        f"accuracy {figures.accuracy_figure(point['accuracy'], 'artifact').text}",
        f"latency {', '.join(latency)} ({(point.get('latency_ms') or {}).get('provenance', 'unavailable')})",
        f"size {figures.size_figure(point.get('size_bytes')).text}, {figures.count(point['params'])} parameters",
    ]
    return "<br>".join(lines)


def _chosen(points: list[Figure], entry: Figure, axis: str, percentile: str) -> list[Figure]:
    """A ring round the artifact that was selected."""
    keys = ("candidate", "precision")
    found = [p for p in points if all(p[key] == entry[key] for key in keys)]
    ring = {"symbol": "circle-open", "size": 20, "color": RED, "line": {"width": 3}}
    xs, ys = [_x(p, axis, percentile) for p in found], [p["accuracy"]["artifact"] for p in found]
    return (
        [{"type": "scatter", "mode": "markers", "name": "selected", "x": xs, "y": ys, "marker": ring, "hoverinfo": "skip"}]
        if found
        else []
    )


def _front(points: list[tuple[float, float]]) -> Figure:
    front = pareto(points)
    style = {
        "mode": "lines",
        "name": "Pareto front",
        "hoverinfo": "skip",
        "line": {"shape": "hv", "color": GREY, "width": 1.5, "dash": "dot"},
    }
    return {"type": "scatter", "x": [x for x, _ in front], "y": [y for _, y in front], **style}


def _budget_traces(limits: dict[str, float | None], ranges: dict[str, list[float]]) -> list[Figure]:
    """What the budget allows, shaded; its limits as lines."""
    if limits["x"] is None and limits["y"] is None:
        return []
    right, bottom = ranges["x"][1] if limits["x"] is None else limits["x"], ranges["y"][0] if limits["y"] is None else limits["y"]
    left, top = ranges["x"][0], ranges["y"][1]
    xs, ys = [left, right, right, left, left], [bottom, bottom, top, top, bottom]
    area = {"mode": "lines", "fill": "toself", "fillcolor": "rgba(0,158,115,0.10)", "line": {"color": GREEN, "width": 1.5}}
    return [{"type": "scatter", "x": xs, "y": ys, "name": "within budget", "hoverinfo": "skip", **area}]


def _reach(values: list[float | None]) -> list[float]:
    """Of a cost: from zero, or where that would squeeze the points into a corner, of a logarithmic axis."""
    known = [v for v in values if v is not None]
    low, high = min(known), max(known)
    return [0.0, 1.08 * high] if low <= 0 or high < SQUEEZED * low else [0.7 * low, 1.4 * high]


def _range(values: list[float | None]) -> list[float]:
    known = [v for v in values if v is not None]
    low, high = min(known), max(known)
    pad = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    return [low - pad, high + pad]
