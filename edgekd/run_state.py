"""What the stages of one run share: the project, the store, the data, the space of students and what is known of each."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.bench.settings import Settings
from edgekd.console import Console
from edgekd.data import Data
from edgekd.deployment import Deployment
from edgekd.distill.pilot import Pilots
from edgekd.distill.recipe import Recipe
from edgekd.distill.stage import Plan
from edgekd.distill.training import Training
from edgekd.project import Project
from edgekd.store import Store
from edgekd.students import Family, elastic_axes, resized_shape, restricted
from edgekd.students.costs import features, layer_costs
from edgekd.students.program import build_student, count_params
from edgekd.students.space import Space
from edgekd.types import Candidate
from edgekd.workers import Here, Workers

Record = dict[str, Any]
LOOKED_AT = 256
"""Random candidates whose parameters are counted to find a large one: a millisecond or two each."""


@dataclass(kw_only=True)
class RunState:
    """Everything that the stages of one run need.

    Args:
        teacher_accuracy: on the validation split.
        tuned: the recipe that tuning chose for the finalists; None where nothing was tuned.
        workers: who computes ahead.
    """

    project: Project
    store: Store
    console: Console
    data: Data
    family: Family
    deployments: tuple[Deployment, ...]
    settings: Settings
    training: Training
    teacher_accuracy: float = 0.0
    teacher: Record = field(default_factory=dict)
    tuned: Recipe | None = None
    workers: Workers = field(default_factory=Here)
    _params: dict[Candidate, int] = field(default_factory=dict)
    _features: dict[Candidate, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        return self.project.search.seed

    @cached_property
    def pilots(self) -> Pilots:
        """What decides on losses on feature maps between unlike architectures."""
        return Pilots(training=self.training, seed=self.seed)

    @property
    def recipe(self) -> Recipe:
        """Of the finalists."""
        return self.tuned or self.project.distill

    @cached_property
    def space(self) -> Space:
        """All students that the project lets the search choose from."""
        settings, shape = self.project.search, self.data.contract.shape
        axes = self.family.space(shape)
        if settings.method == "supernet":
            axes = elastic_axes(self.family, shape, settings.space == "coupled")
        return Space(family=self.project.students.family, axes=restricted(axes, self.project.students.axes))

    @property
    def smallest(self) -> Candidate:
        return self.space.smallest

    def first_candidates(self) -> list[Candidate]:
        """Proposed before the sampler's own: the smallest, then the largest allowed, since accuracy mostly grows with size."""
        rng = np.random.default_rng(self.seed)
        picks = (self.space.draw(rng) for _ in range(LOOKED_AT))
        allowed = sorted({pick for pick in picks if self.allowed(pick)}, key=lambda pick: (-self.params(pick), pick.id))
        return [self.smallest, *allowed[:1]]

    def params(self, candidate: Candidate) -> int:
        if candidate not in self._params:
            self._params[candidate] = count_params(self.family, candidate, self.data.contract)
        return self._params[candidate]

    def features(self, candidate: Candidate) -> NDArray[np.float64]:
        """(D,): what a predictor of costs sees of the candidate."""
        if candidate not in self._features:
            network = build_student(self.family, candidate, self.data.contract, self.seed)
            self._features[candidate] = features(layer_costs(network, resized_shape(candidate, self.data.contract.shape)))
        return self._features[candidate]

    def allowed(self, candidate: Candidate) -> bool:
        """Whether the candidate has no more parameters than the project lets it."""
        most = self.project.students.max_params
        return most is None or self.params(candidate) <= most

    def folder(self, candidate: Candidate) -> Path:
        return self.store.folder / "candidates" / candidate.id

    def plan(self, candidate: Candidate, recipe: Recipe) -> Plan:
        return Plan(
            candidate=candidate,
            recipe=recipe,
            seed=self.seed,
            params=self.params,
            teacher_params=self.teacher.get("params"),
        )
