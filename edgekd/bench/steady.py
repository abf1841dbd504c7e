"""Whether a series of levels (medians of short windows, in order) has settled, drifts, or changed by a step.

Pushed to devices beside the harness, which stops a sustained run by `settled`; the host judges the same windows by the
same rules. Standard library, Python 3.8 syntax. Nothing is assumed of the noise but that windows do not order it.

Sources: the slope is Theil's and Sen's (Sen 1968, JASA 63:1379), its significance Mann's and Kendall's test (Mann 1945,
Econometrica 13:245); the step is found and judged by Pettitt's test (Pettitt 1979, Applied Statistics 28:126). That
processes need not settle at all, and that it must be tested, not assumed: Barrett et al. 2017, arXiv:1602.00602.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

SPAN = 30  # windows that must be flat: with fewer, Pettitt's test cannot reach LEVEL for a step in the middle
FLAT = 0.02  # of the level, over SPAN windows: what may be left of a slope or a step, as Georges et al. 2007 (OOPSLA) allow
CHANGE = 0.05  # a fifth-percent gate's false alarm, and what throttling exceeds on any device that throttles
LEVEL = 0.001  # of significance: one in a thousand steady series is called unsteady by chance


def slope(levels: Sequence[float]) -> float:
    """Theil and Sen's slope: the median of the slopes between all pairs, a window."""
    count = len(levels)
    return statistics.median((levels[j] - levels[i]) / (j - i) for i in range(count) for j in range(i + 1, count))


def trend_probability(levels: Sequence[float]) -> float:
    """Two-sided probability of so strong a trend by chance, by Mann and Kendall's test with its normal limit."""
    count = len(levels)
    score = sum(_sign(levels[j] - levels[i]) for i in range(count) for j in range(i + 1, count))
    deviation = math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    return math.erfc(max(0.0, abs(score) - 1) / deviation / math.sqrt(2))


def step(levels: Sequence[float]) -> tuple[int, float]:
    """(first window after the most likely step, probability of such a step by chance), by Pettitt's test."""
    count, score, best, place = len(levels), 0, 0, 1
    for index, level in enumerate(levels[:-1]):
        score += sum(_sign(level - other) for other in levels)
        if abs(score) > best:
            best, place = abs(score), index + 1
    return place, min(1.0, 2 * math.exp(-6.0 * best * best / (count**3 + count**2)))


def settled(levels: Sequence[float]) -> bool:
    """Whether the last SPAN windows are flat: neither slope nor step of more than FLAT that is significant."""
    last = list(levels[-SPAN:])
    return len(last) == SPAN and judge(last, FLAT)["shape"] == "flat"


def judge(levels: Sequence[float], least: float = CHANGE) -> dict[str, Any]:
    """The shape of a series of 10 levels or more.

    Args:
        least: the smallest change that counts, as a fraction of the level.

    Returns:
        {"shape": "flat", "slope" or "step", "change": as a fraction, above 0 where it gets slower, "at": first window
        after the step}. Where both a slope and a step are significant, the one that leaves less unexplained is told.
    """
    flat: dict[str, Any] = {"shape": "flat", "change": 0.0, "at": 0}
    if len(levels) < 10:
        return flat
    rate, (place, chance) = slope(levels), step(levels)
    before, after = statistics.median(levels[:place]), statistics.median(levels[place:])
    middle, centre = statistics.median(levels), (len(levels) - 1) / 2
    line: dict[str, Any] = {"shape": "slope", "change": rate * (len(levels) - 1) / (middle - rate * centre), "at": 0}
    jump: dict[str, Any] = {"shape": "step", "change": after / before - 1, "at": place}
    off_line = sum(abs(level - (middle + rate * (i - centre))) for i, level in enumerate(levels))
    off_jump = sum(abs(level - (before if i < place else after)) for i, level in enumerate(levels))
    found = [line] if trend_probability(levels) < LEVEL and abs(line["change"]) > least else []
    if chance < LEVEL and abs(jump["change"]) > least and (not found or off_jump < off_line):
        found = [jump]
    return found[0] if found else flat


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
