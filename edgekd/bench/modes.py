"""Whether queries are of two kinds: an exact test of unimodality between two levels that half of the queries suggest.

Where the density of latencies has one mode, it is nowhere between two points lower than at the lower of the two (Hartigan and
Hartigan 1985, Annals of Statistics 13:70, section 1). So of the queries that fall into one of two windows of the same width, one
around a level and one between the levels, at least half are expected in the latter; the sign test (exact binomial) judges it.
The levels come from every second query (Otsu's split, 1979, doi:10.1109/TSMC.1979.4310076), the counts from the others.
"""

import statistics
from collections.abc import Sequence

from edgekd.bench.doubts import TwoModes

LEVEL = 0.001  # one in a thousand sets of queries of one kind is said to be of two
MODE_GAP = 0.10  # between two kinds of query, of the lower one: less is lost in the noise of either
MODE_SHARE = 0.05  # of queries in the rarer kind: fewer are outliers, which percentiles show
LEAST_QUERIES = 100
OUTLIERS = 0.01  # the slowest are left out: they would be a kind of their own


def two_modes(runs: Sequence[Sequence[float]]) -> TwoModes | None:
    """Two kinds of query in most of the processes; None where there is one, or too few queries to tell.

    Args:
        runs: latencies in ms, one sequence a process, in the order taken.
    """
    splits = [(run, split) for run in runs if len(run) >= LEAST_QUERIES and (split := _split(run[::2])) is not None]
    if len(splits) * 2 <= len(runs):
        return None
    between, beside = (sum(counts) for counts in zip(*(_counts(run[1::2], split) for run, split in splits), strict=True))
    from scipy.special import bdtr  # scipy.stats takes half a second to import

    if bdtr(between, between + beside, 0.5) >= LEVEL:
        return None
    return max((split for _, split in splits), key=lambda split: split.share)


def _split(run: Sequence[float]) -> TwoModes | None:
    """The best split in two, where the parts are far enough apart and neither is rare."""
    values = sorted(run)[: max(2, round(len(run) * (1 - OUTLIERS)))]
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    count, total = len(values), sums[-1]
    split = max(range(1, count), key=lambda k: (sums[k] / k - (total - sums[k]) / (count - k)) ** 2 * k * (count - k))
    low, high, share = statistics.median(values[:split]), statistics.median(values[split:]), 1 - split / count
    if high / low - 1 < MODE_GAP or not MODE_SHARE <= share <= 1 - MODE_SHARE:
        return None
    return TwoModes(low_ms=low, high_ms=high, share=share)


def _counts(run: Sequence[float], split: TwoModes) -> tuple[int, int]:
    """Changes into the window midway between the levels, and into the one around the level that has fewer.

    Queries in a row in one window count once: the memory of noise keeps them there.
    """
    width = (split.high_ms - split.low_ms) / 3
    middle = (split.low_ms + split.high_ms) / 2
    midway, low, high = (_visits(run, centre - width / 2, centre + width / 2) for centre in (middle, split.low_ms, split.high_ms))
    return midway, min(low, high)


def _visits(run: Sequence[float], least: float, most: float) -> int:
    inside = [least < value < most for value in run]
    return sum(now and not before for before, now in zip([False, *inside], inside, strict=False))
