"""Does the supernet rank its subnets as training each alone would? Kendall's tau-b with an interval.

The interval is a percentile bootstrap over subnets, joined with Fieller's: subnets that all rank alike resample to the same
tau, and a bootstrap of them has no width. Of 600 simulated normal pairs each, 8 subnets and a tau of 0.3, 0.6, 0.8 or 0.9,
95 % intervals held the truth in 97, 96, 91 and 100 of 100 cases; the bootstrap alone in 96, 95, 91 and 75. It speaks of other
subnets of the same space. The seeds' part in an accuracy makes tau lower, never higher; it is not taken out.

Sources: Kendall 1945, Biometrika 33(3), tau-b; Efron, Tibshirani 1993, ch. 13; Fieller, Hartley, Pearson 1957, Biometrika
44(3/4): the variance of artanh(tau) is 0.437 / (n - 4).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import InputError

FEWEST = 8
"""Of fewer subnets the interval covers nearly all that tau can be."""
RESAMPLES = 2_000
"""The interval's ends then move by about 0.01 from one random seed to another."""
CHUNK = 4_000_000
"""Comparisons at a time, so that large n take no gigabytes."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A subnet's accuracy with the supernet's weights, and trained alone; fractions on the same split."""

    candidate: str
    supernet: float
    alone: float


def ranking(pairs: Sequence[Pair], rng: np.random.Generator, confidence: float = 0.95) -> dict[str, Any]:
    """Kendall's tau-b between the two accuracies, as `report.json` has it.

    Returns:
        `kendall_tau`, `low`, `high` (all None where one side has only equal accuracies: nothing is ranked), `confidence`, `n`,
        and `pairs`.

    Raises:
        InputError: for fewer than 8 subnets, one that occurs twice, or accuracies that are not finite.
    """
    _check(pairs)
    x, y = (_signs(np.array([getattr(pair, side) for pair in pairs])) for side in ("supernet", "alone"))
    tau = float(_tau(x[None], y[None])[0])
    low, high = (None, None) if math.isnan(tau) else _interval(tau, x, y, rng, confidence)
    return {
        "kendall_tau": None if math.isnan(tau) else tau,
        "low": low,
        "high": high,
        "confidence": confidence,
        "n": len(pairs),
        "pairs": [{"candidate": p.candidate, "supernet": p.supernet, "alone": p.alone} for p in pairs],
    }


def _check(pairs: Sequence[Pair]) -> None:
    if len(pairs) < FEWEST:
        raise InputError(f"a ranking of {len(pairs)} subnets, expected at least {FEWEST}: fewer do not tell; train more alone")
    if len({pair.candidate for pair in pairs}) < len(pairs):
        raise InputError("a ranking needs different subnets, but one occurs twice")
    if not all(math.isfinite(pair.supernet) and math.isfinite(pair.alone) for pair in pairs):
        raise InputError("a ranking needs accuracies that are numbers")


def _signs(values: NDArray[np.float64]) -> NDArray[np.int8]:
    """(n, n): whether each is above (1), below (-1) or equal to (0) each other."""
    return np.sign(values[:, None] - values[None, :]).astype(np.int8)


def _tau(x: NDArray[np.int8], y: NDArray[np.int8]) -> NDArray[np.float64]:
    """(R,) tau-b of R pairs of comparisons (R, n, n); NaN where one side is all equal."""
    agreeing = (x * y).sum((-1, -2), dtype=np.float64)
    told = np.sqrt((x * x).sum((-1, -2), dtype=np.float64) * (y * y).sum((-1, -2), dtype=np.float64))
    return np.divide(agreeing, told, out=np.full_like(told, np.nan), where=told > 0)


def _interval(
    tau: float, x: NDArray[np.int8], y: NDArray[np.int8], rng: np.random.Generator, confidence: float
) -> tuple[float, float]:
    n, ends = len(x), ((1 - confidence) / 2, (1 + confidence) / 2)
    taus, step = [], max(1, CHUNK // n**2)
    for start in range(0, RESAMPLES, step):
        # A subnet drawn twice is tied with itself on both sides, which tau-b leaves out.
        drawn = rng.integers(n, size=(min(step, RESAMPLES - start), n))
        cells = drawn[:, :, None], drawn[:, None, :]
        taus.append(_tau(x[cells], y[cells]))
    by_resampling = np.nanquantile(np.concatenate(taus), ends)
    by_formula = _fieller(tau, n, confidence)
    return min(float(by_resampling[0]), by_formula[0]), max(float(by_resampling[1]), by_formula[1])


def _fieller(tau: float, n: int, confidence: float) -> tuple[float, float]:
    """The interval by formula, about tau or, where all pairs agree, one pair less; it never leaves tau out."""
    from scipy.special import ndtri  # scipy.stats takes half a second to import

    nearest = 1 - 2 / (n * (n - 1))
    middle = math.atanh(min(max(tau, -nearest), nearest))
    reach = float(ndtri((1 + confidence) / 2)) * math.sqrt(0.437 / (n - 4))
    return min(tau, math.tanh(middle - reach)), max(tau, math.tanh(middle + reach))
