"""Train with weights rounded to few bits: a stage of a chain may end in the precision that ships.

Symmetric, one scale for each output channel, gradients straight through (Bengio et al. 2013, arXiv:1308.3432; Jacob et al.
2018, arXiv:1712.05877, section 3). Activations stay in floating point.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class RoundedWeight(nn.Module):
    """weight (out, …) to the nearest of 2^bits - 1 levels of its output channel."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.levels = 2 ** (bits - 1) - 1

    def forward(self, weight: Tensor) -> Tensor:
        largest = weight.detach().flatten(1).abs().amax(1).clamp_min(torch.finfo(weight.dtype).tiny)
        scale = (largest / self.levels).reshape(-1, *[1] * (weight.ndim - 1))
        rounded = (weight.detach() / scale).round().clamp(-self.levels, self.levels) * scale
        return weight + (rounded - weight).detach()


def with_rounded_weights(network: nn.Module, bits: int) -> nn.Module:
    """The network, its convolutions and linear layers rounding their weights in every forward pass."""
    for module in list(network.modules()):
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            parametrize.register_parametrization(module, "weight", RoundedWeight(bits))
    return network


def stripped(network: nn.Module) -> nn.Module:
    """The network with the rounded weights as its plain ones, under the names that its family gave them."""
    for module in list(network.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    return network
