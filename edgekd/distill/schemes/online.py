"""Students that teach each other while they learn: peers, or branches on one trunk. The first of them ships."""

from typing import Literal

from edgekd.distill.objective import Objective
from edgekd.distill.schemes import Planner
from edgekd.distill.stage import TEACHER, Plan, Stage
from edgekd.errors import InputError


def mutual(peers: int = 2, with_teacher: bool = True) -> Planner:
    """Deep mutual learning of `peers` students of one architecture (edgekd/distill/learners/mutual.py).

    Args:
        peers: how many, each at the cost of a student.
        with_teacher: the teacher's answers are learnt from too.
    """
    return _together("mutual", peers, with_teacher)


def collaborative(branches: int = 3, with_teacher: bool = True) -> Planner:
    """A gated ensemble of `branches` on a shared trunk teaches them (edgekd/distill/learners/collaborative.py)."""
    return _together("collaborative", branches, with_teacher)


def _together(learner: Literal["mutual", "collaborative"], count: int, with_teacher: bool) -> Planner:
    if not 2 <= count <= 8:
        raise ValueError(f"{count} students learn together, expected 2 to 8")

    def plan(given: Plan) -> tuple[Stage, ...]:
        recipe, taught_by = (given.recipe, (TEACHER,)) if with_teacher else (given.untaught, ())
        more = sorted(Objective(recipe, taught=with_teacher).needs - {"logits"})
        if learner == "collaborative" and more:
            raise InputError(f"scheme 'collaborative' takes losses on logits only, [distill] losses look at {', '.join(more)}")
        return (given.stage(recipe=recipe, taught_by=taught_by, learner=learner, count=count),)

    return plan
