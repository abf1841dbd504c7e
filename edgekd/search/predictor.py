"""What a student that was not measured will measure, from those that were: latency, memory, size or energy, with an interval.

It ranks students and saves measurements, and certifies nothing: what is selected is measured. One predictor is for one metric of
one device, target, precision and number of threads; it is fitted anew, in under a second, whenever a measurement is added.

The mean is a sum over kernels, each with a cost of its own that is not below 0, fitted on relative errors. A Gaussian process on
the logarithm of what is left learns what does not add up: fusion, caches, lanes half filled. The interval takes the error of each
measured student from a fit without it, in units of the process's own doubt, so it is as wide as predictions were wrong, and holds
a measurement's own noise. It is one of 90 % for students like those that were measured; where these were chosen for a limit
(search/active.py), students far from that limit may be less certain than it says.

Sources: kernel-wise sums: Zhang et al. 2021 (nn-Meter), doi:10.1145/3458864.3467882. Intervals: jackknife+ and CV+ of Barber et
al. 2021, arXiv:1905.02928, sections 1.2 and 3; errors in units of local doubt: Lei et al. 2018, arXiv:1604.04173, section 5.2.
"""

import math
import warnings
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import InputError
from edgekd.plugins import need

Array = NDArray[np.float64]
COVERAGE = 0.9
FEWEST = 8
"""Measured students before anything is predicted."""
FOLDS = 10
"""Fits without a part of the measured students; with so few students, without each one."""
NORMAL_95 = 1.6448536269514722
MOST_DIRECTIONS = 6
"""That the process works in: from 10 to 60 points it cannot learn more."""
CLIPPED = 3.0
"""Robust standard deviations of a residual that the process is shown. Some processes are slower for their whole life
(bench/procedure.py says why), which says nothing of students like that one."""
FLOOR = 1e-6
"""The least relative error that is told from none: files have no noise, and are predicted to a few bytes."""
TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Of m students, each (m,), in the metric's unit: the value, and the interval that holds the measured one 9 times in 10."""

    value: Array
    low: Array
    high: Array

    @property
    def doubt(self) -> Array:
        """Standard deviation of the value's logarithm, (m,), with which a normal distribution has the interval as its 90 %."""
        width: Array = np.log(self.high / self.low)
        return width / (2 * NORMAL_95)


class Predictor:
    """Predicts one metric of one deployment from `students.costs.features`."""

    def __init__(self, coverage: float = COVERAGE) -> None:
        if not 0 < coverage < 1:
            raise InputError(f"coverage is {coverage}, expected a fraction between 0 and 1")
        need("sklearn.gaussian_process", "train", "the predictor")
        self.coverage = coverage
        self._whole: _Model | None = None
        self._folds: list[_Fold] = []

    def fit(self, features: Array, values: Array) -> Self:
        """Learn from measured students.

        Args:
            features: (n, D), none below 0; n at least 8.
            values: (n,), above 0.

        Raises:
            InputError: for fewer, for other shapes, and for numbers beyond these bounds.
        """
        x, y = _checked(features, values)
        self._whole, self._folds = _learn(x, y), []
        fold = np.arange(len(y)) % FOLDS
        for part in range(min(FOLDS, len(y))):
            out = fold == part
            model = _learn(x[~out], y[~out])
            mean, doubt = model.at(x[out])
            errors = np.abs(np.log(y[out]) - mean)
            self._folds.append(_Fold(model=model, errors=errors, scores=errors / doubt))
        return self

    def predict(self, features: Array) -> Prediction:
        """Of students (m, D). Raises InputError before `fit`, and for another D or features below 0."""
        if self._whole is None:
            raise InputError("the predictor was asked before it was fitted")
        x, width = np.asarray(features, np.float64), len(self._whole.scale)
        if x.ndim != 2 or x.shape[1] != width or not np.all(np.isfinite(x) & (x >= 0)):
            raise InputError(f"features have shape {x.shape}, expected (m, {width}), finite and none below 0")
        mean, _ = self._whole.at(x)
        low, high = self._interval(x)
        return Prediction(value=np.exp(mean), low=np.exp(np.minimum(low, mean)), high=np.exp(np.maximum(high, mean)))

    def _interval(self, x: Array) -> tuple[Array, Array]:
        """Bounds of the logarithm, each (m,)."""
        assert self._whole is not None
        n = sum(len(fold.errors) for fold in self._folds)
        rank = math.ceil(self.coverage * (n + 1))
        if rank > n:  # no quantile of so few errors reaches so far; Student's t does, if they are normal
            from scipy.special import stdtrit

            squares = np.concatenate([fold.errors**2 for fold in self._folds])
            reach = stdtrit(n - 1, (1 + self.coverage) / 2) * math.sqrt((1 + 1 / n) * float(np.mean(squares)))
            mean, _ = self._whole.at(x)
            return mean - reach, mean + reach
        lows, highs = [], []
        for fold in self._folds:
            mean, doubt = fold.model.at(x)
            lows += [mean - score * doubt for score in fold.scores]
            highs += [mean + score * doubt for score in fold.scores]
        # The same rank from below as from above.
        return np.sort(lows, axis=0)[n - rank], np.sort(highs, axis=0)[rank - 1]


