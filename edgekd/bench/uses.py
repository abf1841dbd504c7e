"""What each way of use measures: the passes that it takes, and what their answers say beyond the latencies."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgekd.bench import steady
from edgekd.bench.reply import Reply
from edgekd.bench.runs import Runs
from edgekd.bench.statistics import latency_summary

WINDOW_S = 1.0
CACHES = ("resident", "evicted")
IN_CACHE, OUT_OF_CACHE = 0.99, 0.01
"""Shares of the model's pages in memory from which, and up to which, its files count as cached and as not."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """Latencies in ms, a sequence a process in the order taken; `details` are what reports show of this way of use."""

    series: list[list[float]]
    details: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Way:
    """`passes` runs those of one round; `read` makes one result of all rounds' answers."""

    passes: Callable[[Runs, dict[str, Any]], list[Reply]]
    read: Callable[[Runs, Sequence[Reply]], Found]


def way(runs: Runs) -> Way:
    return THROUGHPUT if runs.use.throughput else WAYS[runs.use.mode]


def _warm_passes(runs: Runs, share: dict[str, Any]) -> list[Reply]:
    return [runs.run("latency", share)]


def _warm(runs: Runs, replies: Sequence[Reply]) -> Found:
    return Found(series=[_ms(reply.latency_ns) for reply in replies])


def _cold_passes(runs: Runs, share: dict[str, Any]) -> list[Reply]:
    return [runs.run("cold", {**share, "queries": None, "page_cache": cache}) for cache in CACHES]


def _cold(runs: Runs, replies: Sequence[Reply]) -> Found:
    """Latency is loading and the first query together, from cached files; what the page cache held is measured, not assumed."""
    cached, evicted = replies[::2], replies[1::2]
    details = {"cached": _starts(cached), "import_ms": _summary([reply.import_ns for reply in replies])}
    shares = [reply.resident for reply in evicted]
    if any(share is None for share in shares):
        details["uncached"] = {"unavailable": "this system does not tell what its page cache holds"}
    elif max(share for share in shares if share is not None) > OUT_OF_CACHE:
        details["uncached"] = {"unavailable": "the system kept the model's files in memory: they lie on a file system in memory?"}
    else:
        details["uncached"] = _starts(evicted)
    warnings = []
    if any(reply.resident is not None and reply.resident < IN_CACHE for reply in cached):
        warnings.append("the model's files were not all in the page cache when it was loaded: memory is short; close programs")
    series = [[(reply.load_ns + reply.first_ns) / 1e6] for reply in cached]
    return Found(series=series, details={"cold": details}, warnings=warnings)


def _starts(replies: Sequence[Reply]) -> dict[str, Any]:
    shares = [reply.resident for reply in replies if reply.resident is not None]
    return {
        "load_ms": _summary([reply.load_ns for reply in replies]),
        "first_ms": _summary([reply.first_ns for reply in replies]),
        "total_ms": _summary([reply.load_ns + reply.first_ns for reply in replies]),
        "in_page_cache": statistics.median(shares) if shares else None,
    }


def _sustained_passes(runs: Runs, share: dict[str, Any]) -> list[Reply]:
    return [runs.run("sustained", {**share, "queries": None, "window_s": min(WINDOW_S, runs.settings.max_seconds / 100)})]


def _sustained(runs: Runs, replies: Sequence[Reply]) -> Found:
    """Latencies are those of the last windows; `verdict` says how it came there, by the rules of steady.py."""
    details = [_endurance(reply) for reply in replies]
    warnings = [f"sustained load: {d['verdict']}" for d in details if d["verdict"].startswith(("throttled", "not steady"))]
    return Found(
        series=[_ms(reply.latency_ns) for reply in replies], details={"sustained": details[0]}, warnings=sorted(set(warnings))
    )


