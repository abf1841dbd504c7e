"""Per-operator times as lines for the terminal and as a plot."""

from collections.abc import Sequence
from typing import Any

from edgekd.report.bench_page import Shown
from edgekd.report.plotting import PALETTE, layout, plain

Record = dict[str, Any]
SHOWN = 10
BARS = 30


def operator_lines(found: Record) -> list[str]:
    """The operators with the largest shares, and what all of them take of the plain latency."""
    if "unavailable" in found:
        return [f"  operators    unavailable: {found['unavailable']}"]
    rows = found["rows"]
    lines = [
        f"  operators    {found['sum_ms']:.4g} ms together, {found['share_of_latency']:.0%} of the plain latency "
        f"({len(rows)} of them, {found['queries']} queries, {found['provenance']})",
        f"               {'share':>6} {'median':>11} {'calls':>6}  {'type':28} {'kernel':26} name",
    ]
    lines += [
        f"               {row['share']:6.1%} {row['median_us']:8,.4g} us {row['calls']:6}  "
        f"{row['type'][:28]:28} {row['kernel'][:26]:26} {row['name'][:60]}"
        for row in rows[:SHOWN]
    ]
    rest = rows[SHOWN:]
    if rest:
        lines.append(f"               {sum(row['share'] for row in rest):6.1%} of {len(rest)} others")
    return [*lines, f"               by {found['how']}"]


def operator_plots(records: Sequence[Record]) -> list[Shown]:
    """Of the records that have operators."""
    return [shown for record in records if (shown := operator_plot(record))]


def operator_plot(record: Record) -> Shown | None:
    """A bar an operator, the longest on top; what is beyond the first 30 is one bar. None where there are no times."""
    found = record.get("operators")
    if found is None or "unavailable" in found:
        return None
    rows, rest = found["rows"][:BARS], found["rows"][BARS:]
    bars = [(f"{row['name'][-40:]} · {row['type'][:30]}", row["share"], row["kernel"]) for row in rows]
    if rest:
        bars.append((f"{len(rest)} others", sum(row["share"] for row in rest), "several"))
    places = [plain(f"{number}. {label}") for number, (label, _, _) in enumerate(bars, 1)]
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": plain(kernel),
            "marker": {"color": PALETTE[number % len(PALETTE)]},
            "y": [place for place, bar in zip(places, bars, strict=True) if bar[2] == kernel],
            "x": [bar[1] * found["sum_ms"] * 1000 for bar in bars if bar[2] == kernel],
        }
        for number, kernel in enumerate(dict.fromkeys(bar[2] for bar in bars))
    ]
    page = layout("microseconds of a query", "", 140 + 20 * len(bars))
    page["yaxis"] |= {"categoryorder": "array", "categoryarray": places[::-1], "title": None}
    caption = (
        f"{record['artifact']} on {record['device']} / {record['target']}: operators, "
        f"{found['share_of_latency']:.0%} of the plain latency together ({found['provenance']}; {found['how']})"
    )
    return Shown(caption=caption, plot={"data": traces, "layout": page})
