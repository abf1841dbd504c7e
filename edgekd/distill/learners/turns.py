"""A supernet whose students train in turn: each step one of them, on the teacher's cached answers and the labels.

A step costs about a third of the sandwich rule's, and the students as cut out reach more for the same time
(benchmarks/LOG.md): where a teacher's answers are cached, none of them needs another's.

Source: Guo et al. 2020, arXiv:1904.00420 (single path one-shot, section 3.1), with turns of the largest student.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from edgekd.distill import Batch, Outputs
from edgekd.distill.learners import Told
from edgekd.distill.learners.sandwich import Sandwich, divergence, softened
from edgekd.distill.objective import TASK

LARGEST = 4
"""One step of so many, by chance, is the largest student's: it trains all weights, and its validation tells how far they are."""


class Turns(Sandwich):
    """As `Sandwich`, with one student a step. Losses on feature maps look at the largest one alone."""

    def learn(self, batch: Batch, teachers: Sequence[Outputs]) -> Told:
        if not self.training or int(torch.randint(LARGEST, ())) == 0:
            outputs = self.tapped.outputs(batch.inputs)
            return Told(logits=outputs.logits, parts=self.objective.parts(outputs, teachers, batch))
        logits = self.answers(self._draw(), batch.inputs)
        return Told(logits=logits, parts=self._parts(logits, teachers, batch), least=logits)

    def _parts(self, logits: Tensor, teachers: Sequence[Outputs], batch: Batch) -> dict[str, Tensor]:
        """The recipe's terms that look at logits alone; soft targets where the recipe has none such."""
        parts = self.objective.parts(Outputs(logits=logits), teachers, batch, logits_alone=True)
        if teachers and not parts.keys() - {TASK}:
            parts["soft targets"] = divergence(softened(teachers), logits)
        return parts
