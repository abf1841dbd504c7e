"""How students were found: accuracy against the cost that binds, the hypervolume by measurements, and the supernet's ranking."""

import math
from collections.abc import Iterable

from edgekd.report import figures
from edgekd.report.curves import training_plot
from edgekd.report.plots import pareto
from edgekd.report.plotting import BLUE, GREEN, GREY, PALETTE, RED, SQUEEZED, SYMBOLS, Figure, layout, plain

UNITS = {"latency_ms": "ms", "peak_memory_bytes": "kB", "size_bytes": "kB", "energy_mj": "mJ"}
"""As axes show them: bytes are drawn in kB."""
HYPERVOLUME_UNITS = {**UNITS, "peak_memory_bytes": "byte", "size_bytes": "byte"}
MOST_NOTES = 3
"""Steps of the budget that are written into a plot; more would lie upon one another."""


def cost_axis(deployment: Figure, budget: Figure) -> str | None:
    """The limit that a deployment is drawn against: the one that binds, else the first limited, else the first with figures."""
    found = [limit for limit in UNITS if any(limit in point["figures"] for point in deployment["front"])]
    binding = ((deployment["why"] or {}).get("binding") or {}).get("limit")
    limited = [limit for limit in found if budget.get(limit) is not None]
    return binding if binding in found else next(iter([*limited, *found]), None)


def cost_plot(deployment: Figure, budget: Figure, selected: str | None) -> Figure | None:
    """Accuracy against the binding cost of all students: measured ones filled, others hollow with their intervals.

    The front of the measured ones is a line of its own. None where no cost is known.
    """
    axis = cost_axis(deployment, budget)
    if axis is None:
        return None
    points = [point for point in deployment["front"] if axis in point["figures"]]
    label = figures.LABELS[axis] + (f" p{budget.get('latency_percentile', 90)}" if axis == "latency_ms" else "")
    page = layout(f"{label}, {UNITS[axis]}", "accuracy (validation)", 420)
    page["yaxis"]["tickformat"] = ".1%"
    page["legend"] |= {"y": -0.2}
    # Behind the points: the fronts, then the predicted, then the measured.
    traces = _fronts(points, axis) + [trace for kind in reversed(SYMBOLS) for trace in _points(points, axis, kind)]
    traces += _rings(points, axis, deployment, selected)
    allowed = budget.get(axis)
    _span(page, [*(_cost(point, axis) for point in points), *([] if allowed is None else [_scaled(allowed, axis)])])
    if allowed is not None:
        _limit_line(page, _scaled(allowed, axis))
    page["annotations"] += _steps(points, axis, deployment, page["xaxis"].get("type") == "log")
    return {"data": traces, "layout": page}


def hypervolume_plot(deployment: Figure) -> Figure | None:
    """Hypervolume by the number of measured students. None where nothing was measured."""
    rows = deployment["hypervolume"]
    if not rows:
        return None
    unit = HYPERVOLUME_UNITS.get(deployment.get("hypervolume_limit") or "")
    page = layout("students measured", "hypervolume" + (f", accuracy × {unit}" if unit else ""), 420)
    page["yaxis"]["tickformat"] = "~s" if max(row["value"] for row in rows) >= 1e4 else "~g"
    page["xaxis"] |= {"tickformat": ",d", "rangemode": "tozero"}
    line = {"mode": "lines+markers", "line": {"shape": "hv", "color": BLUE}, "marker": {"size": 4}, "showlegend": False}
    xs, ys = [row["measured"] for row in rows], [row["value"] for row in rows]
    return {"data": [{"type": "scatter", "name": "hypervolume", "x": xs, "y": ys, **line}], "layout": page}


def supernet_plot(report: Figure) -> Figure | None:
    """The supernet's training, drawn as any other."""
    supernet = report["search"]["supernet"]
    trial = {"candidate": supernet["candidate"], "status": "selected", "curve": supernet["curve"]}
    return training_plot({"trials": [trial], "teacher": report["teacher"]})