def _endurance(reply: Reply) -> dict[str, Any]:
    levels = [window.median_ns / 1e6 for window in reply.windows]
    shape, settled = steady.judge(levels), steady.settled(levels)
    change = statistics.median(levels[-steady.SPAN :]) / statistics.median(levels[:3]) - 1
    at_s = reply.windows[shape["at"]].end_s if shape["shape"] == "step" else None
    temperatures = [window.temperature_c for window in reply.windows if window.temperature_c is not None]
    clocks = [window.frequency_mhz for window in reply.windows if window.frequency_mhz is not None]
    return {
        "verdict": _verdict(shape, settled, change, reply.windows[-1].end_s),
        "steady": settled,
        "change": change,
        "throttled_at_s": at_s if shape["change"] > 0 else None,
        "seconds": reply.windows[-1].end_s,
        "temperature_c": [temperatures[0], max(temperatures)] if temperatures else None,
        "frequency_mhz": [clocks[0], min(clocks)] if clocks else None,
        "window_ms": levels,
        "window_end_s": [window.end_s for window in reply.windows],
        "rule": f"medians of windows; flat: neither slope (Sen, Mann-Kendall) nor step (Pettitt) above {steady.FLAT:.0%} "
        f"in the last {steady.SPAN}; throttled: slower by over {steady.CHANGE:.0%}",
    }


def _verdict(shape: dict[str, Any], settled: bool, change: float, seconds: float) -> str:
    slower = shape["shape"] != "flat" and shape["change"] > 0
    if slower and (settled or shape["shape"] == "step") and change > steady.CHANGE:
        return f"throttled: {change:.0%} slower than at the start"
    if not settled:
        return f"not steady after {seconds:.0f} s: allow more seconds" + (f"; {change:+.0%} so far" if slower else "")
    return "steady" if shape["shape"] == "flat" or slower else f"steady, {-change:.0%} faster than at the start"


def _duty_passes(runs: Runs, share: dict[str, Any]) -> list[Reply]:
    return [runs.run("duty", {**share, "period_s": runs.use.period_s})]


def _duty(runs: Runs, replies: Sequence[Reply]) -> Found:
    """Latencies of queries with pauses between them; the same processes' queries without a pause to compare with."""
    series = [_ms(reply.latency_ns) for reply in replies]
    dense = [ms for reply in replies for ms in _ms(reply.dense_ns)]
    spaced, late = statistics.median(ms for run in series for ms in run), sum(reply.late for reply in replies)
    details = {
        "period_s": runs.use.period_s,
        "back_to_back_ms": latency_summary(dense),
        "ratio": spaced / statistics.median(dense),
        "late": late,
    }
    warnings = [f"{late} queries ended after the next one was due: allow a longer period"] if late else []
    return Found(series=series, details={"duty": details}, warnings=warnings)


def _throughput_passes(runs: Runs, share: dict[str, Any]) -> list[Reply]:
    return [runs.run("throughput", {**share, "queries": None})]


def _throughput(runs: Runs, replies: Sequence[Reply]) -> Found:
    """Inferences a second over all streams: the median over processes, with the lowest and the highest."""
    batch = runs.use.batch or 1
    rates = [batch * sum(len(stream) for stream in reply.streams) / reply.wall_ns * 1e9 for reply in replies]
    details = {
        "per_s": statistics.median(rates),
        "lowest_per_s": min(rates),
        "highest_per_s": max(rates),
        "streams": runs.use.streams,
        "threads": runs.threads,
        "batch": batch,
    }
    cpus, warnings = replies[0].cpus, []
    if runs.threads <= cpus < runs.use.streams * runs.threads:
        warnings.append(
            f"{runs.use.streams} streams of {runs.threads} threads on {cpus} processors: they wait for each other; use fewer"
        )
    if any(not stream for reply in replies for stream in reply.streams):
        warnings.append("a stream ended no query while others did: measure for longer, or use fewer streams")
    series = [[ms for stream in reply.streams for ms in _ms(stream)] for reply in replies]
    return Found(series=series, details={"throughput": details}, warnings=warnings)


def cost_per_million(per_s: float, price_per_hour: float) -> float:
    """Price of a million inferences at that rate, in the money that `price_per_hour` is in."""
    return price_per_hour / 3600 / per_s * 1e6


def _ms(times_ns: Sequence[int]) -> list[float]:
    return [ns / 1e6 for ns in times_ns]


def _summary(times_ns: Sequence[int]) -> dict[str, Any]:
    return latency_summary(_ms(times_ns))


WAYS = {
    "warm": Way(passes=_warm_passes, read=_warm),
    "cold": Way(passes=_cold_passes, read=_cold),
    "sustained": Way(passes=_sustained_passes, read=_sustained),
    "duty": Way(passes=_duty_passes, read=_duty),
}
THROUGHPUT = Way(passes=_throughput_passes, read=_throughput)
