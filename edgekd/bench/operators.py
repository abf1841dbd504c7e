"""Where a model's time goes: its operators' times, from a process of their own, beside the latency that was measured plainly.

A runtime that watches its operators is slower for it, so this is never the pass that times. What the operators take
together is compared with the plain latency: the rest is the runtime's own work between them, and what clocks cut off.
"""

import statistics
from typing import Any

from edgekd.bench.jobs import Job
from edgekd.bench.opened import opened
from edgekd.bench.reply import RunFailed
from edgekd.bench.runs import Runs

QUERIES = 50
"""Of the profile: an operator's median of so many is steady, and a large model's answer stays under 2 MB."""
WARMUP_QUERIES = 10
MAX_SECONDS = 20.0

Record = dict[str, Any]


def with_operators(job: Job, record: Record) -> Record:
    """The job's record with `operators`, from a pass of its own. Raises as `measure_model` does."""
    with opened([job]) as (runs,):
        latency = record["latency_ms"]
        return {**record, "operators": operator_times(runs, record["values"]["latency_ms"], latency["provenance"])}


def operator_times(runs: Runs, latency_ms: list[float], provenance: str) -> Record:
    """The operators of a model that is already pushed.

    Args:
        latency_ms: of the plain queries, to compare with.
        provenance: of those.

    Returns:
        {rows, sum_ms, latency_ms, share_of_latency, queries, how, provenance}, or {unavailable}: the reason.

    Raises as `Runs.run` does, but where the profile itself fails: that is a reason.
    """
    assert runs.target.runner is not None
    file = runs.target.runner.with_name("operators.py")
    if not file.is_file():
        return {"unavailable": f"target '{runs.target.name}' has no per-operator times"}
    runs.transport.push(file, f"{runs.operators}.py")
    share = {"queries": QUERIES, "warmup_queries": WARMUP_QUERIES, "max_seconds": MAX_SECONDS}
    try:
        found = runs.run("operators", share).operators
    except RunFailed as failure:
        return {"unavailable": f"{failure.stage} with the profile failed: {failure.cause}"}
    assert found is not None  # parse() demands it of this mode
    if found.unavailable:
        return {"unavailable": found.unavailable}
    rows, plain = found.rows(), statistics.median(latency_ms)
    taken = sum(row["median_us"] * row["calls"] for row in rows) / found.queries / 1000
    return {
        "rows": rows,
        "sum_ms": taken,
        "latency_ms": plain,
        "share_of_latency": taken / plain,
        "queries": found.queries,
        "how": found.how,
        "provenance": provenance,
    }