def rated_plot(search: Figure) -> Figure | None:
    """Every student's accuracy with the supernet's weights against its parameters. None where none was rated."""
    rated = search["rated"]
    if not rated:
        return None
    page = layout("parameters", "accuracy (validation)", 300)
    page["yaxis"]["tickformat"] = ".1%"
    marker = {"color": BLUE, "size": 6, "opacity": 0.7}
    trace = {
        "type": "scatter",
        "mode": "markers",
        "name": "cut out of the supernet",
        "showlegend": False,
        "x": [row["params"] for row in rated],
        "y": [row["accuracy"] for row in rated],
        "hovertext": [f"{plain(row['candidate'])}<br>{plain(values_text(row['values']))}" for row in rated],
        "hovertemplate": "%{hovertext}<br>%{y:.2%}, %{x:,} parameters<extra></extra>",
        "marker": marker,
    }
    return {"data": [trace], "layout": page}


def ranking_plot(ranking: Figure) -> Figure | None:
    """Accuracy trained alone against that with the supernet's weights, one point a student."""
    pairs = ranking["pairs"]
    if not pairs:
        return None
    page = layout("accuracy in the supernet", "accuracy trained alone", 340)
    page["xaxis"]["tickformat"] = page["yaxis"]["tickformat"] = ".1%"
    trace = {
        "type": "scatter",
        "mode": "markers",
        "name": "student",
        "showlegend": False,
        "x": [pair["supernet"] for pair in pairs],
        "y": [pair["alone"] for pair in pairs],
        "hovertext": [plain(pair["candidate"]) for pair in pairs],
        "hovertemplate": "%{hovertext}<br>supernet %{x:.2%}, alone %{y:.2%}<extra></extra>",
        "marker": {"color": BLUE, "size": 9},
    }
    return {"data": [trace], "layout": page}


def values_text(values: Figure) -> str:
    """The axes of a student: `depth 2, width 16`."""
    return ", ".join(f"{axis} {value}" for axis, value in values.items())


def _scaled(value: float, axis: str) -> float:
    return value / 1e3 if UNITS[axis] == "kB" else value


def _cost(point: Figure, axis: str) -> float:
    return _scaled(point["figures"][axis]["value"], axis)


def _points(points: list[Figure], axis: str, kind: str) -> list[Figure]:
    """One trace for each precision: a precision is a colour, a kind of figure is a symbol."""
    precisions = sorted({str(point.get("precision") or "") for point in points})
    traces = []
    for number, precision in enumerate(precisions):
        found = [p for p in points if p["figures"][axis]["provenance"] == kind and str(p.get("precision") or "") == precision]
        if not found:
            continue
        color = PALETTE[number % len(PALETTE)]
        name = f"{plain(precision)}, {kind}" if precision else kind
        measured = kind == "measured"
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": [_cost(p, axis) for p in found],
                "y": [p["accuracy"] for p in found],
                "hovertext": [_hover(p) for p in found],
                "hoverinfo": "text",
                "marker": {"symbol": SYMBOLS[kind], "size": 9 if measured else 6, "color": color, "line": {"width": 1}},
                **({} if measured else {"opacity": 0.55, "error_x": _bars(found, axis, color)}),
            }
        )
    return traces


def _bars(points: list[Figure], axis: str, color: str) -> Figure:
    shown = [point["figures"][axis] for point in points]
    above, below = [max(0.0, f["high"] - f["value"]) for f in shown], [max(0.0, f["value"] - f["low"]) for f in shown]
    scaled = {"array": [_scaled(v, axis) for v in above], "arrayminus": [_scaled(v, axis) for v in below]}
    return {"type": "data", "symmetric": False, "thickness": 0.7, "width": 0, "color": color, **scaled}


def _hover(point: Figure) -> str:
    lines = [
        f"{plain(point['candidate'])} {plain(point.get('precision') or '')}",
        f"accuracy {figures.percent(point['accuracy'])}",
    ]
    for limit, figure in point["figures"].items():
        if limit in figures.UNITS:
            lines.append(f"{figures.LABELS[limit]} {figures.UNITS[limit](figure['value'])}{_interval(limit, figure)}")
    return "<br>".join(lines)


