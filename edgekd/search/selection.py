"""Choose what ships: the most accurate within budget, and of those that tie, the fastest, then the smallest.

Two artifacts tie where their answers differ in accuracy by no more than chance would (one standard error of the paired
difference, McNemar 1947: discordant samples b and c, |b - c| <= sqrt(b + c)). So int8 ships only where it is really faster,
or smaller where nothing else tells them apart, and not for a lucky sample.
"""

import math
from typing import Any

import numpy as np

from edgekd.types import Budget
from edgekd.verify import unpack

FASTER = 0.95
"""A latency counts as lower below this share of the other: less is within the noise of a shared machine."""


def choose(records: list[dict[str, Any]], budget: Budget) -> dict[str, Any] | None:
    """The record to ship, of those that are verified and within budget on the validation split; None where none is."""
    fitting = [record for record in records if record["failure"] is None and record["within_budget"]]
    if not fitting:
        return None
    best = max(fitting, key=lambda record: float(record["accuracy"]["artifact"]))
    tied = [record for record in fitting if ties(record, best)]
    fastest = min((p50 for record in tied if (p50 := record["latency_ms"]["p50"]) is not None), default=None)
    if fastest is not None:
        tied = [r for r in tied if r["latency_ms"]["p50"] is not None and r["latency_ms"]["p50"] * FASTER <= fastest]
    return min(tied, key=lambda record: (record["size_bytes"], record["target"], record["precision"]))


def ties(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether the accuracies of two artifacts on the same samples differ by no more than chance."""
    a, b = unpack(one["correct"]), unpack(other["correct"])
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    return abs(only_a - only_b) <= math.sqrt(only_a + only_b)
