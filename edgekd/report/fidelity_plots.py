"""What of the teacher is in its student and in the artifact: class by class, in confidence, under corruption, by epoch."""

from typing import Any

from edgekd.report.plotting import BLUE, GREEN, GREY, ORANGE, PALETTE, RED, Figure, layout, plain

COLORS = {"teacher": GREY, "student": BLUE, "artifact": ORANGE}
MOST_CLASSES = 30
"""Shown: of more, those that lose the most against the teacher. Beyond, bars are thinner than a few pixels."""


def fidelity_plots(report: Figure, entry: Figure) -> list[tuple[str, str, Figure]]:
    """(id, caption, figure) of one selected artifact: those that there is something to draw for."""
    found = entry.get("teacher_fidelity")
    if not found:
        return []
    drawn = (
        ("classes", "Accuracy by class", class_plot(found)),
        ("reliability", "Reliability: accuracy where the network is so confident", reliability_plot(found)),
        ("severity", "Accuracy by severity, mean over 15 corruptions", severity_plot(found)),
        ("corruptions", "Accuracy lost to each corruption at each severity", corruption_plot(found)),
        ("convergence", "How it learnt, on the validation split", convergence_plot(report, entry["candidate"])),
        ("cka", "Likeness of embeddings (CKA)", cka_plot(found)),
    )
    return [(name, caption, figure) for name, caption, figure in drawn if figure is not None]


def class_plot(found: Figure) -> Figure | None:
    """Accuracy of the three networks on each class, on the test split."""
    whole = found["student"] or found["artifact"]
    if whole is None or not whole["classes"]:
        return None
    parts = {"teacher": (whole, "teacher_accuracy")}
    parts |= {who: (found[who], "student_accuracy") for who in ("student", "artifact") if found[who]}

    def lost(index: int) -> float:
        teacher, network = (whole["classes"][index][f"{who}_accuracy"] or 0.0 for who in ("teacher", "student"))
        return float(teacher - network)

    chosen = sorted(sorted(range(len(whole["classes"])), key=lost, reverse=True)[:MOST_CLASSES])
    names = [plain(whole["classes"][index]["name"]) for index in chosen]
    data: list[Figure] = []
    for who, (part, key) in parts.items():
        values = [part["classes"][index][key] if index < len(part["classes"]) else None for index in chosen]
        data.append({"type": "bar", "name": who, "x": names, "y": values, "marker": {"color": COLORS[who]}})
    page = _page("", "accuracy (test)")
    known = [value for trace in data for value in trace["y"] if value is not None]
    low = max(0.0, min(known, default=0.0) - 0.05)
    page["xaxis"] |= {"type": "category"}
    page["yaxis"] |= {"tickformat": ".0%", "range": [low if low > 0.3 else 0.0, 1.0]}
    return {"data": data, "layout": page}


def reliability_plot(found: Figure) -> Figure | None:
    """Accuracy over confidence by bin; on the diagonal confidence is right. Markers show how many samples a bin has."""
    whole = found["student"] or found["artifact"]
    if whole is None:
        return None
    scores = {"teacher": whole["teacher"]} | {who: found[who]["student"] for who in ("student", "artifact") if found[who]}
    straight = {"mode": "lines", "line": {"color": GREY, "dash": "dot", "width": 1}, "hoverinfo": "skip", "showlegend": False}
    data: list[Figure] = [{"type": "scatter", "x": [0, 1], "y": [0, 1], **straight}]
    for who, part in scores.items():
        bins = [b for b in part["reliability"] if b["samples"] > 0 and b["confidence"] is not None and b["accuracy"] is not None]
        total = sum(b["samples"] for b in bins) or 1
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": who,
                "x": [b["confidence"] for b in bins],
                "y": [b["accuracy"] for b in bins],
                "hovertext": [f"{who}: {b['samples']:,} samples" for b in bins],
                "line": {"color": COLORS[who], "width": 0.6, "dash": "dot"},
                "marker": {
                    "color": COLORS[who],
                    "symbol": "circle-open" if who == "artifact" else "circle",
                    "size": [5 + 14 * (b["samples"] / total) ** 0.5 for b in bins],
                    "line": {"width": 1.5},
                },
            }
        )
    page = _page("confidence", "accuracy (test)")
    page["xaxis"] |= {"tickformat": ".0%", "range": [0, 1.02]}
    page["yaxis"] |= {"tickformat": ".0%", "range": [0, 1.05]}
    return {"data": data, "layout": page}