def _interval(limit: str, figure: Figure) -> str:
    if figure["low"] == figure["high"]:
        return f" ({figure['provenance']})"
    low, high = (figures.UNITS[limit](figure[end]) for end in ("low", "high"))
    return f" ({figure['provenance']}, {low} to {high})"


def _fronts(points: list[Figure], axis: str) -> list[Figure]:
    """What nothing beats: of the measured ones, and where it differs, of all."""
    measured = _front([p for p in points if p["figures"][axis]["provenance"] == "measured"], axis)
    whole = _front(points, axis)
    drawn = [("front, measured", measured, "solid")]
    if whole != measured:
        drawn.insert(0, ("front, with predicted", whole, "dot"))
    line = {"type": "scatter", "mode": "lines", "hoverinfo": "skip"}
    return [
        {**line, "name": name, "x": [x for x, _ in front], "y": [y for _, y in front], "line": _stepped(dash)}
        for name, front, dash in drawn
        if front
    ]


def _front(points: Iterable[Figure], axis: str) -> list[tuple[float, float]]:
    return pareto((_cost(point, axis), point["accuracy"]) for point in points)


def _stepped(dash: str) -> Figure:
    return {"shape": "hv", "color": GREY, "width": 1.5, "dash": dash}


def _rings(points: list[Figure], axis: str, deployment: Figure, selected: str | None) -> list[Figure]:
    """Rings round the selected student and the runner-up."""
    runner_up = (deployment["why"] or {}).get("runner_up") or {}
    rings = (
        ("selected", selected, deployment["precision"], RED),
        ("runner-up", runner_up.get("candidate"), runner_up.get("precision"), GREEN),
    )
    traces = []
    for name, candidate, precision, color in rings:
        mine = [p for p in points if candidate is not None and p["candidate"] == candidate]
        found = [p for p in mine if p.get("precision") in (None, precision)] or mine
        if found:
            ring = {"symbol": "circle-open", "size": 19, "color": color, "line": {"width": 3}}
            place = {"x": [_cost(found[0], axis)], "y": [found[0]["accuracy"]]}
            traces.append({"type": "scatter", "mode": "markers", "name": name, **place, "marker": ring, "hoverinfo": "skip"})
    return traces


def _span(page: Figure, costs: list[float]) -> None:
    """From zero, or where that would squeeze the points into a corner, logarithmic."""
    low, high = min(costs), max(costs)
    if 0 < SQUEEZED * low < high:
        page["xaxis"] |= {"type": "log", "dtick": "D2", "range": [math.log10(0.8 * low), math.log10(1.25 * high)]}
    elif high > low:
        page["xaxis"] |= {"range": [low - 0.06 * (high - low), high + 0.06 * (high - low)]}


def _limit_line(page: Figure, x: float) -> None:
    page["shapes"].append(
        {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "y domain", "line": {"color": RED, "width": 1.5}}
    )
    log = page["xaxis"].get("type") == "log" and x > 0
    text = {"text": "budget", "showarrow": False, "yanchor": "bottom", "font": {"color": RED, "size": 11}}
    page["annotations"].append({"x": math.log10(x) if log else x, "y": 1, "yref": "y domain", **text})


def _steps(points: list[Figure], axis: str, deployment: Figure, log: bool) -> list[Figure]:
    """What a little more of this budget buys, written at the student that it admits."""
    notes, costs = [], [_cost(point, axis) for point in points]
    for step in [s for s in (deployment["why"] or {}).get("more") or [] if s["limit"] == axis][:MOST_NOTES]:
        place = next((p for p in points if p["candidate"] == step["candidate"]), None)
        if place is not None and (x := _cost(place, axis)) > 0:
            text = {"text": plain(step["text"]), "showarrow": True, "arrowhead": 0, "arrowcolor": GREY, "ax": 0, "ay": -34}
            # At the right edge the text goes to the left, so that it is not cut off.
            text["xanchor"] = "right" if x > min(costs) + 0.75 * (max(costs) - min(costs)) else "center"
            notes.append({"x": math.log10(x) if log else x, "y": place["accuracy"], "font": {"size": 11}, **text})
    return notes
