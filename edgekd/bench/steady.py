"""Whether a series of levels (medians of short windows, in order) has settled, drifts, or changed by a step.

Pushed to devices beside the harness, which stops a sustained run by `settled`; the host judges the same windows by the
same rules. Standard library, Python 3.8 syntax. Of the noise nothing is assumed but that its memory is short: neighbouring
windows may be alike, which both tests are corrected for.

Sources: the slope is Theil's and Sen's (Sen 1968, JASA 63:1379), its significance Mann's and Kendall's test (Mann 1945,
Econometrica 13:245); the step is found and judged by Pettitt's test (Pettitt 1979, Applied Statistics 28:126). The correction
is Hamed's and Rao's (1998, J. Hydrology 204:182) for noise of first order, and for steps Serinaldi's and Kilsby's (2016,
doi:10.1007/s00477-015-1041-5); what noise is, is told from the drift by isotonic regression (Barlow et al. 1972). That
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
LEVEL = 0.001  # of significance, of each of the two tests: one in 500 steady series is called unsteady by chance
MOST_MEMORY = 0.9  # of neighbours' correlation: beyond it a stretch of SPAN windows tells nothing


def slope(levels: Sequence[float]) -> float:
    """Theil and Sen's slope: the median of the slopes between all pairs, a window."""
    count = len(levels)
    return statistics.median((levels[j] - levels[i]) / (j - i) for i in range(count) for j in range(i + 1, count))


def trend_probability(levels: Sequence[float]) -> float:
    """Two-sided probability of so strong a trend by chance, by Mann and Kendall's test with its normal limit."""
    count = len(levels)
    score = sum(_sign(levels[j] - levels[i]) for i in range(count) for j in range(i + 1, count))
    deviation = math.sqrt(count * (count - 1) * (2 * count + 5) / 18 * inflation(levels))
    return math.erfc(max(0.0, abs(score) - 1) / deviation / math.sqrt(2))


def step(levels: Sequence[float]) -> tuple[int, float]:
    """(first window after the most likely step, probability of such a step by chance), by Pettitt's test."""
    count, score, best, place = len(levels), 0, 0, 1
    for index, level in enumerate(levels[:-1]):
        score += sum(_sign(level - other) for other in levels)
        if abs(score) > best:
            best, place = abs(score), index + 1
    return place, min(1.0, 2 * math.exp(-6.0 * best * best / (count**3 + count**2) / inflation(levels)))


def inflation(levels: Sequence[float]) -> float:
    """What the variance of such a score is multiplied by because neighbouring levels are alike: 1 where they are not.

    Taken from what is left of the levels beside the rise or fall that fits them best, of whatever shape.
    """
    rise, fall = rising(levels), [-level for level in rising([-level for level in levels])]
    left = min(([a - b for a, b in zip(levels, fit)] for fit in (rise, fall)), key=lambda rest: sum(map(abs, rest)))
    square = sum(value * value for value in left)
    rounding = len(levels) * (1e-9 * max(map(abs, levels))) ** 2
    alike = sum(left[i] * left[i + 1] for i in range(len(left) - 1)) / square if square > rounding else 0.0
    alike = min(max(alike, 0.0), MOST_MEMORY)
    return (1 + alike) / (1 - alike)


def rising(levels: Sequence[float]) -> list[float]:
    """The never falling series nearest to the levels in least squares (pool adjacent violators)."""
    pools: list[list[float]] = []  # sum, count
    for level in levels:
        pools.append([level, 1])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] >= pools[-1][0] / pools[-1][1]:
            total, count = pools.pop()
            pools[-1][0] += total
            pools[-1][1] += count
    return [total / count for total, count in pools for _ in range(int(count))]


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
