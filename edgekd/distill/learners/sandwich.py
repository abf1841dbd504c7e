"""A supernet: all students of a space train at once on one set of weights.

Each step trains the largest student on the teacher's cached answers and the labels, and the smallest and `drawn` random ones on
what the largest then answers (the sandwich rule, in-place distillation). Early on their target is half the teacher's.

Source: Yu et al. 2020, arXiv:2003.11142 (BigNAS, section 3.1); Wang et al. 2021, arXiv:2011.09011 (AttentiveNAS).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from edgekd.data.prepare import interpolation
from edgekd.distill import Batch, Outputs
from edgekd.distill.learners import Told
from edgekd.distill.objective import Objective
from edgekd.distill.taps import Tapped
from edgekd.students import resized_shape
from edgekd.students.sharing import Cutter
from edgekd.types import Candidate

DRAWN = 2
"""Random students a step, as in BigNAS."""
SHARE = 1 / (1 + DRAWN)
"""Of each smaller student: together they pull as one does. Summed, as in BigNAS, and at half the rate, the largest one ended
three points lower after six epochs (benchmarks/LOG.md)."""
TEACHER_SHARE = 0.5
"""Of the smaller students' target at first; it falls to nothing at the end: an untrained largest one has nothing to teach."""
TEMPERATURE = 4.0
"""Of what the smaller students learn from. At 1, as in BigNAS, short trainings ended a point below those on the
teacher's own answers, at 4 they were even with them (benchmarks/LOG.md)."""


class Sandwich(nn.Module):
    """The largest student, tapped for what its losses look at, and the way to cut the others out of it.

    Args:
        tapped: the largest student.
        epochs: of the training, over which the teacher's share of the smaller students' target falls.
    """

    def __init__(self, tapped: Tapped, objective: Objective, cutter: Cutter, epochs: int) -> None:
        super().__init__()
        self.tapped, self.objective = tapped, objective
        self.cutter, self.epochs = cutter, epochs
        self._skeletons: dict[Candidate, nn.Module] = {}

    def learn(self, batch: Batch, teachers: Sequence[Outputs]) -> Told:
        outputs = self.tapped.outputs(batch.inputs)
        parts = self.objective.parts(outputs, teachers, batch)
        if not self.training:
            return Told(logits=outputs.logits, parts=parts)
        target = self._target(outputs.logits.detach(), teachers, batch.epoch)
        smallest = self.answers(self.cutter.space.smallest, batch.inputs)
        parts["smallest"] = SHARE * divergence(target, smallest)
        for index in range(DRAWN):
            parts[f"drawn {index + 1}"] = SHARE * divergence(target, self.answers(self._draw(), batch.inputs))
        return Told(logits=outputs.logits, parts=parts, least=smallest)

    def answers(self, candidate: Candidate, inputs: Tensor) -> Tensor:
        """Logits (B, C) of a student by its share of the weights; its batch normalisation goes by this batch."""
        height = resized_shape(candidate, self.cutter.shape)[1:]
        weights = self.cutter.cut(candidate, dict(self.student().named_parameters()))
        logits: Tensor = functional_call(self._skeleton(candidate), weights, (resized(inputs, height),))
        return logits

    def _target(self, largest: Tensor, teachers: Sequence[Outputs], epoch: int) -> Tensor:
        """Softened probabilities (B, C): a mixture of the largest student's and, early on, the teachers' mean."""
        own = F.softmax(largest / TEMPERATURE, dim=1)
        share = TEACHER_SHARE * (1 - epoch / self.epochs)
        if not teachers:
            return own
        return (1 - share) * own + share * softened(teachers)

    def _draw(self) -> Candidate:
        """By the generator that the trainer seeds for each step: a training that goes on draws the same."""
        axes = self.cutter.space.axes
        picks = [int(torch.randint(len(values), ())) for values in axes.values()]
        values = {axis: choices[pick] for (axis, choices), pick in zip(axes.items(), picks, strict=True)}
        return Candidate.of(self.cutter.space.family, values)

    def _skeleton(self, candidate: Candidate) -> nn.Module:
        """Its layers; running statistics are its own and never read: those of a student are taken anew once it is cut out."""
        if candidate not in self._skeletons:
            network = self.cutter.skeleton(candidate)
            device = next(self.parameters()).device
            for module in network.modules():
                for name, buffer in list(module.named_buffers(recurse=False)):
                    setattr(module, name, torch.zeros_like(buffer, device=device))
            self._skeletons[candidate] = network
        return self._skeletons[candidate].train()

    def student(self) -> nn.Module:
        return self.tapped.network


def softened(teachers: Sequence[Outputs]) -> Tensor:
    """The teachers' mean softened probabilities (B, C)."""
    return torch.stack([F.softmax(teacher.logits / TEMPERATURE, dim=1) for teacher in teachers]).mean(0)


def divergence(target: Tensor, logits: Tensor) -> Tensor:
    """T² KL(target ‖ softmax(logits / T)), mean over the batch; target: softened probabilities (B, C), without a gradient."""
    return TEMPERATURE**2 * F.kl_div(F.log_softmax(logits / TEMPERATURE, dim=1), target, reduction="batchmean")


def resized(inputs: Tensor, size: tuple[int, ...]) -> Tensor:
    """Normalised pictures (B, C, H, W) as a student of smaller ones takes them; as `data.prepare.resize`."""
    if tuple(inputs.shape[2:]) == tuple(size):
        return inputs
    rows, columns = (torch.from_numpy(interpolation(a, b)).to(inputs) for a, b in zip(inputs.shape[2:], size, strict=True))
    return (rows @ inputs @ columns.T).contiguous(memory_format=torch.channels_last)
