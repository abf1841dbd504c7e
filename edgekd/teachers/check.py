"""Find out that a teacher does not fit the data before anything is trained on its answers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekd.data import Data, Split, normalise
from edgekd.errors import EdgekdError, InputError, first_line
from edgekd.teachers import Teacher, TeacherOutputs
from edgekd.types import Contract

SIGNIFICANCE = 0.01
"""A teacher that guesses passes in one of a hundred runs at most."""
PROBE = 32
"""Samples that are asked about again, in other company: few enough that a class of a validation split fills them."""
STEADY = 1e-2
"""Of the largest logit: what half precision may differ by between batch sizes. Dropout and batch statistics differ by more:
5 % at the least of what was tried."""


@dataclass(frozen=True, kw_only=True)
class TeacherCheck:
    """What was found of a teacher on the validation split; accuracies are fractions."""

    accuracy: float
    chance: float
    """Accuracy of always naming the most frequent class."""
    samples: int
    classes: int
    embedding_size: int | None


def check_teacher(teacher: Teacher, data: Data, *, limit: int = 1000) -> TeacherCheck:
    """Ask the teacher about up to `limit` validation samples.

    Raises InputError where it does not take them, gives another number of classes or NaN, answers otherwise when it is
    asked again (`check_steady`), or is no better than guessing: a one-sided binomial test against the most frequent class.
    """
    from scipy import stats

    part = _first(data.validation, limit)
    inputs = normalise(part.inputs, data.contract)
    found = answers(teacher, inputs, data.contract)
    check_steady(teacher, inputs, found.logits, data.contract)
    right = int((found.logits.argmax(axis=1) == part.labels).sum())
    chance = float(np.bincount(part.labels).max() / len(part))
    if stats.binom.sf(right - 1, len(part), chance) > SIGNIFICANCE:
        score = f"{right} of {len(part)} validation samples right, a guess gets {chance * len(part):.0f}"
        raise InputError(f"teacher {teacher.name} knows nothing of data '{data.name}': {score}; check its weights, mean and std")
    return TeacherCheck(
        accuracy=right / len(part),
        chance=chance,
        samples=len(part),
        classes=found.logits.shape[1],
        embedding_size=None if found.embedding is None else found.embedding.shape[1],
    )


def check_steady(teacher: Teacher, inputs: NDArray[np.float32], logits: NDArray[np.float32], contract: Contract) -> None:
    """Ask twice more about a few samples that the teacher takes to be of one class, alone in their batch.

    A network that was left in training mode normalises by the statistics of its batch, or drops units at random: what a
    student then learns from is not what was checked. Such statistics differ the most where a batch is of one class.

    Args:
        teacher: that gave `logits`.
        inputs: normalised samples (B, C, H, W), of all classes.
        logits: the teacher's answers to `inputs`, (B, classes).
        contract: of the data.

    Raises:
        InputError: `teacher-in-train-mode`, where the answers are not those it gave.
    """
    rows = np.argsort(logits.argmax(axis=1), kind="stable")[: min(PROBE, -(-len(inputs) // 2))]
    first, second = (answers(teacher, inputs[rows], contract).logits for _ in range(2))
    largest = max(float(np.abs(logits).max()), float(np.finfo(np.float32).tiny))
    for found, expected, what in (
        (second, first, "answers the same batch twice with"),
        (first, logits[rows], "answers the same samples in another batch with"),
    ):
        change = float(np.abs(found - expected).max()) / largest
        if change > STEADY:
            raise InputError(
                f"teacher-in-train-mode: teacher {teacher.name} {what} logits that differ by {change:.0%} of the largest; "
                "call eval() before it is used or exported, and take dropout and batch statistics out of its forward()"
            )


def answers(teacher: Teacher, inputs: NDArray[np.float32], contract: Contract) -> TeacherOutputs:
    """The teacher's outputs for normalised inputs. Raises InputError unless they are finite logits (B, classes)."""
    classes = len(contract.classes)
    try:
        found = teacher.outputs(inputs)
    except EdgekdError:
        raise
    except Exception as error:  # a model that is given another shape than its own may raise anything
        raise InputError(
            f"teacher {teacher.name} does not take samples of shape {contract.shape}: {first_line(error)}"
        ) from error
    if found.logits.shape != (len(inputs), classes):
        shape = f"{found.logits.shape} for {len(inputs)} samples"
        raise InputError(
            f"teacher {teacher.name} answers with shape {shape}, expected ({len(inputs)}, {classes}): one for a class"
        )
    if not np.isfinite(found.logits).all():
        raise InputError(
            f"teacher {teacher.name} answers with NaN or infinite values: check its weights and the data's mean and std"
        )
    return found


def accuracy(teacher: Teacher, split: Split, contract: Contract) -> float:
    """Share of a split's samples that the teacher names rightly."""
    right = 0
    for start in range(0, len(split), 1024):
        rows = slice(start, start + 1024)
        found = answers(teacher, normalise(split.inputs[rows], contract), contract)
        right += int((found.logits.argmax(axis=1) == split.labels[rows]).sum())
    return right / len(split)


def _first(split: Split, limit: int) -> Split:
    """Up to `limit` samples, evenly spaced: sources often come sorted by class."""
    rows = np.arange(len(split)) if len(split) <= limit else np.linspace(0, len(split) - 1, limit).astype(np.int64)
    return Split(inputs=split.inputs[rows], labels=split.labels[rows], ids=split.ids[rows])
