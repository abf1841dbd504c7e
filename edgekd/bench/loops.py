"""The timed loops: how a loaded model is used while it is measured, one function a mode.

Pushed to devices beside the harness and as bare as that: standard library, Python 3.8 syntax. `batches` are lists of
arrays, one list a query, taken in turn; `facts` reads the machine's state. All times are in ns, in the order taken.
"""

from __future__ import annotations

import collections
import gc
import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import steady

KEPT = 100_000  # latencies of a sustained run that go into its answer: the last ones
clock = time.perf_counter_ns


def warm(model: Any, batches: list[list[Any]], job: dict[str, Any], facts: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Queries one after the other, after a warm-up."""
    warm_up(model, batches, job)
    before = facts()
    return {"latency_ns": timed(model.run, itertools.cycle(batches), job), "before": before, "after": facts()}


def warm_up(model: Any, batches: list[list[Any]], job: dict[str, Any]) -> None:
    deadline = time.perf_counter() + job["max_seconds"]
    for arrays in itertools.islice(itertools.cycle(batches), job["warmup_queries"]):
        model.run(arrays)
        if time.perf_counter() > deadline:
            return


def timed(run: Callable[[list[Any]], Any], feed: Iterator[list[Any]], job: dict[str, Any]) -> list[int]:
    """Time of each query. Garbage collection is off: it is Python's, not the runtime's."""
    times: list[int] = []
    least, most = (job["queries"], job["queries"]) if job["queries"] else (job["min_queries"], job["max_queries"])
    least_ns, most_ns = job["min_seconds"] * 1e9, job["max_seconds"] * 1e9
    if job["queries"]:
        least_ns, most_ns = 0, float("inf")
    gc.collect()
    gc.disable()
    start = clock()
    while True:
        arrays = next(feed)
        begin = clock()
        run(arrays)
        end = clock()
        times.append(end - begin)
        spent = end - start
        if len(times) >= most or spent >= most_ns or (len(times) >= least and spent >= least_ns):
            gc.enable()
            return times


def sustained(model: Any, batches: list[list[Any]], job: dict[str, Any], facts: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Queries without a pause, in windows of `window_s`, until their medians are steady or `max_seconds` are over.

    No warm-up: the first windows are the cool device. The state is read after each window.
    """
    before, feed, start = facts(), itertools.cycle(batches), clock()
    window = {"queries": None, "min_queries": 1, "max_queries": 10**9}
    window.update(min_seconds=job["window_s"], max_seconds=job["window_s"])
    windows: list[dict[str, Any]] = []
    kept: collections.deque[list[int]] = collections.deque(maxlen=steady.SPAN)
    while True:
        times = timed(model.run, feed, window)
        kept.append(times)
        state, spent = facts(), (clock() - start) / 1e9
        seen: dict[str, Any] = {key: state[key] for key in ("temperature_c", "frequency_mhz") if key in state}
        windows.append({"end_s": spent, "queries": len(times), "median_ns": int(statistics.median(times)), **seen})
        still = spent >= job["min_seconds"] and steady.settled([w["median_ns"] for w in windows])
        if still or spent >= job["max_seconds"]:
            latencies = [ns for times in kept for ns in times]
            return {"windows": windows, "latency_ns": latencies[-KEPT:], "before": before, "after": state}


def duty(model: Any, batches: list[list[Any]], job: dict[str, Any], facts: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A query every `period_s`, asleep between them; then as many back to back, to compare with.

    `late` counts queries that ended after the next was due; the clock of the next ones starts anew there.
    """
    warm_up(model, batches, job)
    times: list[int] = []
    before, feed, late = facts(), itertools.cycle(batches), 0
    most = job["queries"] or job["min_queries"]
    period, start = int(job["period_s"] * 1e9), clock()
    due = start + period
    while len(times) < most and (job["queries"] or clock() - start < job["max_seconds"] * 1e9):
        time.sleep(max(0, due - clock()) / 1e9)
        arrays = next(feed)
        begin = clock()
        model.run(arrays)
        end = clock()
        times.append(end - begin)
        late += end > due + period
        due = max(due + period, end)
    after = facts()
    dense = timed(model.run, feed, dict(job, queries=len(times)))
    return {"latency_ns": times, "late": late, "dense_ns": dense, "before": before, "after": after}


def throughput(
    models: list[Any], batches: list[list[Any]], job: dict[str, Any], facts: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """As many streams as models, each a thread with a model of its own, for `max_seconds` together.

    Only queries that ended in time count. `wall_ns` is the time that they all had.
    """
    for model in models:
        warm_up(model, batches, job)
    wall, ends, failures = int(job["max_seconds"] * 1e9), [0], []
    gate = threading.Barrier(len(models), action=lambda: ends.__setitem__(0, clock() + wall))
    streams: list[list[int]] = [[] for _ in models]

    def stream(index: int) -> None:
        run, times, feed = models[index].run, streams[index], itertools.cycle(batches)
        gate.wait()
        deadline = end = ends[0]
        try:
            while True:
                arrays = next(feed)
                begin = clock()
                run(arrays)
                end = clock()
                if end > deadline:
                    return
                times.append(end - begin)
        except Exception as error:  # of a runtime: raised again below, by the thread that answers
            failures.append(error)

    threads = [threading.Thread(target=stream, args=(i,)) for i in range(len(models))]
    before = facts()
    gc.collect()
    gc.disable()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.enable()
    if failures:
        raise failures[0]
    if not any(streams):
        raise RuntimeError("no query ended in %g s: allow more seconds" % job["max_seconds"])
    return {"streams": streams, "wall_ns": wall, "before": before, "after": facts()}
