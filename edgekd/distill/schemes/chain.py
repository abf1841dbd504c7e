"""Teacher assistants: networks between teacher and student in size, each taught by the one before.

Source: Mirzadeh et al. 2020, arXiv:1902.03393 (TAKD), section 4: a student far smaller than its teacher learns more from one
in between. Sizes are spaced evenly in the logarithm of their parameters.
"""

import math
from dataclasses import replace

from edgekd.distill.schemes import Planner
from edgekd.distill.stage import TEACHER, Plan, Stage
from edgekd.errors import InputError, StageError
from edgekd.types import Candidate, Precision

STEP = 4.0
"""From one network of the chain to the next in parameters, where the teacher's size is not known."""
WIDEST = 16
"""Times the student's width: no assistant is wider."""
ROUNDED_SHARE = 0.25
"""Of the epochs, for a last stage in the precision that ships: it begins from the trained student."""
ROUNDED_RATE = 0.2
"""Of the learning rate, there."""


def chain(assistants: int = 1, precision: str | None = None) -> Planner:
    """Teacher → assistants, the largest first → student, and with `precision` → the student with weights rounded to it.

    Args:
        assistants: how many; each trains as long as the student.
        precision: `w8` or `w4`: a last, short stage trains with weights of so many bits.

    Raises:
        ValueError: if assistants is below 1, or precision is no weight-only one.
    """
    if not 1 <= assistants <= 8:
        raise ValueError(f"assistants is {assistants}, expected 1 to 8")
    bits = None if precision is None else Precision.parse(precision).weights
    if bits is not None and (bits > 8 or precision != f"w{bits}"):
        raise ValueError(f"precision is '{precision}', expected w8 or w4")

    def plan(given: Plan) -> tuple[Stage, ...]:
        stages, above = [], TEACHER
        for index, candidate in enumerate(assistant_candidates(given, assistants)):
            stages.append(given.stage(name=f"assistant-{index + 1}", candidate=candidate, taught_by=(above,)))
            above = stages[-1].name
        stages.append(given.stage(taught_by=(above,)))
        if bits is not None:
            epochs = max(1, round(ROUNDED_SHARE * given.recipe.epochs))
            recipe = replace(given.recipe, epochs=epochs, learning_rate=ROUNDED_RATE * given.recipe.learning_rate)
            stages.append(given.stage(name="rounded", recipe=recipe, taught_by=(above,), starts_from="student", weight_bits=bits))
        return tuple(stages)

    return plan


def assistant_candidates(given: Plan, count: int) -> list[Candidate]:
    """`count` wider versions of the student, the largest first, spaced evenly in log parameters below the teacher.

    Where no width comes near the teacher they are spaced evenly up to the widest.

    Raises:
        InputError: where the family has no axis `width`.
        StageError: where too few widths lie between this student and the teacher.
    """
    values = given.candidate.values
    if "width" not in values:
        raise InputError(f"scheme 'chain' widens the student by an axis 'width', which {given.candidate.family} has not")
    smallest = given.params(given.candidate)
    largest = given.teacher_params or round(smallest * STEP ** (count + 1))
    width = int(float(values["width"]))
    wider = [Candidate.of(given.candidate.family, {**values, "width": w}) for w in range(width + 4, WIDEST * width + 1, 4)]
    sized = [(given.params(candidate), candidate) for candidate in wider]
    between = [(size, candidate) for size, candidate in sized if smallest < size < largest]
    if len(between) < count:
        found = f"{len(between)} widths lie between the student's {smallest:,} parameters and the teacher's {largest:,}"
        cause = f"scheme 'chain': {found}, {count} are needed"
        raise StageError("distil", cause, "ask for fewer assistants, or distil directly")
    reach = max(size for size, _ in between) / smallest
    step = min((largest / smallest) ** (1 / (count + 1)), reach ** (1 / count))
    chosen: list[tuple[int, Candidate]] = []
    for index in range(count, 0, -1):
        target = smallest * step**index
        left = [item for item in between if item not in chosen]
        chosen.append(min(left, key=lambda item: abs(math.log(item[0] / target))))
    return [candidate for _, candidate in sorted(chosen, key=lambda item: -item[0])]
