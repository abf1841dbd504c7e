"""One student, taught by the teachers' cached answers."""

from collections.abc import Sequence

from torch import nn

from edgekd.distill import Batch, Outputs
from edgekd.distill.learners import Told
from edgekd.distill.objective import Objective
from edgekd.distill.taps import Tapped


class Solo(nn.Module):
    """A network and its objective.

    Args:
        tapped: the student, tapped for what its losses look at.
    """

    def __init__(self, tapped: Tapped, objective: Objective) -> None:
        super().__init__()
        self.tapped, self.objective = tapped, objective

    def learn(self, batch: Batch, teachers: Sequence[Outputs]) -> Told:
        outputs = self.tapped.outputs(batch.inputs)
        return Told(logits=outputs.logits, parts=self.objective.parts(outputs, teachers, batch))

    def student(self) -> nn.Module:
        return self.tapped.network
