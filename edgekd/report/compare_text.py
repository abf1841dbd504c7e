"""Side-by-side results as lines for the terminal and as a plot."""

import math
from string import ascii_uppercase
from typing import Any

from edgekd.report.bench_page import Shown
from edgekd.report.plotting import PALETTE, layout, plain

Record = dict[str, Any]
LETTERS = ascii_uppercase
TWICE = 2.0


def compare_text(record: Record) -> str:
    """Each side with its latency, then what can be said of it against the first, then what to doubt."""
    lines = []
    for letter, side in zip(LETTERS, record["sides"], strict=False):
        latency = side["latency_ms"]
        figures = ", ".join(f"{key} {latency[key]:.4g} ms" for key in ("p50", "p90") if latency.get(key) is not None)
        told = f"{side['label']} on {side['device']} / {side['target']}"
        lines.append(f"{letter}  {told}: {figures} ({latency['n']} queries, {latency['provenance']})")
    lines += [verdict(found, len(record["blocks"]), record["level"]) for found in record["comparisons"]]
    for letter, side in zip(LETTERS, record["sides"], strict=False):
        lines += [f"  warning: {letter}: {warning}" for warning in side["warnings"]]
    return "\n".join(lines)


def verdict(found: Record, blocks: int, level: float) -> str:
    """`B is 3.1 % faster than A (95 % interval …)`: by so much less or more time, not rate."""
    one, other = LETTERS[found["side"]], LETTERS[found["to"]]
    low, high = (change(ratio) for ratio in found["interval"])
    where = f"{100 * level:.4g} % interval {low} to {high}, {blocks} blocks"
    if found["verdict"] == "no difference shown":
        least = f"the smallest that could: {100 * found['smallest']:.2g} %"
        return f"no difference between {one} and {other} can be shown; {least} ({where})"
    ratio = found["ratio"]
    if not 1 / TWICE < ratio < TWICE:
        told = f"takes {ratio:.3g} times as long as" if ratio > 1 else f"is {1 / ratio:.3g} times as fast as"
        return f"{one} {told} {other} ({where})"
    return f"{one} is {100 * abs(ratio - 1):.2g} % {found['verdict']} than {other} ({where})"


def change(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.2g} %" if math.isfinite(ratio) else "anything"


def compare_plot(record: Record) -> Shown:
    """The ratio of every block, a row a side, with the interval."""
    page = layout("time, as a ratio to A", "", 160 + 60 * len(record["comparisons"]))
    page["yaxis"] |= {"title": None}
    line = {"type": "line", "x0": 1, "x1": 1, "yref": "paper", "y0": 0, "y1": 1, "line": {"dash": "dot", "width": 1}}
    page["shapes"] = [line]
    traces = []
    for number, found in enumerate(record["comparisons"]):
        name = plain(f"{LETTERS[found['side']]} {record['sides'][found['side']]['label']}")
        low, high = found["interval"]
        color = PALETTE[number % len(PALETTE)]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": f"{name}: blocks",
                "x": [math.exp(value) for value in found["log_ratios"]],
                "y": [name] * len(found["log_ratios"]),
                "marker": {"color": color, "opacity": 0.4},
            }
        )
        bars = {"type": "data", "symmetric": False, "array": [high - found["ratio"]], "arrayminus": [found["ratio"] - low]}
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": f"{name}: interval",
                "x": [found["ratio"]],
                "y": [name],
                "error_x": bars,
                "marker": {"color": color, "size": 12, "symbol": "diamond"},
            }
        )
    base = record["sides"][0]["label"]
    return Shown(caption=f"against A {base}: medians of {len(record['blocks'])} blocks", plot={"data": traces, "layout": page})
