"""Self-distillation over generations: a student teaches a new one of its own architecture.

Source: Furlanello et al. 2018, arXiv:1805.04770 (born-again networks). Each generation begins from fresh weights; the
generations before may teach together.
"""

from edgekd.distill.schemes import Planner
from edgekd.distill.stage import TEACHER, Plan, Stage

APART = 7919
"""Between the seeds of two generations: a prime, so that runs with neighbouring seeds share none."""


def born_again(generations: int = 1, with_teacher: bool = True, together: bool = False) -> Planner:
    """First student → its heir → …; the last one ships, from the first weights that a direct training would have.

    Args:
        generations: heirs after the first student.
        with_teacher: the first student is taught by the teacher, else by the labels alone.
        together: an heir is taught by all generations before it, not by the last one only.

    Raises:
        ValueError: if generations is below 1.
    """
    if not 1 <= generations <= 20:
        raise ValueError(f"generations is {generations}, expected 1 to 20")

    def plan(given: Plan) -> tuple[Stage, ...]:
        recipe, taught_by = (given.recipe, (TEACHER,)) if with_teacher else (given.untaught, ())
        stages = [given.stage(name="generation-0", recipe=recipe, taught_by=taught_by, seed=given.seed + APART)]
        for index in range(1, generations + 1):
            earlier = tuple(stage.name for stage in stages)
            last = index == generations
            stages.append(
                given.stage(
                    name="student" if last else f"generation-{index}",
                    taught_by=earlier if together else earlier[-1:],
                    seed=given.seed if last else given.seed + (index + 1) * APART,
                )
            )
        return tuple(stages)

    return plan
