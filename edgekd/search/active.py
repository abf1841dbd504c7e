"""Which student to measure next, so that few measurements tell most: pure NumPy, and the same input gives the same choice.

Source of the straddle: Bryan et al. 2005, "Active learning for identifying function level boundaries", NeurIPS 18, section 3.
"""

import math

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import InputError
from edgekd.search.predictor import Prediction

STRADDLE = 1.96
"""Of the standard deviation, as the paper has it."""


def initial_design(features: NDArray[np.float64], count: int, seed: int) -> list[int]:
    """Rows of `features` (m, D) to measure before anything is known, spread over the space, in the order to measure them.

    The cheapest and the dearest first, by the sum of the standardised logarithms; then always the one that is farthest from its
    nearest chosen one (greedy k-center, Gonzalez 1985, doi:10.1016/0304-3975(85)90224-5). Ties go by `seed`. At most m rows.
    """
    x = np.asarray(features, np.float64)
    if x.ndim != 2 or len(x) == 0 or count < 1 or not np.all(np.isfinite(x) & (x >= 0)):
        raise InputError(f"features have shape {x.shape}, expected (m, D), finite and none below 0, and a count of at least 1")
    logs = np.log1p(x)
    spread = logs.std(0)
    places = (logs - logs.mean(0)) / np.where(spread > 1e-9, spread, np.inf)
    order = np.random.default_rng(seed).permutation(len(x))  # of rows alike, the first of these is taken
    total = places[order].sum(1)
    chosen = [int(order[np.argmin(total)])]
    if count > 1 and len(x) > 1:
        dearest = int(order[np.argmax(total)])
        chosen.append(dearest if dearest != chosen[0] else int(next(row for row in order if row != chosen[0])))
    nearest = np.min([np.linalg.norm(places - places[row], axis=1) for row in chosen], axis=0)
    while len(chosen) < min(count, len(x)):
        nearest[chosen] = -1
        row = int(order[np.argmax(nearest[order])])
        chosen.append(row)
        nearest = np.minimum(nearest, np.linalg.norm(places - places[row], axis=1))
    return chosen


def next_to_measure(prediction: Prediction, worth: NDArray[np.float64], limit: float | None, measured: NDArray[np.bool_]) -> int:
    """The row whose measurement tells most. Of those that tie, the first.

    With a limit: the straddle, 1.96 sigma - |mu - ln limit| of the logarithm, is highest where it is least sure on which side a
    student is. What a student's worth lacks of the best one's, in units of the spread of worths, takes off as many sigmas: one
    that would not be chosen is not asked about, however near the limit it is. Without a limit: the largest relative doubt.

    Args:
        prediction: of m students.
        worth: (m,), what is gained by choosing it, such as the accuracy of its subnet.
        limit: of the budget, in the metric's unit, above 0.
        measured: (m,), whether it was.

    Raises:
        InputError: where all are measured, and for other shapes or limits.
    """
    worth, measured = np.asarray(worth, np.float64), np.asarray(measured, bool)
    if not len(prediction.value) == len(worth) == len(measured):
        raise InputError(
            f"{len(prediction.value)} predictions, {len(worth)} worths, {len(measured)} flags: expected as many of each"
        )
    if limit is not None and not 0 < limit < math.inf:
        raise InputError(f"the limit is {limit}, expected a number above 0")
    if measured.all():
        raise InputError("all students are measured: there is no next one")
    score = prediction.doubt if limit is None else _straddle(prediction, worth, limit, measured)
    return int(np.argmax(np.where(measured, -np.inf, score)))


def _straddle(
    prediction: Prediction, worth: NDArray[np.float64], limit: float, measured: NDArray[np.bool_]
) -> NDArray[np.float64]:
    sigma = prediction.doubt
    left = worth[~measured]
    spread = float(left.std())
    lacks = (left.max() - worth) / spread if spread > 0 else np.zeros(len(worth))
    straddle: NDArray[np.float64] = STRADDLE * sigma - np.abs(np.log(prediction.value / limit)) - sigma * lacks
    return straddle
