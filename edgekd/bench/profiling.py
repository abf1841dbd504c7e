"""Per-operator times of a model, in a process that measures nothing else. Pushed to devices beside the harness, as bare as that.

A target's `operators.py` lies beside its `runner.py` and gives `HOW`, a text, `unavailable(runner)`, a reason or None, and

    profile(runner, path, threads, options, feed) -> [[(name, type, kernel, microseconds), ...], ...]

which runs the model on every list of arrays that `feed` gives and answers a list for each: the operators that ran, in
their order.
"""

from __future__ import annotations

import collections
import itertools
import time
from typing import Any, Iterator

LEAST_QUERIES = 3  # a median of three is the first that one slow query does not move


def operators(target: Any, runner: Any, path: str, batches: list[list[Any]], job: dict[str, Any]) -> dict[str, Any]:
    """What the harness answers: `how`, `queries` and an entry an operator, or `unavailable` with the reason."""
    reason = target.unavailable(runner)
    if reason:
        return {"unavailable": reason}
    warm = job["warmup_queries"]
    queries = target.profile(runner, path, job["threads"], job["options"], feed(batches, job))[warm:]
    return {"how": target.HOW, "queries": len(queries), "operators": folded(queries)}


def feed(batches: list[list[Any]], job: dict[str, Any]) -> Iterator[list[Any]]:
    """Arrays for `warmup_queries`, then for `queries`, fewer where `max_seconds` are over before."""
    turns = itertools.cycle(batches)
    deadline = time.perf_counter() + job["max_seconds"]
    for number in range(job["warmup_queries"] + job["queries"]):
        if number >= job["warmup_queries"] + LEAST_QUERIES and time.perf_counter() > deadline:
            return
        yield next(turns)


def folded(queries: list[list[Any]]) -> list[dict[str, Any]]:
    """An entry an operator with its times over all queries. Where a name comes twice in a query, the second is another."""
    times: dict[Any, list[float]] = {}
    for rows in queries:
        seen: Any = collections.Counter()
        for name, kind, kernel, us in rows:
            key = (name, kind, kernel)
            seen[key] += 1
            times.setdefault((*key, seen[key]), []).append(us)
    return [
        {"name": name if turn == 1 else "%s (%d)" % (name, turn), "type": kind, "kernel": kernel, "us": us}
        for (name, kind, kernel, turn), us in times.items()
    ]