def severity_plot(found: Figure) -> Figure | None:
    """Accuracy of each network, and agreement with the teacher, by severity; 0 is no corruption."""
    measured = found["robustness"]
    if measured is None:
        return None
    severities = sorted({row["severity"] for row in measured["conditions"]})
    data = []
    for who, color in COLORS.items():
        means = {s: _mean([c["accuracy"][who] for c in measured["conditions"] if c["severity"] == s]) for s in severities}
        points = {0: measured["networks"][who]["clean_accuracy"], **means}
        # The artifact's lines lie upon its student's where nothing was lost: dashed, both are seen.
        data.append(_line(who, list(points), list(points.values()), color, dash="dash" if who == "artifact" else "solid"))
        if who != "teacher":
            same = [_mean([c["agreement"][who] for c in measured["conditions"] if c["severity"] == s]) for s in severities]
            data.append(
                _line(f"{who} agrees with teacher", severities, same, color, dash="dashdot" if who == "artifact" else "dot")
            )
    page = _page("severity", "share of samples")
    page["xaxis"] |= {"dtick": 1}
    page["yaxis"] |= {"tickformat": ".0%"}
    return {"data": data, "layout": page}


def corruption_plot(found: Figure) -> Figure | None:
    """Three heat maps, corruption by severity: accuracy on clean pictures less that on corrupted ones."""
    measured = found["robustness"]
    if measured is None or not measured["conditions"]:
        return None
    names = list(dict.fromkeys(row["corruption"] for row in measured["conditions"]))[::-1]
    severities = sorted({row["severity"] for row in measured["conditions"]})
    page, data = layout("severity", "", 380), []
    page["coloraxis"] = {"colorscale": "Viridis", "cmin": 0, "colorbar": {"tickformat": ".0%", "thickness": 10}}
    for number, who in enumerate(COLORS):
        suffix, left = "" if number == 0 else str(number + 1), number * 0.345
        clean = measured["networks"][who]["clean_accuracy"]
        drops = {(row["corruption"], row["severity"]): clean - row["accuracy"][who] for row in measured["conditions"]}
        data.append(
            {
                "type": "heatmap",
                "x": severities,
                "y": [plain(name).replace("_", " ") for name in names],
                "z": [[drops.get((name, severity)) for severity in severities] for name in names],
                "coloraxis": "coloraxis",
                "xaxis": f"x{suffix}",
                "yaxis": f"y{suffix}",
                "hovertemplate": f"%{{y}} %{{x}}: %{{z:.1%}} lost<extra>{who}</extra>",
            }
        )
        page[f"xaxis{suffix}"] = {**page["xaxis"], "domain": [left, left + 0.31], "anchor": f"y{suffix}", "dtick": 1}
        page[f"yaxis{suffix}"] = {**page["yaxis"], "anchor": f"x{suffix}", "showticklabels": number == 0}
        title = {"text": who, "showarrow": False, "xanchor": "center", "yanchor": "bottom"}
        page["annotations"].append({"x": left + 0.155, "y": 1, "xref": "paper", "yref": "paper", **title})
    return {"data": data, "layout": page}


