"""What a teacher is: something that answers with logits, and where it can, with the embedding before them."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class TeacherOutputs:
    """Of a batch: `logits` (B, classes) float32, `embedding` (B, D) float32 or None where the teacher shows none."""

    logits: NDArray[np.float32]
    embedding: NDArray[np.float32] | None = None


class Teacher(Protocol):
    name: str
    params: int | None
    """Learnable parameters; None where the format does not tell."""
    fingerprint: str
    """SHA-256 of its weights and code: the teacher cache is keyed by it."""

    def outputs(self, inputs: NDArray[np.float32]) -> TeacherOutputs:
        """Answers for normalised inputs (B, C, H, W), in evaluation mode, without gradients."""
        ...
