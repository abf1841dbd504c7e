"""Does the teacher help? The same student without it, at equal epochs and at equal wall time, over several seeds.

For each seed the three trainings are paired: first weights, order of samples and pictures are the same. All end at their
last epoch. What is chosen is chosen on the validation split; the test split is read once for each student, after the last
of them was trained. Every training is a recorded unit, so a comparison that was stopped goes on.

A gain rests on equal epochs. At equal time the plain student trains for as many epochs as fit in all that the distilled one
took: its training, the earlier stages of its scheme, and the teacher's answering. The teacher's own training counts nothing.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.data.prepare import prepare
from edgekd.distill.comparison import FEWEST_SEEDS, Gain, compare
from edgekd.distill.recipe import Recipe
from edgekd.distill.schemes import find_scheme
from edgekd.distill.stage import Plan, Stage
from edgekd.distill.trainer import predict
from edgekd.distill.training import Training
from edgekd.errors import InputError
from edgekd.fidelity.measures import transfer_effectiveness
from edgekd.teachers.advice import SIGNIFICANCE, Advice
from edgekd.types import Candidate
from edgekd.verify import pack, unpack

Record = dict[str, Any]
EQUAL_EPOCHS, EQUAL_TIME, DISTILLED = "plain, equal epochs", "plain, equal time", "distilled"
CONTROLS = (EQUAL_EPOCHS, EQUAL_TIME)
CHANCE = 0.05
"""That either control is called beaten by luck: shared between them (Bonferroni)."""


@dataclass(frozen=True, kw_only=True)
class Student:
    """A finished training: `epochs` of the student's own, `seconds` of all that led to it, `record` as the store has it."""

    record: Record
    epochs: int
    seconds: float


class _Failed(Exception):
    """A training that a comparison needs has failed."""


def honest_gain(
    training: Training, plan: Plan, *, seeds: int, teacher_accuracy: float, plain_recipes: Sequence[Recipe] = ()
) -> Record:
    """What the plan's scheme gains over training without a teacher, with the interval of that gain.

    Args:
        training: the run's own, with its teachers' answers.
        plan: of the distilled student; its recipe names the scheme. Its seed is the first, the next numbers follow.
        seeds: how many, at least 3.
        teacher_accuracy: on the test split, a fraction.
        plain_recipes: numbers for the plain student, where they may be others than the distilled one's: the best of them on
            the validation split, at the first seed, is used. Empty takes the plan's.

    Returns:
        An entry of `report["honest"]`. Where a training failed it has no variants, and `failure` says why.

    Raises:
        InputError: for fewer than 3 seeds.
    """
    check_seeds(seeds)
    numbers = range(plan.seed, plan.seed + seeds)
    entry = {"candidate": plan.candidate.id, "seeds": seeds, "epochs": own_epochs(_distilled_stages(plan, plan.seed))}
    try:
        students = _trained(training, plan, numbers, plain_recipes or (plan.recipe,))
    except _Failed as failed:
        return {
            **entry,
            "failure": str(failed),
            "variants": [],
            "gains": [],
            "verdict": "not comparable",
            "transfer_effectiveness": {"value": None, "reason": str(failed)},
        }
    right = {name: np.stack([_right(training, plan.candidate, s.record) for s in found]) for name, found in students.items()}
    confidence = 1 - CHANCE / len(CONTROLS)
    gains = {name: compare(right[name], right[DISTILLED], name=DISTILLED, confidence=confidence) for name in CONTROLS}
    kd, plain = (float(right[name].mean()) for name in (DISTILLED, EQUAL_EPOCHS))
    return {
        **entry,
        "failure": None,
        "variants": [_variant(name, found, right[name]) for name, found in students.items()],
        "gains": [_gain(name, gain) for name, gain in gains.items()],
        "verdict": gains[EQUAL_EPOCHS].verdict,
        "transfer_effectiveness": asdict(transfer_effectiveness(kd, plain, teacher_accuracy)),
    }


def check_seeds(seeds: int) -> None:
    """Raises InputError for fewer than 3."""
    if seeds < FEWEST_SEEDS:
        raise InputError(f"--seeds is {seeds}, expected at least {FEWEST_SEEDS}: fewer cannot tell a gain from luck")


def own_epochs(stages: Sequence[Stage]) -> int:
    """Epochs that the last stage's student trained: its own and those of the stages whose weights it goes on from."""
    named = {stage.name: stage for stage in stages}
    stage, epochs = stages[-1], stages[-1].recipe.epochs
    while stage.starts_from is not None:
        stage = named[stage.starts_from]
        epochs += stage.recipe.epochs
    return epochs


def gain_line(entry: Record) -> str:
    """An entry in one line for the console."""
    if entry["failure"] is not None:
        return f"{entry['verdict']}: {entry['failure']}"
    texts = []
    for gain in entry["gains"]:
        low, high = gain["interval_points"]
        interval = f"{gain['gain_points']:+.2f} points ({low:+.2f} to {high:+.2f} at {gain['confidence']:.1%})"
        texts.append(f"{gain['verdict']} against {gain['against']}: {interval}")
    return "distillation: " + "; ".join(texts)


# Training ----------------------------------------------------------------------------------------------------------


