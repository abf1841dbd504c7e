"""Branches on a shared trunk that learn from their gated ensemble: collaborative, on-the-fly distillation.

Source: Zhu, Gong, Sun 2018, arXiv:1806.04606 (ONE), eq. 3 to 7: z_gate = Σ g_i z_i; L = Σ CE_i + CE_gate + Σ T² KL(p_gate ‖ p_i).
The ensemble is detached in the divergence: it teaches, and learns from the labels.
"""

import copy
import math
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.distill import Batch, Outputs
from edgekd.distill.learners import Told
from edgekd.distill.objective import Objective
from edgekd.distill.taps import spatial_taps
from edgekd.errors import InputError

TEMPERATURE = 3.0
"""Of the ensemble's targets, as in the paper, section 4."""
RAMP_SHARE = 0.25
"""Of all epochs, over which the divergence comes in: exp(-5 (1 - t)²), Laine and Aila 2017, arXiv:1610.02242; 80 of 300 there."""


class Collaborative(nn.Module):
    """A network whose part after the last change of resolution but one is there several times; the first branch ships.

    Args:
        networks: one `nn.Sequential` student a branch, alike but for their first weights; the first gives the trunk.
        objective: losses on logits only: the ensemble has nothing else.
        shape: of one input (C, H, W).
        epochs: of the training, over a quarter of which the divergence comes in.

    Raises:
        InputError: for a network that is no sequence or has a single resolution.
    """

    def __init__(self, networks: Sequence[nn.Module], objective: Objective, shape: tuple[int, ...], epochs: int) -> None:
        super().__init__()
        self.objective, self.ramp = objective, max(1.0, RAMP_SHARE * epochs)
        split = trunk_length(networks[0], shape)
        self.names = [name for name, _ in networks[0].named_children()]
        self.trunk = nn.Sequential(*list(networks[0].children())[:split])
        self.branches = nn.ModuleList([nn.Sequential(*list(network.children())[split:]) for network in networks])
        with torch.no_grad():
            channels = copy.deepcopy(self.trunk).eval()(torch.zeros(1, *shape)).shape[1]
        self.gate = nn.Linear(channels, len(networks))
        # Equal voices at first, and no draw from a global generator.
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def learn(self, batch: Batch, teachers: Sequence[Outputs]) -> Told:
        shared = self.trunk(batch.inputs)
        logits = [branch(shared) for branch in self.branches]
        gates = torch.softmax(self.gate(shared.mean((2, 3))), dim=1)
        ensemble = torch.einsum("bk,kbc->bc", gates, torch.stack(logits))
        parts: dict[str, Tensor] = {}
        for found in [*logits, ensemble]:
            for name, value in self.objective.parts(Outputs(logits=found), teachers, batch).items():
                parts[name] = parts[name] + value if name in parts else value
        parts["collaborative"] = self._weight(batch.epoch) * self._divergence(ensemble.detach(), logits)
        return Told(logits=logits[0], parts=parts)

    def _weight(self, epoch: int) -> float:
        return math.exp(-5 * (1 - min(1.0, (epoch + 1) / self.ramp)) ** 2)

    def _divergence(self, ensemble: Tensor, logits: Sequence[Tensor]) -> Tensor:
        target = F.log_softmax(ensemble / TEMPERATURE, dim=1)
        found = [F.kl_div(F.log_softmax(z / TEMPERATURE, dim=1), target, reduction="batchmean", log_target=True) for z in logits]
        return TEMPERATURE**2 * torch.stack(found).sum()

    def student(self) -> nn.Module:
        layers = [*self.trunk.children(), *self.branches[0].children()]
        return nn.Sequential(OrderedDict(zip(self.names, layers, strict=True)))


def trunk_length(network: nn.Module, shape: tuple[int, ...]) -> int:
    """How many children of a sequential network the branches share: all up to the last map of the second-smallest size.

    Raises InputError for a network that is no sequence, or has a single resolution.
    """
    # One with a `forward` of its own may do anything between its layers.
    if not isinstance(network, nn.Sequential) or type(network).forward is not nn.Sequential.forward:
        raise InputError("scheme 'collaborative' needs a student that is an nn.Sequential, as those of resnet and mbconv are")
    strides = sorted(spatial_taps(network, shape).items(), key=lambda item: int(item[0].removeprefix("stride")))
    if len(strides) < 2:
        raise InputError("scheme 'collaborative' needs a student that works at two resolutions at least")
    names = [name for name, _ in network.named_children()]
    return names.index(strides[-2][1].split(".")[0]) + 1
