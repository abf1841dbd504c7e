"""Lines over time: training curves, and the raw latencies of a deployment."""

from edgekd.report.plotting import GREY, PALETTE, RED, SQUEEZED, Figure, built, layout, plain

MOST_LINES = 8
"""Training curves that get a colour of their own; the others are drawn in grey under one legend entry."""
MOST_POINTS = 1_000
"""Of one distribution: more cannot be told apart on a screen."""


def training_plot(report: Figure) -> Figure | None:
    """Loss, accuracy and agreement with the teacher by epoch, one line a trial. None where nothing was trained."""
    trained = [trial for trial in report["trials"] if trial.get("curve")]
    if not trained:
        return None
    trained.sort(key=lambda t: (t["status"] != "selected", -max(e.get("accuracy") or 0 for e in t["curve"])))
    traces = [trace for rank, trial in enumerate(trained) for trace in _curves(trial, rank)]
    page = layout("epoch", "", 360)
    for number, (name, title) in enumerate((("loss", "loss"), ("accuracy", "accuracy (validation)"), ("agreement", "agreement"))):
        suffix, left = "" if number == 0 else str(number + 1), number * 0.35
        page[f"xaxis{suffix}"] = {**page["xaxis"], "domain": [left, left + 0.29], "anchor": f"y{suffix}"}
        form = {} if name == "loss" else {"tickformat": ".0%"}
        page[f"yaxis{suffix}"] = {**page["yaxis"], "title": {"text": title}, "anchor": f"x{suffix}", **form}
    teacher = report["teacher"].get("validation_accuracy")
    if teacher is not None:
        last = max(e["epoch"] for t in trained for e in t["curve"])
        line = {"mode": "lines", "line": {"dash": "dash", "color": GREY}, "name": "teacher", "xaxis": "x2", "yaxis": "y2"}
        traces.append({"type": "scatter", "x": [1, last], "y": [teacher, teacher], **line})
    return {"data": traces, "layout": page}


def distribution_plot(report: Figure, entry: Figure) -> Figure | None:
    """Raw latencies of one deployment: how many are below (left), and in the order they were taken (right).

    The other precisions of the same candidate stand beside the chosen one. The left plot ends where all but the slowest
    hundredth have been; the right one shows every straggler. None where there are no raw values.
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
    page = layout("latency, ms", "share of runs below", 320)
    ordered = [sorted(e["values"]["latency_ms"]) for e in series]
    low, high = min(values[0] for values in ordered), max(values[int(0.99 * (len(values) - 1))] for values in ordered)
    ends = [low - 0.1 * (high - low), high + 0.15 * (high - low)] if high > low else None
    page["xaxis"] |= {"domain": [0, 0.46], "range": ends}
    page["yaxis"]["tickformat"] = ".0%"
    page["xaxis2"] = {
        **page["yaxis"],
        "title": {"text": "run, in order"},
        "domain": [0.56, 1],
        "anchor": "y2",
        "tickformat": ",d",
    }
    page["yaxis2"] = {
        **page["yaxis"],
        "title": {"text": "latency, ms"},
        "anchor": "x2",
        "tickformat": "~g",
    }
    if 0 < SQUEEZED * low < max(values[-1] for values in ordered):
        page["yaxis2"] |= {"type": "log", "dtick": "D2"}
    lines = [(name, entry["latency_ms"].get(name), GREY) for name in ("p50", "p90", "p99")]
    for name, value, color in [*lines, ("budget", entry["budget"].get("latency_ms"), RED)]:
        if value is not None and (ends is None or value <= ends[1]):
            _vertical(page, name, value, color)
    return {"data": traces, "layout": page}


def thinned(values: list[float], most: int = MOST_POINTS) -> list[int]:
    """Positions of at most `most` values: the least and the greatest of each stretch, so that no straggler is lost."""
    if len(values) <= most:
        return list(range(len(values)))
    step = -(-2 * len(values) // most)
    stretches = [range(start, min(start + step, len(values))) for start in range(0, len(values), step)]
    return sorted({pick(stretch, key=values.__getitem__) for stretch in stretches for pick in (min, max)})


def _distribution(entry: Figure, color: str) -> list[Figure]:
    values, name = entry["values"]["latency_ms"], plain(entry["precision"])
    ordered = sorted(values)
    steps, runs = thinned(ordered), thinned(values)
    common = {"type": "scatter", "name": name, "legendgroup": name, "hovertemplate": "%{x}, %{y}<extra>" + name + "</extra>"}
    below = {"x": [ordered[i] for i in steps], "y": [(i + 1) / len(values) for i in steps], "mode": "lines"}
    order = {"x": [i + 1 for i in runs], "y": [values[i] for i in runs], "mode": "markers", "showlegend": False}
    return [
        {**common, **below, "line": {"color": color, "shape": "hv"}},
        {**common, **order, "xaxis": "x2", "yaxis": "y2", "marker": {"color": color, "size": 3, "opacity": 0.6}},
    ]


def _vertical(page: Figure, name: str, x: float, color: str) -> None:
    line = {"color": color, "width": 1.5, "dash": "dot" if name != "budget" else "solid"}
    page["shapes"].append({"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "y domain", "line": line})
    text = {"text": name, "showarrow": False, "yanchor": "bottom", "font": {"color": color, "size": 11}}
    text["xanchor"] = "right" if name == "p50" else "left" if name == "p90" else "center"
    page["annotations"].append({"x": x, "y": 1, "yref": "y domain", **text})


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