def _trained(training: Training, plan: Plan, seeds: Sequence[int], recipes: Sequence[Recipe]) -> dict[str, list[Student]]:
    """The students of each variant, in the order of the seeds."""
    found: dict[str, list[Student]] = {name: [] for name in (*CONTROLS, DISTILLED)}
    recipe = None
    for seed in seeds:
        distilled = _run(training, _distilled_stages(plan, seed), "final" if seed == plan.seed else "distilled")
        recipe = recipe or _best_on_validation(training, plan, distilled.epochs, recipes)
        plain = _run(training, _plain_stages(plan, recipe, seed, distilled.epochs), "plain")
        epochs = max(plain.epochs, int(distilled.seconds / plain.seconds * plain.epochs))
        longer = _run(training, _plain_stages(plan, recipe, seed, epochs), "plain")
        for name, student in ((EQUAL_EPOCHS, plain), (EQUAL_TIME, longer), (DISTILLED, distilled)):
            found[name].append(student)
        accuracies = ", ".join(f"{name} {_validated(found[name][-1]):.4f}" for name in found)
        training.console.say(
            f"seed {seed}, {plan.candidate.id}, validation accuracy: {accuracies} ({epochs} epochs at equal time)"
        )
    return found


def _distilled_stages(plan: Plan, seed: int) -> tuple[Stage, ...]:
    scheme = plan.recipe.scheme
    return find_scheme(scheme.name, scheme.numbers)(replace(plan, seed=seed))


def _plain_stages(plan: Plan, recipe: Recipe, seed: int, epochs: int) -> tuple[Stage, ...]:
    """The control, annealed to its number of epochs; no clock cuts it short, as its epochs or its time are what is equal."""
    return find_scheme("plain", {})(replace(plan, seed=seed, recipe=replace(recipe, epochs=epochs, max_minutes=None)))


def _best_on_validation(training: Training, plan: Plan, epochs: int, recipes: Sequence[Recipe]) -> Recipe:
    if len(recipes) == 1:
        return recipes[0]
    tried = [_run(training, _plain_stages(plan, recipe, plan.seed, epochs), "plain") for recipe in recipes]
    return recipes[max(range(len(recipes)), key=lambda index: _validated(tried[index]))]


def _run(training: Training, stages: Sequence[Stage], label: str) -> Student:
    record = training.run(stages, label)
    if record["failure"] is not None or not record["curve"]:
        cause = record["failure"]["cause"] if record["failure"] else "no epoch ended within max_minutes"
        raise _Failed(f"the {'plain' if label == 'plain' else 'distilled'} student of seed {stages[-1].seed} failed: {cause}")
    return Student(record=record, epochs=own_epochs(stages), seconds=sum(record["spent"].values()))


def _validated(student: Student) -> float:
    return float(student.record["curve"][-1]["accuracy"])


# Against the teacher -----------------------------------------------------------------------------------------------


def beats_teacher(student: NDArray[np.bool_], teacher: NDArray[np.bool_]) -> Advice | None:
    """Advice `student-beats-teacher` where the student is better than its teacher, and not by luck.

    Such a student can learn nothing right from its teacher that it does not know, and the labels may teach it more.

    Args:
        student: (N,), whether it is right on each sample of the validation split.
        teacher: (N,), the same.

    Source: the exact one-sided test of McNemar 1947, doi:10.1007/BF02295996, at the level of the other advice on teachers.
    """
    from scipy.stats import binomtest

    ahead, behind = int(np.sum(student & ~teacher)), int(np.sum(teacher & ~student))
    if ahead <= behind or binomtest(ahead, ahead + behind, alternative="greater").pvalue >= SIGNIFICANCE:
        return None
    return Advice(
        rule="student-beats-teacher",
        text=f"accuracy {student.mean():.4f} on {len(student)} validation samples, its teacher's is {teacher.mean():.4f}",
        next_step="take a better teacher, or give the labels more weight; --honest tells whether this one helps at all",
    )


# Testing -----------------------------------------------------------------------------------------------------------


def _right(training: Training, candidate: Candidate, trained: Record) -> NDArray[np.bool_]:
    """Whether the student is right on each test sample, (N,); read once, then recorded."""
    key = [trained["sha256"], candidate.id, training.data.fingerprint]
    return unpack(training.store.once("honest test", key, lambda: pack(right_on(training, candidate, trained, "test"))))


def right_on(training: Training, candidate: Candidate, trained: Record, split: str) -> NDArray[np.bool_]:
    """Whether a trained student, as it ships, is right on each sample of a split, (N,)."""
    samples = getattr(training.data, split)
    logits = predict(training.module(candidate, trained), prepare(samples.inputs, training.contract(candidate)))
    right: NDArray[np.bool_] = logits.argmax(1) == samples.labels
    return right


def _gain(against: str, gain: Gain) -> Record:
    """As JSON has it: lists, no tuples."""
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(gain).items()}
    return {"against": against, **values}


def _variant(name: str, students: Sequence[Student], right: NDArray[np.bool_]) -> Record:
    return {
        "name": name,
        "accuracies": [float(row.mean()) for row in right],
        "epochs": [student.epochs for student in students],
        "seconds": [student.seconds for student in students],
        "curve": students[0].record["curve"],
    }
