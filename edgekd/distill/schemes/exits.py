"""Self-distillation inside one network: classifiers at its earlier stages learn from the last one, and are taken off again."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edgekd.distill.recipe import WeightedLoss
from edgekd.distill.schemes import Planner
from edgekd.distill.stage import TEACHER, Plan, Stage


def exits(weight: float = 1.0, with_teacher: bool = True, **numbers: Any) -> Planner:
    """One stage with the loss `exits` beside the recipe's own.

    Args:
        weight: of the exits' loss.
        with_teacher: the teacher's answers are learnt from too.
        numbers: of the loss `exits`.
    """
    loss = WeightedLoss(name="exits", weight=weight, numbers=_checked(numbers))

    def plan(given: Plan) -> tuple[Stage, ...]:
        recipe, taught_by = (given.recipe, (TEACHER,)) if with_teacher else (given.untaught, ())
        return (given.stage(recipe=replace(recipe, losses=(*recipe.losses, loss)), taught_by=taught_by),)

    return plan


def _checked(numbers: Mapping[str, Any]) -> Mapping[str, Any]:
    """Whatever the loss does not take is refused before any training."""
    from edgekd.distill import loss

    loss("exits", **numbers)
    return numbers
