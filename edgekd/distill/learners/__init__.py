"""What is trained together: one student, several peers, or a trunk with branches; and which student comes out.

A learner is an `nn.Module` that holds everything that has weights: students, gates, adapters of losses, exits. It is
trained, averaged and kept as a whole; `student` takes out what ships.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from edgekd.distill import Batch, Outputs
from edgekd.distill.objective import Objective


@dataclass(frozen=True, kw_only=True)
class Told:
    """Of a batch: the logits of the student that will ship (B, C), and the weighted terms of the loss by name, `task` first.

    `least` are logits (B, C) of the weakest of several students, which collapses first.
    """

    logits: Tensor
    parts: dict[str, Tensor]
    least: Tensor | None = None


class Learner(Protocol):
    objective: Objective

    def learn(self, batch: Batch, teachers: Sequence[Outputs]) -> Told:
        """Answer a batch and say what is to be minimised."""
        ...

    def student(self) -> nn.Module:
        """The network that ships; it shares its weights with the learner."""
        ...
