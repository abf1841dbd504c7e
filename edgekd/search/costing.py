"""What the students of a space cost on one deployment: measured for some, predicted for the others.

A prediction ranks and saves measurements; what is selected is measured. Every measurement refits the predictor at its next use.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekd.deployment import Deployment
from edgekd.search.active import initial_design, next_to_measure
from edgekd.search.budget import figures
from edgekd.search.front import LIMITS, Figure, Point, fits
from edgekd.search.predictor import FEWEST, Prediction, Predictor
from edgekd.students.space import Space
from edgekd.types import Budget, Candidate, Precision, Provenance

if TYPE_CHECKING:
    from edgekd.stages import Run

Record = dict[str, Any]
LITTLE = 1.25
"""Times a budget: students up to there are rated, though they cannot be selected."""
SMALLER = 2
"""Steps along the axes of a space: a student that much smaller than another that fits as well is not rated."""


@dataclass(kw_only=True)
class Costing:
    """Costs of `candidates` on one deployment in one precision.

    Args:
        measured: records of those that were built and measured, in that order; a failed build is one too.
    """

    run: "Run"
    deployment: Deployment
    precision: Precision
    candidates: Sequence[Candidate]
    measured: dict[Candidate, Record] = field(default_factory=dict)
    _predictors: dict[str, Predictor] | None = None

    @cached_property
    def _features(self) -> NDArray[np.float64]:
        return np.stack([self.run.features(candidate) for candidate in self.candidates])

    def among(self, candidates: Sequence[Candidate]) -> "Costing":
        """The same deployment and measurements, with other students to choose from."""
        return replace(self, candidates=candidates)

    def measure(self, candidate: Candidate) -> Record:
        """Build the untrained student and measure it, once."""
        if candidate not in self.measured:
            self.measured[candidate] = self.run.screen_one(candidate, self.deployment, self.precision)
            self._predictors = None
        return self.measured[candidate]

    def design(self, count: int) -> list[Candidate]:
        """The students to measure first: spread over the space."""
        rows = initial_design(self._features, min(count, len(self.candidates)), self.run.seed)
        return [self.candidates[row] for row in rows]

    def next(self, worth: Mapping[Candidate, float]) -> Candidate | None:
        """The student whose measurement would say most about where the budget ends; None where all are measured.

        Args:
            worth: accuracy of a candidate; those that it has not are worth the least.
        """
        known = np.array([candidate in self.measured for candidate in self.candidates])
        limit = self._binding()
        if known.all() or limit not in self.predictors:
            return next((candidate for candidate in self.candidates if candidate not in self.measured), None)
        least = min(worth.values(), default=0.0)
        values = np.array([worth.get(candidate, least) for candidate in self.candidates])
        prediction = self.predictors[limit].predict(self._features)
        return self.candidates[next_to_measure(prediction, values, getattr(self.deployment.budget, limit), known)]

    def _binding(self) -> str:
        """The limit of the budget that most students are over by prediction; latency where none is."""
        over = {
            limit: int((predictor.predict(self._features).value > allowed).sum())
            for limit, predictor in self.predictors.items()
            if (allowed := getattr(self.deployment.budget, limit)) is not None
        }
        return max(over, key=lambda limit: (over[limit], limit), default="latency_ms")

    @property
    def predictors(self) -> dict[str, Predictor]:
        """By limit; none where too few are measured, or where nothing here can measure it."""
        if self._predictors is None:
            self._predictors = self._fitted()
        return self._predictors

    def _fitted(self) -> dict[str, Predictor]:
        budget = self.deployment.budget
        built = [(c, figures(r, budget)) for c, r in self.measured.items() if r["failure"] is None]
        found = {}
        for limit in LIMITS:
            known = [(candidate, value) for candidate, values in built if (value := values[limit]) is not None and value > 0]
            if len(known) >= FEWEST:
                features = np.stack([self.run.features(candidate) for candidate, _ in known])
                found[limit] = Predictor().fit(features, np.array([value for _, value in known], np.float64))
        return found

    def share(self, candidate: Candidate) -> float:
        """The largest share of a limit that the candidate takes, above 1 where it is over; 0 where no limit is set or known."""
        points = self.points({candidate: 1.0})
        limits = {limit: getattr(self.deployment.budget, limit) for limit in LIMITS}
        costs = points[0].figures if points else {}
        return max((costs[limit].value / allowed for limit, allowed in limits.items() if allowed and limit in costs), default=0.0)

    def points(self, accuracies: Mapping[Candidate, float]) -> list[Point]:
        """The candidates of which anything is known, with figures measured where they are, predicted elsewhere."""
        candidates = list(accuracies)
        if not candidates:
            return []
        features = np.stack([self.run.features(candidate) for candidate in candidates])
        predicted = {limit: predictor.predict(features) for limit, predictor in self.predictors.items()}
        found = []
        for row, candidate in enumerate(candidates):
            record = self.measured.get(candidate)
            if record is None:
                costs = {limit: _predicted(prediction, row) for limit, prediction in predicted.items()}
            else:
                costs = _measured(record, self.deployment.budget)
            if costs:
                params, precision = self.run.params(candidate), str(self.precision)
                accuracy = accuracies[candidate]
                found.append(Point(candidate=candidate, params=params, accuracy=accuracy, precision=precision, figures=costs))
        return found

    def promising(self, space: Space) -> set[Candidate]:
        """Those worth a rating, within the budget or `LITTLE` over it: what more would buy is asked as well.

        Those that may fit at the lower ends of their intervals, but for what is `SMALLER` than a student that surely fits:
        accuracy mostly grows along the axes. All where nothing is predicted.
        """
        if not self.predictors:
            return set(self.candidates) - self._failed
        found: set[Candidate] = set()
        for budget in (self.deployment.budget, enlarged(self.deployment.budget, LITTLE)):
            points = self.points(dict.fromkeys(self.candidates, 1.0))
            sure = [p.candidate for p in points if fits(p, budget, "high", least_accuracy=0.0)]
            may = [p.candidate for p in points if fits(_at_best(p), budget, least_accuracy=0.0)]
            found |= not_smaller(space, may, sure)
        return found - self._failed

    @property
    def _failed(self) -> set[Candidate]:
        return {candidate for candidate, record in self.measured.items() if record["failure"] is not None}


def not_smaller(space: Space, candidates: Sequence[Candidate], than: Sequence[Candidate]) -> set[Candidate]:
    """The candidates that none of the others has, `SMALLER` steps in all, more of on some axes and no less of on any."""
    if not candidates or not than:
        return set(candidates)
    ours, theirs = (np.array([space.steps(candidate) for candidate in found]) for found in (candidates, than))
    more = theirs[None] - ours[:, None]
    beaten = ((more >= 0).all(2) & (more.sum(2) >= SMALLER)).any(1)
    return {candidate for candidate, out in zip(candidates, beaten, strict=True) if not out}


def enlarged(budget: Budget, factor: float) -> Budget:
    """The budget with all its limits on costs multiplied."""
    limits = {limit: allowed * factor for limit in LIMITS if (allowed := getattr(budget, limit)) is not None}
    return replace(budget, **limits)


def _measured(record: Record, budget: Budget) -> dict[str, Figure]:
    if record["failure"] is not None:
        return {}
    return {limit: Figure.measured(value) for limit, value in figures(record, budget).items() if value is not None}


def _predicted(prediction: Prediction, row: int) -> Figure:
    value, low, high = (float(part[row]) for part in (prediction.value, prediction.low, prediction.high))
    return Figure(value=value, low=low, high=high, provenance=Provenance.PREDICTED)


def _at_best(point: Point) -> Point:
    return replace(point, figures={limit: Figure.measured(figure.low) for limit, figure in point.figures.items()})
