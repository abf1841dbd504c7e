"""What a teacher is: something that answers with logits, and where it can, with the embedding before them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class TeacherOutputs:
    """Of a batch: `logits` (B, classes) float32, `embedding` (B, D) float32 or None where the teacher shows none.

    `features` by key, each (B, C, H, W) float32: those that were asked for.
    """

    logits: NDArray[np.float32]
    embedding: NDArray[np.float32] | None = None
    features: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    @classmethod
    def of(cls, answers: Mapping[str, NDArray[np.float32]]) -> "TeacherOutputs":
        """From `logits`, `embedding` and feature maps by name."""
        rest = {key: value for key, value in answers.items() if key not in ("logits", "embedding")}
        return cls(logits=answers["logits"], embedding=answers.get("embedding"), features=rest)

    def by_name(self) -> dict[str, NDArray[np.float32]]:
        """What `of` takes."""
        embedding = {} if self.embedding is None else {"embedding": self.embedding}
        return {"logits": self.logits, **embedding, **self.features}


@dataclass(frozen=True, kw_only=True)
class FeatureRequest:
    """Feature maps wanted of a teacher: `paths` of its layers, none for the last layer at each resolution.

    `energy` wants sqrt(mean_c F²) (B, 1, H, W) of each instead of the maps F.
    """

    paths: tuple[str, ...] = ()
    energy: bool = False


class Teacher(Protocol):
    name: str
    params: int | None
    """Learnable parameters; None where the format does not tell."""
    fingerprint: str
    """SHA-256 of its weights and code: the teacher cache is keyed by it."""

    def outputs(self, inputs: NDArray[np.float32]) -> TeacherOutputs:
        """Answers for normalised inputs (B, C, H, W), in evaluation mode, without gradients."""
        ...
