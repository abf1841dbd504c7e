"""The report's plots, as plain Plotly figures (`{"data": […], "layout": {…}}`): nothing here imports Plotly.

Names come from users and Plotly renders a subset of HTML in its texts, so every name passes through `plain`.
Colours: Okabe and Ito's palette, told apart by colour-blind readers (jfly.uni-koeln.de/color).
"""

import html
from collections.abc import Iterable
from typing import Any

from edgekd.report import figures

Figure = dict[str, Any]
BLUE, ORANGE, GREEN, PURPLE, SKY, RED = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED)
GREY = "#8a8f98"
SYMBOLS = {"measured": "circle", "emulated": "square", "predicted": "diamond-open", "modelled": "triangle-up-open"}
MOST_LINES = 8
"""Training curves that get a colour of their own; the others are drawn in grey under one legend entry."""
MOST_POINTS = 1_000
"""Of one distribution: more cannot be told apart on a screen."""


def plain(text: Any) -> str:
    """A user's text as Plotly shows it literally."""
    return html.escape(str(text), quote=False)


def built(report: Figure, device: str, target: str) -> list[Figure]:
    """Artifacts of all trials for one deployment that have an accuracy, each with its trial's `candidate` and `params`."""
    return [
        {**artifact, "candidate": trial["candidate"], "params": trial["params"]}
        for trial in report["trials"]
        for artifact in trial.get("artifacts", [])
        if (artifact["device"], artifact["target"]) == (device, target)
        and (artifact.get("accuracy") or {}).get("artifact") is not None
    ]


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
    ranges = {"x": _range([*xs, limits["x"]], zero=True), "y": _range([*ys, limits["y"]])}
    best = next(iter(by_kind.values()))
    traces = _budget_traces(limits, ranges)
    traces.append(_front([(_x(p, axis, percentile), p["accuracy"]["artifact"]) for p in best]))
    traces += _points(by_kind, axis, percentile)
    traces += _chosen(shown, entry, axis, percentile)
    title = f"latency {percentile}, ms" if axis == "latency_ms" else "size, kB"
    layout = _layout(title, "accuracy (validation)", 380)
    layout["xaxis"]["range"], layout["yaxis"]["range"], layout["yaxis"]["tickformat"] = ranges["x"], ranges["y"], ".1%"
    return {"data": traces, "layout": layout}


def accuracy_floor(report: Figure, budget: Figure) -> float | None:
    """The least accuracy that the budget allows on the validation split, None where it sets none."""
    teacher, drop = report["teacher"].get("validation_accuracy"), budget.get("max_accuracy_drop")
    floors = [budget.get("min_accuracy"), None if teacher is None or drop is None else teacher - drop]
    return max((floor for floor in floors if floor is not None), default=None)


def training_plot(report: Figure) -> Figure | None:
    """Loss, accuracy and agreement with the teacher by epoch, one line a trial. None where nothing was trained."""
    trained = [trial for trial in report["trials"] if trial.get("curve")]
    if not trained:
        return None
    trained.sort(key=lambda t: (t["status"] != "selected", -max(e.get("accuracy") or 0 for e in t["curve"])))
    traces = [trace for rank, trial in enumerate(trained) for trace in _curves(trial, rank)]
    layout = _layout("epoch", "", 360)
    for number, (name, title) in enumerate((("loss", "loss"), ("accuracy", "accuracy (validation)"), ("agreement", "agreement"))):
        suffix, left = "" if number == 0 else str(number + 1), number * 0.35
        layout[f"xaxis{suffix}"] = {**layout["xaxis"], "domain": [left, left + 0.29], "anchor": f"y{suffix}"}
        form = {} if name == "loss" else {"tickformat": ".0%"}
        layout[f"yaxis{suffix}"] = {**layout["yaxis"], "title": {"text": title}, "anchor": f"x{suffix}", **form}
    teacher = report["teacher"].get("validation_accuracy")
    if teacher is not None:
        last = max(e["epoch"] for t in trained for e in t["curve"])
        line = {"mode": "lines", "line": {"dash": "dash", "color": GREY}, "name": "teacher", "xaxis": "x2", "yaxis": "y2"}
        traces.append({"type": "scatter", "x": [1, last], "y": [teacher, teacher], **line})
    return {"data": traces, "layout": layout}


