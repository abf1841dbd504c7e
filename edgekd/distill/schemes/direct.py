"""The student taught by the teacher, and its control: the same student taught by the labels alone."""

from edgekd.distill.schemes import Planner
from edgekd.distill.stage import Plan, Stage


def direct() -> Planner:
    """One stage: teacher to student."""

    def plan(given: Plan) -> tuple[Stage, ...]:
        return (given.stage(),)

    return plan


def plain() -> Planner:
    """One stage without a teacher: what every claim of a gain is compared with."""

    def plan(given: Plan) -> tuple[Stage, ...]:
        return (given.stage(recipe=given.untaught, taught_by=()),)

    return plan