def convergence_plot(report: Figure, candidate: str) -> Figure | None:
    """Accuracy and agreement by epoch, without the teacher too where that was trained; and the losses' gradients."""
    curve = next((t["curve"] for t in report["trials"] if t["candidate"] == candidate and t.get("curve")), None)
    if not curve:
        return None
    epochs = [point["epoch"] for point in curve]
    data = [
        _line(f"{key}, with teacher", epochs, [point.get(key) for point in curve], color)
        for key, color in (("accuracy", BLUE), ("agreement", GREEN))
    ]
    for honest in report.get("honest") or []:
        for variant in honest["variants"] if honest["candidate"] == candidate else []:
            points = variant.get("curve") or []
            if variant["name"] == "plain, equal epochs" and points:
                own = [p["epoch"] for p in points], [p.get("accuracy") for p in points]
                data.append(_line("accuracy, without teacher", *own, GREY))
    page = _page("epoch", "share of samples")
    page["yaxis"] |= {"tickformat": ".0%"}
    losses = list(dict.fromkeys(name for point in curve for name in point.get("gradient_ratios") or {}))
    if losses:
        page["xaxis2"] = {**page["xaxis"], "domain": [0.57, 1], "anchor": "y2"}
        form = {"title": {"text": "gradient ratio"}, "anchor": "x2", "tickformat": "~g", "type": "log", "dtick": "D2"}
        page["yaxis2"] = {**page["yaxis"], **form}
        page["xaxis"] |= {"domain": [0, 0.43]}
    for number, loss in enumerate(losses):
        ratios = [(point.get("gradient_ratios") or {}).get(loss) for point in curve]
        color = PALETTE[(number + 3) % len(PALETTE)]
        data.append({**_line(f"gradient of {plain(loss)} by the labels'", epochs, ratios, color), "xaxis": "x2", "yaxis": "y2"})
    return {"data": data, "layout": page}


def cka_plot(found: Figure) -> Figure | None:
    """The CKA as a bar, with what 95 of 100 pairs of unrelated embeddings stay under."""
    cka = found["cka"]
    if cka is None:
        return None
    bar = {"type": "bar", "orientation": "h", "x": [cka["value"]], "y": ["student, teacher"], "marker": {"color": BLUE}}
    page = layout("CKA", "", 200)
    page["xaxis"] |= {"range": [min(0.0, cka["value"], cka["null_mean"]) - 0.02, 1.02]}
    page["shapes"].append({**_upright(cka["null_p95"]), "line": {"color": RED, "width": 2, "dash": "dash"}})
    text = f"unrelated: below {cka['null_p95']:.3f} in 95 of 100"
    note = {
        "x": cka["null_p95"],
        "y": 1,
        "yref": "paper",
        "text": text,
        "showarrow": False,
        "xanchor": "left",
        "yanchor": "bottom",
    }
    page["annotations"].append({**note, "font": {"color": RED, "size": 11}})
    return {"data": [{**bar, "width": 0.4}], "layout": page}


def gain_plot(honest: Figure) -> Figure | None:
    """The gain of distillation against each control with its interval, and that of each seed. None without gains."""
    gains = honest["gains"]
    if not gains:
        return None
    names = [f"against {plain(gain['against'])}" for gain in gains]
    values, ends = [gain["gain_points"] for gain in gains], [gain["interval_points"] for gain in gains]
    above, below = ([abs(end[side] - v) for v, end in zip(values, ends, strict=True)] for side in (1, 0))
    bars = {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "thickness": 2, "width": 8}
    seeds = [(value, name) for gain, name in zip(gains, names, strict=True) for value in gain["seed_gains_points"]]
    each = {"mode": "markers", "name": "one seed", "marker": {"color": GREY, "size": 7, "symbol": "line-ns-open"}}
    mean = {"mode": "markers", "name": "mean, interval", "marker": {"color": BLUE, "size": 11}, "error_x": bars}
    page = layout("gain in test accuracy, percentage points", "", 90 + 70 * len(gains))
    page["shapes"].append({**_upright(0), "line": {"color": RED, "width": 1.5, "dash": "dash"}})
    page["yaxis"] |= {"type": "category", "range": [-0.6, len(gains) - 0.4]}
    page["legend"] |= {"y": 1.02, "yanchor": "bottom"}
    page["margin"] |= {"t": 48}
    return {
        "data": [
            {"type": "scatter", "x": [value for value, _ in seeds], "y": [name for _, name in seeds], **each},
            {"type": "scatter", "x": values, "y": names, **mean},
        ],
        "layout": page,
    }


def _page(x: str, y: str) -> Figure:
    """The legend above, since several networks take more than a line of it."""
    page = layout(x, y, 340)
    page["legend"] |= {"y": 1.02, "yanchor": "bottom"}
    page["margin"] |= {"t": 64}
    return page


def _upright(x: float) -> Figure:
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper"}


def _line(name: str, x: list[Any], y: list[Any], color: str, dash: str = "solid") -> Figure:
    style = {"line": {"color": color, "dash": dash}, "marker": {"size": 4, "color": color}}
    return {"type": "scatter", "mode": "lines+markers", "name": name, "x": x, "y": y, **style}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
