"""Losses on feature maps between unlike architectures stay off unless they win a short training on the validation split.

What a convolution and an attention layer make of one picture differs in kind, and pulling one towards the other often costs
accuracy (Hao et al. 2023, arXiv:2310.19444, section 3).
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from edgekd.distill.honest import right_on
from edgekd.distill.kinds import kinds_of
from edgekd.distill.objective import Objective
from edgekd.distill.recipe import Recipe, WeightedLoss
from edgekd.distill.stage import Stage
from edgekd.distill.training import Training
from edgekd.students import resized_shape
from edgekd.students.program import build_student
from edgekd.types import Candidate

Record = dict[str, Any]
EPOCHS = 2
"""Of each of the two trainings: together about a quarter of the default recipe's."""


def unlike(network: nn.Module, shape: tuple[int, ...], teacher: frozenset[str] | None) -> bool:
    """Whether a student is made of other blocks than a teacher of these kinds; None is one that does not show them."""
    return teacher is None or kinds_of(network, shape) != teacher


@dataclass(kw_only=True)
class Pilots:
    """The pilots of a run: `found` by candidate id."""

    training: Training
    seed: int
    found: dict[str, Record] = field(default_factory=dict)

    def fitting(self, candidate: Candidate, recipe: Recipe, final: bool = True) -> Recipe:
        """The recipe as it suits a candidate: without losses on feature maps of an unlike teacher, unless they win the pilot.

        Only a final training is worth one: what ranks candidates does without those losses.
        """
        bare = without_maps(recipe) if recipe.feature_losses == "pilot" else None
        if bare is None or not self._unlike(candidate):
            return recipe
        if final and candidate.id not in self.found:
            self.found[candidate.id] = pilot(self.training, candidate, recipe, bare, self.seed)
            self.training.console.say(f"{candidate.id}: {pilot_line(self.found[candidate.id])}")
        return recipe if final and self.found[candidate.id]["kept"] else bare

    def _unlike(self, candidate: Candidate) -> bool:
        contract = self.training.data.contract
        network = build_student(self.training.family, candidate, contract, self.seed)
        return unlike(network, resized_shape(candidate, contract.shape), self.training.teacher_kinds)


def map_losses(recipe: Recipe) -> tuple[WeightedLoss, ...]:
    """The losses that look at feature maps of the teacher."""
    alone = [
        (item, Objective(replace(recipe, losses=(item,), task_weight=1.0, normalize=False), taught=True))
        for item in recipe.losses
    ]
    return tuple(item for item, objective in alone if objective.needs & {"features", "energy"})


def without_maps(recipe: Recipe) -> Recipe | None:
    """The recipe without those; None where it has none, or nothing else to learn from."""
    given = map_losses(recipe)
    left = tuple(item for item in recipe.losses if item not in given)
    weighs = recipe.task_weight + sum(item.weight for item in left)
    return replace(recipe, losses=left, taps=()) if given and weighs else None


def pilot(training: Training, candidate: Candidate, recipe: Recipe, bare: Recipe, seed: int) -> Record:
    """Train a candidate directly with its recipe and without the losses on feature maps, a few epochs each, and compare.

    They are kept where more validation samples are answered rightly with them, by more than one standard error of the paired
    difference (McNemar 1947, as in search/selection.py). Each training is a recorded unit.

    Args:
        training: the run's own.
        candidate: the student.
        recipe: with losses on feature maps.
        bare: the same without, of `without_maps`.
        seed: of both trainings.

    Returns:
        `losses`, `epochs`, `accuracy_with` and `accuracy_without` on the validation split (None where that training failed),
        `standard_error` of their difference, `kept`, and `failure` of the training with them.
    """
    trained = [_trained(training, candidate, each, seed) for each in (recipe, bare)]
    right = [None if record["failure"] else right_on(training, candidate, record, "validation") for record in trained]
    kept, error = _better(*right)
    return {
        "losses": [item.name for item in map_losses(recipe)],
        "epochs": min(EPOCHS, recipe.epochs),
        "accuracy_with": None if right[0] is None else float(right[0].mean()),
        "accuracy_without": None if right[1] is None else float(right[1].mean()),
        "standard_error": error,
        "kept": kept,
        "failure": trained[0]["failure"],
    }


def _trained(training: Training, candidate: Candidate, recipe: Recipe, seed: int) -> Record:
    short = replace(recipe, epochs=min(EPOCHS, recipe.epochs))
    return training.run([Stage(name="pilot", candidate=candidate, recipe=short, seed=seed)], "pilot")


def _better(ours: NDArray[np.bool_] | None, theirs: NDArray[np.bool_] | None) -> tuple[bool, float | None]:
    """(whether ours is better by more than one standard error, that error as a fraction); both (N,)."""
    if ours is None or theirs is None:
        return ours is not None, None
    gained, lost = int(np.sum(ours & ~theirs)), int(np.sum(theirs & ~ours))
    return gained - lost > math.sqrt(gained + lost), math.sqrt(gained + lost) / len(ours)


def pilot_line(found: Record) -> str:
    """What the console is told of it."""
    names, verdict = ", ".join(found["losses"]), "kept" if found["kept"] else "left out"
    ours, theirs = ("failed" if found[key] is None else f"{found[key]:.4f}" for key in ("accuracy_with", "accuracy_without"))
    figures = f"validation accuracy {ours} with, {theirs} without after {found['epochs']} epochs"
    return f"unlike its teacher: {names} {verdict}: {figures}"
