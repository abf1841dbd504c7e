"""What a student minimises: the cross-entropy with the labels and the distillation losses, each with its weight."""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.distill import LOSSES, Batch, Outputs
from edgekd.distill import loss as make_loss
from edgekd.distill.ensemble import combine
from edgekd.distill.recipe import Recipe, WeightedLoss
from edgekd.errors import InputError
from edgekd.plugins import load_attribute

TASK = "task"


class Objective(nn.Module):
    """task_weight · cross-entropy + Σ weight · scale · distillation loss.

    A scale is 1 unless the recipe says `normalize`: then it is what makes the loss's gradient as long as that of the
    cross-entropy, measured at the first batch of each epoch, so that a weight means the same for every loss and pair.

    Args:
        recipe: weights, losses, and how several teachers are combined.
        taught: whether there is a teacher; without one only losses that look at the student alone stay. Of weight 0, none do.

    Raises:
        InputError: for losses that are not known or do not take their numbers; for `normalize` without `task_weight`.
    """

    def __init__(self, recipe: Recipe, taught: bool) -> None:
        super().__init__()
        self.task_weight, self.combination, self.normalize = recipe.task_weight, recipe.combine, recipe.normalize
        if recipe.normalize and not recipe.task_weight:
            raise InputError("[distill] normalize measures losses by the labels' own: give task_weight a number above 0")
        self.terms = [_Term(item) for item in recipe.losses if item.weight]
        self.terms = [term for term in self.terms if taught or not term.needs_teacher]
        self.scales: dict[str, float] = {}
        # Losses with weights of their own are trained, averaged and kept with the student.
        self.modules_of_losses = nn.ModuleList([t.criterion for t in self.terms if isinstance(t.criterion, nn.Module)])

    @property
    def needs(self) -> frozenset[str]:
        """What the losses look at beside logits: `embedding`, `energy` (attention maps), `features`, `student features`."""
        return frozenset(need for term in self.terms for need in term.needs)

    def parts(self, student: Outputs, teachers: Sequence[Outputs], batch: Batch, logits_alone: bool = False) -> dict[str, Tensor]:
        """The weighted terms by name, `task` first; each a scalar. `logits_alone` leaves out those that look at anything else."""
        found = {TASK: self.task_weight * F.cross_entropy(student.logits, batch.labels)} if self.task_weight else {}
        for name, term in zip(term_names(self.terms), self.terms, strict=True):
            if logits_alone and not term.needs <= {"logits"}:
                continue
            teacher = student if not term.needs_teacher else self._target(term, student, teachers, batch)
            found[name] = term.weight * self.scales.get(name, 1.0) * term.criterion(student, teacher, batch)
        return found

    @property
    def weights(self) -> dict[str, float]:
        """Of the terms, by the names of `parts`."""
        return {TASK: self.task_weight} | dict(zip(term_names(self.terms), (t.weight for t in self.terms), strict=True))

    def _target(self, term: "_Term", student: Outputs, teachers: Sequence[Outputs], batch: Batch) -> Outputs:
        if len(teachers) == 1:
            return teachers[0]
        return combine(self.combination, teachers, student, batch, term.temperature)


class _Term:
    """A loss of a recipe, made."""

    def __init__(self, item: WeightedLoss) -> None:
        self.name, self.weight = item.name, item.weight
        self.criterion: Any = make_loss(item.name, **item.numbers)
        self.needs_teacher = "teacher" not in getattr(self.criterion, "ignores", ())
        self.needs = self._needs(getattr(self.criterion, "needs", frozenset({"logits"})))
        self.temperature = loss_temperature(item.name, item.numbers)

    def _needs(self, needs: frozenset[str]) -> frozenset[str]:
        """What is read, with `features` told apart: maps, attention maps, or the student's alone."""
        if "features" not in needs:
            return needs
        kind = "features" if not getattr(self.criterion, "energy", False) else "energy"
        return needs - {"features"} | {kind if self.needs_teacher else "student features"}


def loss_temperature(name: str, numbers: Mapping[str, Any]) -> float:
    """The temperature that a loss works at: given, or its default; 1 where it has none."""
    if "temperature" in numbers:
        return float(numbers["temperature"])
    parameter = inspect.signature(load_attribute(LOSSES.get(name, name), None)).parameters.get("temperature")
    return 1.0 if parameter is None or parameter.default is inspect.Parameter.empty else float(parameter.default)


def term_names(terms: Sequence[Any]) -> list[str]:
    """Names that tell two terms of the same loss apart."""
    names = [term.name for term in terms]
    return [name if names.count(name) == 1 else f"{name} {names[: index + 1].count(name)}" for index, name in enumerate(names)]


def gradient_scales(norms: Mapping[str, float], weights: Mapping[str, float]) -> dict[str, float]:
    """For each distillation term, what makes its unweighted gradient as long as that of the unweighted cross-entropy.

    Args:
        norms: of the gradients of the weighted, unscaled terms.
        weights: of all terms, `task` included.
    """
    task = norms[TASK] / weights[TASK]
    return {
        name: task / (norm / weights[name])
        for name, norm in norms.items()
        if name != TASK and norm > 0 and math.isfinite(norm) and weights[name] > 0
    }
