"""Percentiles that the number of samples allows, by MLPerf LoadGen's early stopping, with no distribution assumed.

For the p-percentile of n samples LoadGen discards the t - 1 highest and reports the highest that remains, with t the
largest number for which P(X <= t) <= 1 - confidence, X ~ Binomial(n, 1 - p). That is an upper confidence bound of the
percentile, never below the sample percentile; where not even t = 1 qualifies there is no answer.

Source: mlcommons/inference loadgen/early_stopping.cc and loadgen/results.cc at b66003e (tolerance 0, confidence 0.99).
"""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from edgekd.errors import InputError
from edgekd.types import Provenance

CONFIDENCE = 0.99  # LoadGen's


def discardable(n: int, percent: float, confidence: float = CONFIDENCE) -> int:
    """t of the description above: how far from the top the estimate stands; 0 where n samples allow none.

    Raises InputError unless 0 < percent < 100 and 0 < confidence < 1.
    """
    if not 0 < percent < 100 or not 0 < confidence < 1:
        raise InputError(f"percentile {percent} with confidence {confidence}: expected 0 < percentile < 100, 0 < confidence < 1")
    from scipy.special import bdtr  # scipy.stats takes half a second to import

    over = 1 - percent / 100
    low, high = 0, n
    while low < high:  # the cumulative distribution grows with t
        middle = (low + high + 1) // 2
        if bdtr(middle, n, over) <= 1 - confidence:
            low = middle
        else:
            high = middle - 1
    return low


def percentile(values: Sequence[float], percent: float, confidence: float = CONFIDENCE) -> float | None:
    """Upper confidence bound of the percentile, one of the values; None where there are too few of them.

    p90 needs 64 values, p95 130, p99 662. The 50th is an upper bound too, not the median.
    """
    t = discardable(len(values), percent, confidence)
    return sorted(values)[len(values) - t] if t else None


def fewest_samples(percent: float, confidence: float = CONFIDENCE) -> int:
    """The least number of samples for which `percentile` has an answer."""
    n = 2
    while not discardable(n, percent, confidence):
        n *= 2
    low, high = n // 2, n
    while low < high:
        middle = (low + high) // 2
        if discardable(middle, percent, confidence):
            high = middle
        else:
            low = middle + 1
    return low


def latency_summary(values_ms: Sequence[float], provenance: Provenance = Provenance.MEASURED) -> dict[str, Any]:
    """What reports show of raw latencies in ms: p50 (sample median), mean, n, and early-stopping p90 and p99.

    `p90` is None where there are under 64 values; `p99` is left out where there are under 662.
    """
    n = len(values_ms)
    if not n:
        return {"p50": None, "p90": None, "n": 0, "provenance": str(Provenance.UNAVAILABLE)}
    summary: dict[str, Any] = {"p50": statistics.median(values_ms), "p90": percentile(values_ms, 90)}
    tail = percentile(values_ms, 99)
    if tail is not None:
        summary["p99"] = tail
    return {**summary, "mean": statistics.fmean(values_ms), "n": n, "provenance": str(provenance)}


def latency_at(values_ms: Sequence[float], percent: float) -> float | None:
    """What a latency budget is held against: the median for 50, as reports show it, else `percentile`; None if too few."""
    if not values_ms:
        return None
    return statistics.median(values_ms) if percent == 50 else percentile(values_ms, percent)


def lower_bound(values: Sequence[float], percent: float, confidence: float = CONFIDENCE) -> float | None:
    """Lower confidence bound of the percentile, one of the values; None where there are too few of them.

    The mirror of `percentile`: of so many values, P(fewer than r lie below the percentile) > 1 - confidence for r ranks.
    """
    n = len(values)
    s = discardable(n, 100 - percent, confidence)
    return sorted(values)[s - 1] if s else None


def answer(values: Sequence[float], percent: float, limit: float, confidence: float = CONFIDENCE) -> str:
    """Whether the percentile keeps a limit: `within`, `over`, or `insufficient evidence` where the samples leave it open.

    `within` and `over` are each wrong in at most 1 - confidence of cases. The limit itself is within.
    """
    high, low = percentile(values, percent, confidence), lower_bound(values, percent, confidence)
    if high is not None and high <= limit:
        return "within"
    return "over" if low is not None and low > limit else "insufficient evidence"


def evidence(values: Sequence[float], percents: Iterable[float]) -> dict[str, Any]:
    """Each percentile's upper confidence bound, or why there is none: {"p99": {"answer": …, "queries", "needed"}}."""
    found = {}
    for percent in sorted(percents):
        bound, needed = percentile(values, percent), fewest_samples(percent)
        told: Any = "insufficient evidence" if bound is None else bound
        found[f"p{percent:g}"] = {"answer": told, "queries": len(values), "needed": needed}
    return found
