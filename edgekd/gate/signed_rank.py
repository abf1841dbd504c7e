"""The exact one-sided signed-rank test on paired differences, its estimate and its interval.

Differences are log ratios of paired blocks, whose order is drawn at random; where nothing but noise moves them their signs are
exchangeable, and the test's level is exact whatever the noise's shape [Wilcoxon 1945; Hodges and Lehmann 1963].
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

Array = npt.NDArray[np.float64]


def p_above(differences: Sequence[float] | Array, shift: float = 0.0) -> float:
    """P-value against "the centre of the differences is at most `shift`", exact, with midranks for ties.

    Differences equal to `shift` keep their ranks and count as not above [Pratt 1959]: they never make the evidence stronger.
    1 where there are none.
    """
    moved = np.asarray(differences, dtype=np.float64) - shift
    if not np.isfinite(moved).all():
        raise ValueError("differences must be finite numbers")
    doubled = np.rint(2 * rankdata(np.abs(moved))).astype(np.int64)
    tail = _tail(tuple(sorted(doubled[moved != 0].tolist())))
    return float(tail[int(doubled[moved > 0].sum())])


def p_below(differences: Sequence[float] | Array, shift: float = 0.0) -> float:
    """P-value against "the centre of the differences is at least `shift`"."""
    return p_above(-np.asarray(differences, dtype=np.float64), -shift)


def rank_sums(samples: Array) -> Array:
    """The sums of the ranks of what is above 0, one a row."""
    return np.asarray((rankdata(np.abs(samples), axis=1) * (samples > 0)).sum(axis=1))


def least_sum(count: int, level: float) -> float:
    """The least rank sum of so many untied differences that is refused at this level; infinite where none is."""
    refused = np.flatnonzero(_tail(tuple(range(2, 2 * count + 1, 2))) <= level)
    return float(refused[0]) / 2 if len(refused) else np.inf


@lru_cache(maxsize=256)
def _tail(doubled_ranks: tuple[int, ...]) -> Array:
    """P(W >= w) for every w from 0 to the ranks' sum, signs being fair coins; ranks are doubled, so that midranks are whole."""
    chances = np.ones(1)
    for rank in doubled_ranks:
        longer = np.zeros(len(chances) + rank)
        longer[: len(chances)] += chances / 2
        longer[rank:] += chances / 2
        chances = longer
    return np.cumsum(chances[::-1])[::-1]


def centre(differences: Sequence[float] | Array) -> float:
    """The Hodges-Lehmann estimate: the median of all averages of two differences, each with itself too."""
    return float(np.median(_walsh(differences)))


def interval(differences: Sequence[float] | Array, level: float = 0.95) -> tuple[float, float]:
    """The exact two-sided interval of the centre: the shifts that neither one-sided test refuses at (1 - level) / 2.

    Infinite where there are too few differences to refuse any shift.
    """
    averages = np.sort(_walsh(differences))
    count = len(differences)
    tail = _tail(tuple(range(2, 2 * count + 1, 2)))
    # The centre's k-th smallest average is refused as long as P(W <= k) is at most half of what is left.
    at_most = 1 - np.append(tail[2::2], 0.0)
    refused = int(np.searchsorted(at_most, (1 - level) / 2, side="right"))
    if refused == 0:
        return -np.inf, np.inf
    return float(averages[refused - 1]), float(averages[-refused])


def _walsh(differences: Sequence[float] | Array) -> Array:
    values = np.asarray(differences, dtype=np.float64)
    rows, columns = np.triu_indices(len(values))
    return np.asarray((values[rows] + values[columns]) / 2)