def distribution_plot(report: Figure, entry: Figure) -> Figure | None:
    """Raw latencies of one deployment: how many are below (left), and in the order they were taken (right).

    The other precisions of the same candidate stand beside the chosen one. None where there are no raw values.
    """
    others = [
        a
        for a in built(report, entry["device"], entry["target"])
        if a["candidate"] == entry["candidate"] and a["precision"] != entry["precision"]
    ]
    series = [e for e in [entry, *others] if (e.get("values") or {}).get("latency_ms")]
    if not series:
        return None
    traces = [trace for rank, e in enumerate(series) for trace in _distribution(e, PALETTE[rank % len(PALETTE)])]
    layout = _layout("latency, ms", "share of runs below", 320)
    layout["xaxis"]["domain"], layout["yaxis"]["tickformat"] = [0, 0.46], ".0%"
    layout["xaxis2"] = {**layout["xaxis"], "title": {"text": "run, in order"}, "domain": [0.56, 1], "anchor": "y2"}
    layout["yaxis2"] = {"title": {"text": "latency, ms"}, "anchor": "x2", "zeroline": False, "automargin": True}
    lines = [(name, entry["latency_ms"].get(name), GREY) for name in ("p50", "p90", "p99")]
    lines.append(("budget", entry["budget"].get("latency_ms"), RED))
    for name, value, color in lines:
        if value is not None and (name != "budget" or value <= 3 * max(entry["values"]["latency_ms"], default=0)):
            _vertical(layout, name, value, color)
    return {"data": traces, "layout": layout}


def thinned(values: list[float], most: int = MOST_POINTS) -> list[tuple[int, float]]:
    """At most about `most` (position, value) pairs, evenly spaced, the first and the last among them."""
    step = max(1, -(-len(values) // most))
    kept = list(range(0, len(values), step))
    if kept[-1:] != [len(values) - 1]:
        kept.append(len(values) - 1)
    return [(i, values[i]) for i in kept if i >= 0]


def _distribution(entry: Figure, color: str) -> list[Figure]:
    values, name = entry["values"]["latency_ms"], plain(entry["precision"])
    ordered, run = thinned(sorted(values)), thinned(values)
    common = {"type": "scatter", "name": name, "legendgroup": name, "hovertemplate": "%{x}, %{y}<extra>" + name + "</extra>"}
    below = {"x": [v for _, v in ordered], "y": [(i + 1) / len(values) for i, _ in ordered], "mode": "lines"}
    order = {
        "x": [i + 1 for i, _ in run],
        "y": [v for _, v in run],
        "mode": "markers",
        "showlegend": False,
        "xaxis": "x2",
        "yaxis": "y2",
    }
    return [
        {**common, **below, "line": {"color": color, "shape": "hv"}},
        {**common, **order, "marker": {"color": color, "size": 3, "opacity": 0.6}},
    ]


def _vertical(layout: Figure, name: str, x: float, color: str) -> None:
    line = {"color": color, "width": 1.5, "dash": "dot" if name != "budget" else "solid"}
    layout["shapes"].append({"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "y domain", "line": line})
    text = {"text": name, "showarrow": False, "yanchor": "bottom", "font": {"color": color, "size": 11}}
    text["xanchor"] = "right" if name == "p50" else "left" if name == "p90" else "center"
    layout["annotations"].append({"x": x, "y": 1, "yref": "y domain", **text})


def _curves(trial: Figure, rank: int) -> list[Figure]:
    named = rank < MOST_LINES
    color, name = (PALETTE[rank % len(PALETTE)], plain(trial["candidate"])) if named else (GREY, "other trials")
    common = {"type": "scatter", "mode": "lines+markers", "name": name, "legendgroup": name}
    style = {"line": {"color": color, "width": 3 if trial["status"] == "selected" else 1.2}, "marker": {"size": 4}}
    hover = {"hovertemplate": "epoch %{x}: %{y}<extra>" + plain(trial["candidate"]) + "</extra>"}
    epochs = [e["epoch"] for e in trial["curve"]]
    return [
        {
            **common,
            **style,
            **hover,
            "x": epochs,
            "y": [e.get(key) for e in trial["curve"]],
            "xaxis": f"x{suffix}",
            "yaxis": f"y{suffix}",
            "showlegend": suffix == "" and rank <= MOST_LINES,
        }
        for key, suffix in (("loss", ""), ("accuracy", "2"), ("agreement", "3"))
    ]


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


def _range(values: list[float | None], zero: bool = False) -> list[float]:
    known = [v for v in values if v is not None]
    low, high = (0.0 if zero else min(known)), max(known)
    pad = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    return [low if zero else low - pad, high + pad]


def _layout(x: str, y: str, height: int) -> Figure:
    axis = {"zeroline": False, "automargin": True}
    return {
        "height": height,
        "margin": {"l": 60, "r": 16, "t": 28, "b": 48},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12},
        "legend": {"orientation": "h", "y": -0.24, "yanchor": "top"},
        "hovermode": "closest",
        "xaxis": {"title": {"text": x}, **axis},
        "yaxis": {"title": {"text": y}, **axis},
        "shapes": [],
        "annotations": [],
    }
