"""A teacher that was loaded, whatever it was loaded from: facts, and a function that answers one batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgekd.teachers import TeacherOutputs

Answer: TypeAlias = Callable[[NDArray[np.float32]], TeacherOutputs]
BATCH = 256
"""Samples at a time: the fastest of those tried with a 0.7 M-parameter network on two cores; bounds the memory."""
SMALLEST_PROBABILITY = float(np.finfo(np.float32).tiny)


@dataclass(kw_only=True)
class LoadedTeacher:
    """Satisfies `Teacher`. `runtime` says what computes the answers; `fingerprint` does not depend on it.

    `kinds` are those of its building blocks (distill/kinds.py); None where the format does not show them, or nobody asked.
    """

    name: str
    params: int | None
    fingerprint: str
    runtime: str
    answer: Answer = field(repr=False)
    kinds: frozenset[str] | None = None

    def outputs(self, inputs: NDArray[np.float32]) -> TeacherOutputs:
        """Answers for any number of normalised inputs (B, C, H, W), a bounded number at a time."""
        if len(inputs) <= BATCH:
            return self.answer(inputs)
        parts = [self.answer(inputs[start : start + BATCH]) for start in range(0, len(inputs), BATCH)]
        return joined(parts)


def joined(parts: Sequence[TeacherOutputs]) -> TeacherOutputs:
    """Answers to batches, as those to all of their samples."""
    named = [part.by_name() for part in parts]
    return TeacherOutputs.of({name: np.concatenate([part[name] for part in named]) for name in named[0]})


def gives_probabilities(outputs: NDArray[np.float32]) -> bool:
    """Whether rows (B, classes) are distributions: the teacher ends in a softmax. Decide it on more than a few rows."""
    return bool(np.all(outputs >= 0) and np.allclose(outputs.sum(axis=1), 1, atol=1e-2))


def with_logits(teacher: LoadedTeacher) -> LoadedTeacher:
    """The same teacher, its probabilities turned into logits: their logarithms, which differ by a constant a sample only."""

    def answer(inputs: NDArray[np.float32]) -> TeacherOutputs:
        found = teacher.answer(inputs)
        return replace(found, logits=np.log(np.maximum(found.logits, SMALLEST_PROBABILITY)))

    return replace(teacher, answer=answer)
