"""A bench record in a few lines for the terminal."""

from typing import Any


def bench_text(record: dict[str, Any]) -> str:
    """Latency, memory, size and energy, each with its provenance, and what to doubt."""
    latency = record["latency_ms"]
    percentiles = [f"{name} {latency[name]:.4g} ms" for name in ("p50", "p90", "p99") if latency.get(name) is not None]
    lines = [
        f"{record['artifact']} on {record['device']} / {record['target']}",
        f"  latency      {', '.join(percentiles)}   ({latency['n']} queries, {latency['provenance']})",
        f"  peak memory  {_figure(record['peak_memory_bytes'], 'bytes over the empty runtime')}",
        f"  size         {record['size_bytes']:,} bytes",
        f"  energy       {_figure(record['energy_mj'], 'mJ a query')}",
    ]
    return "\n".join(lines + [f"  warning: {warning}" for warning in record["warnings"]])


def _figure(figure: dict[str, Any], unit: str) -> str:
    if figure["value"] is None:
        return f"unavailable: {figure.get('reason', '')}"
    return f"{figure['value']:,} {unit} ({figure['provenance']})"
