"""A bench record in a few lines for the terminal."""

from typing import Any

from edgekd.report.operators_report import operator_lines

Record = dict[str, Any]


def bench_text(record: Record) -> str:
    """Latency, memory, size and energy, each with its provenance, what the way of use adds, and what to doubt."""
    latency = record["latency_ms"]
    percentiles = [f"{name} {latency[name]:.4g} ms" for name in ("p50", "p90", "p99") if latency.get(name) is not None]
    lines = [
        f"{record['artifact']} on {record['device']} / {record['target']}",
        f"  latency      {', '.join(percentiles)}   ({latency['n']} queries, {latency['provenance']})",
        *_evidence(record),
        *(line for key, told in USES.items() if key in record for line in told(record[key])),
        *_cost(record),
        f"  peak memory  {_figure(record['peak_memory_bytes'], 'bytes over the empty runtime')}",
        *_memory(record),
        f"  size         {record['size_bytes']:,} bytes",
        f"  energy       {_figure(record['energy_mj'], 'mJ a query')}",
        *_instructions(record),
        *(operator_lines(record["operators"]) if "operators" in record else []),
    ]
    return "\n".join(lines + [f"  warning: {warning}" for warning in record["warnings"]])


def _evidence(record: Record) -> list[str]:
    lines = [
        f"  {name:12} {told['answer']}: {told['queries']} queries, {told['needed']} are needed"
        for name, told in record.get("evidence", {}).items()
        if told["answer"] == "insufficient evidence"
    ]
    limit = record.get("limit")
    return lines + ([f"  limit        p{limit['percentile']:g} of {limit['limit_ms']:g} ms: {limit['answer']}"] if limit else [])


def _cold(found: Record) -> list[str]:
    lines = [f"  cold start   {_start(found['cached'])}, files in the page cache"]
    uncached = found["uncached"]
    reason = uncached.get("unavailable")
    lines.append(f"               files not in it: {'unavailable: ' + reason if reason else _start(uncached)}")
    return [*lines, f"               before it, import of the runtime: {found['import_ms']['p50']:.4g} ms"]


def _start(found: Record) -> str:
    return f"load {found['load_ms']['p50']:.4g} ms, first query {found['first_ms']['p50']:.4g} ms"


def _sustained(found: Record) -> list[str]:
    return [f"  sustained    {found['verdict']} ({found['seconds']:.0f} s, change {found['change']:+.1%})"]


def _duty(found: Record) -> list[str]:
    ratio = f"{found['ratio']:.3g} times that of back-to-back queries"
    return [f"  duty         a query every {found['period_s']:g} s: {ratio}, {found['late']} late"]


def _throughput(found: Record) -> list[str]:
    shape = f"{found['streams']} streams of {found['threads']} threads, batch {found['batch']}"
    spread = f"{found['lowest_per_s']:,.4g} to {found['highest_per_s']:,.4g}"
    return [f"  throughput   {found['per_s']:,.4g} inferences a second ({spread}; {shape})"]


def _cost(record: Record) -> list[str]:
    cost = record.get("cost_per_million")
    return [f"  cost         {cost['value']:.4g} per million inferences at {cost['price_per_hour']:g} an hour"] if cost else []


def _memory(record: Record) -> list[str]:
    """Proportional size and planned peak."""
    return [
        f"               {_figure(record['pss_bytes'], 'bytes over the empty runtime in proportional size (PSS)')}",
        f"               {_figure(record['planned_peak_bytes'], 'bytes of activations at once, as planned')}",
    ]


def _instructions(record: Record) -> list[str]:
    """Counted instructions, where they were asked for."""
    found = record.get("instructions_per_inference")
    if found is None or found["value"] is None:
        return [f"  instructions {_figure(found, '')}"] if found else []
    how = f"{found['provenance']}: QEMU's {found['cpu']}; {len(found['values'])} runs, spread {found['spread']:.4%}"
    return [f"  instructions {found['value']:,.0f} an inference ({how})"]


def _figure(figure: Record, unit: str) -> str:
    if figure["value"] is None:
        return f"unavailable: {figure.get('reason', '')}"
    return f"{figure['value']:,} {unit} ({figure['provenance']})"


USES = {"cold": _cold, "sustained": _sustained, "duty": _duty, "throughput": _throughput}