@dataclass(frozen=True, kw_only=True)
class _Model:
    """One fit on n students with D features.

    Args:
        scale: greatest measured value of each feature (D,). costs: of each feature at its scale, and of a query alone (D + 1,).
        center, spread, directions: from logarithms of features to the process's d coordinates: (D,), (D,), (D, d).
        points: (n, d), factor: the kernel between them, factored, weights: (n,), unit: of residuals.
    """

    scale: Array
    costs: Array
    center: Array
    spread: Array
    directions: Array
    kernel: Any
    points: Array
    factor: Any
    weights: Array
    unit: float

    def at(self, x: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the logarithm of what will be measured, its noise included; each (m,)."""
        from scipy.linalg import cho_solve

        points = ((np.log1p(x) - self.center) / self.spread) @ self.directions
        across = self.kernel(points, self.points)
        summed = np.log(np.maximum(_design(x, self.scale) @ self.costs, TINY))
        explained = np.einsum("ij,ji->i", across, cho_solve(self.factor, across.T))
        variance = np.maximum(self.kernel.diag(points) - explained, 1e-9)
        return summed + self.unit * (across @ self.weights), self.unit * np.sqrt(variance)


@dataclass(frozen=True, kw_only=True)
class _Fold:
    """A fit without some students, and the errors of the logarithm that it makes on them, plain and in units of its doubt."""

    model: _Model
    errors: Array
    scores: Array


def _learn(x: Array, y: Array) -> _Model:
    from scipy.linalg import cho_factor, cho_solve
    from scipy.optimize import nnls

    scale = x.max(0)
    design = _design(x, scale)
    costs = nnls(design / y[:, None], np.ones(len(y)))[0]
    residuals = _clipped(np.log(y / np.maximum(design @ costs, TINY)))
    unit = max(float(np.std(residuals)), FLOOR)
    center, spread, directions = _directions(np.log1p(x))
    points = ((np.log1p(x) - center) / spread) @ directions
    kernel = _learn_kernel(points, residuals / unit)
    factor = cho_factor(kernel(points), lower=True)
    return _Model(
        scale=scale,
        costs=costs,
        center=center,
        spread=spread,
        directions=directions,
        kernel=kernel,
        points=points,
        factor=factor,
        weights=cho_solve(factor, residuals / unit),
        unit=unit,
    )


def _checked(features: Array, values: Array) -> tuple[Array, Array]:
    x, y = np.asarray(features, np.float64), np.asarray(values, np.float64)
    if x.ndim != 2 or y.shape != (len(x),):
        raise InputError(f"features have shape {x.shape} and values {y.shape}, expected (n, D) and (n,)")
    if len(y) < FEWEST:
        raise InputError(f"{len(y)} students were measured, a prediction needs at least {FEWEST}")
    if not np.all(np.isfinite(x) & (x >= 0)) or not np.all(np.isfinite(y) & (y > 0)):
        raise InputError("features must be finite and not below 0, measured values finite and above 0")
    return x, y


def _design(x: Array, scale: Array) -> Array:
    """Columns of the sum (n, D + 1), at most 1 where measured, and a constant: what a query costs without any layer."""
    return np.column_stack([x / np.where(scale > 0, scale, 1), np.ones(len(x))])


def _clipped(residuals: Array) -> Array:
    """Residuals (n,) within `CLIPPED` of their median."""
    middle = float(np.median(residuals))
    reach = CLIPPED * max(1.4826 * float(np.median(np.abs(residuals - middle))), FLOOR)
    clipped: Array = np.clip(residuals, middle - reach, middle + reach)
    return clipped


def _directions(logs: Array) -> tuple[Array, Array, Array]:
    """Center, spread and main directions of features' logarithms (n, D), such that places along them have unit variance."""
    center, spread = logs.mean(0), logs.std(0)
    spread = np.where(spread > 1e-9, spread, np.inf)  # a feature in which the measured do not differ says nothing
    _, strengths, directions = np.linalg.svd((logs - center) / spread, full_matrices=False)
    count = max(1, min(MOST_DIRECTIONS, int(np.sum(strengths > 1e-6 * max(strengths[0], 1e-6)))))
    return center, spread, directions[:count].T * math.sqrt(len(logs)) / np.maximum(strengths[:count], 1e-6)


def _learn_kernel(points: Array, residuals: Array) -> Any:
    """How far residuals of neighbours are alike, and their noise, by maximum likelihood from one fixed start."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    start = ConstantKernel(1.0, (1e-3, 1e2)) * RBF(3.0, (0.5, 100.0)) + WhiteKernel(0.3, (1e-3, 1e1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a parameter stops at its bound
        return GaussianProcessRegressor(start, n_restarts_optimizer=0).fit(points, residuals).kernel_
