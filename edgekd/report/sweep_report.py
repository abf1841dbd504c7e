"""A sweep as one table for the terminal, and as plots of latency against threads and memory."""

from collections.abc import Sequence
from typing import Any

from edgekd.report.bench_page import Shown
from edgekd.report.plotting import PALETTE, SYMBOLS, Figure, layout, plain

Record = dict[str, Any]
NUMBERS = ("threads", "batch", "streams")
COLUMNS = ("p50 ms", "p90 ms", "memory MB", "size MB", "energy mJ", "")


def sweep_text(records: Sequence[Record]) -> str:
    """One row a point: its values, then its figures; a dash where there is none; then what to doubt, each once."""
    keys = list(dict.fromkeys(key for record in records for key in record["point"]))
    table = [[*keys, *COLUMNS]] + [[str(r["point"].get(key, "")) for key in keys] + _figures(r) for r in records]
    widths = [max(len(row[i]) for row in table) for i in range(len(keys) + len(COLUMNS) - 1)]
    lines = ["  ".join([*(cell.rjust(w) for cell, w in zip(row, widths, strict=False)), row[-1]]).rstrip() for row in table]
    doubts = dict.fromkeys(warning for record in records for warning in record.get("warnings", []))
    return "\n".join(lines + [f"warning: {warning}" for warning in doubts])


def _figures(record: Record) -> list[str]:
    if "failure" in record:
        return ["-"] * 5 + [record["failure"]]
    latency, memory, energy = record["latency_ms"], record["peak_memory_bytes"]["value"], record["energy_mj"]["value"]
    return [
        *(f"{latency[key]:.4g}" if latency.get(key) is not None else "-" for key in ("p50", "p90")),
        "-" if memory is None else f"{memory / 1e6:.4g}",
        f"{record['size_bytes'] / 1e6:.4g}",
        "-" if energy is None else f"{energy:.4g}",
        "" if latency["provenance"] == "measured" else latency["provenance"],
    ]


def sweep_plots(records: Sequence[Record]) -> list[Shown]:
    """Latency against every axis of numbers, a line for each of the other points; latency against peak memory."""
    measured = [record for record in records if "failure" not in record]
    axes = [key for key in NUMBERS if len({record["point"].get(key) for record in measured} - {None}) > 1]
    shown = [Shown(caption=f"latency (p50) against {key}", plot=_against(measured, key)) for key in axes]
    return shown + memory_plot(measured)


def memory_plot(records: Sequence[Record]) -> list[Shown]:
    """Latency against peak memory, a mark a record; none where there is but one, or no memory was measured."""
    found = [record for record in records if record["peak_memory_bytes"]["value"] is not None]
    if len(found) < 2:
        return []
    return [Shown(caption="latency (p50) against peak memory over the empty runtime", plot=_memory(found))]


def point_text(record: Record) -> str:
    """A point that has just ended, on one line."""
    told = ", ".join(f"{key} {value}" for key, value in record["point"].items())
    return f"{told}: " + (record["failure"] if "failure" in record else f"p50 {record['latency_ms']['p50']:.4g} ms")


def name(point: dict[str, str], without: str = "") -> str:
    return plain(", ".join(f"{key} {value}" for key, value in point.items() if key != without) or "all")


def _against(records: Sequence[Record], key: str) -> Figure:
    lines: dict[str, list[Record]] = {}
    for record in records:
        lines.setdefault(name(record["point"], key), []).append(record)
    traces = []
    for number, (label, line) in enumerate(lines.items()):
        ordered = sorted(line, key=lambda record: int(record["point"][key]))
        color = PALETTE[number % len(PALETTE)]
        trace = {"type": "scatter", "mode": "lines+markers", "name": label, "marker": {"color": color}, "line": {"color": color}}
        xs, ys = [int(r["point"][key]) for r in ordered], [r["latency_ms"]["p50"] for r in ordered]
        traces.append({**trace, "x": xs, "y": ys})
    page = layout(key, "latency p50, ms", 420)
    page["xaxis"] |= {"tickmode": "array", "tickvals": sorted({int(record["point"][key]) for record in records})}
    page["yaxis"] |= {"rangemode": "tozero"}
    return {"data": traces, "layout": page}


def _memory(records: Sequence[Record]) -> Figure:
    traces = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": name(record["point"]),
            "x": [record["peak_memory_bytes"]["value"] / 1e6],
            "y": [record["latency_ms"]["p50"]],
            "marker": {
                "color": PALETTE[number % len(PALETTE)],
                "size": 10,
                "symbol": SYMBOLS.get(record["latency_ms"]["provenance"], "x"),
            },
        }
        for number, record in enumerate(records)
    ]
    page = layout("peak memory, MB", "latency p50, ms", 420)
    for axis in ("xaxis", "yaxis"):
        page[axis] |= {"rangemode": "tozero"}
    return {"data": traces, "layout": page}
