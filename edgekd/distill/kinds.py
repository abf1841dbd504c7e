"""Which kinds of building blocks a network is made of. Imported once torch is needed."""

from contextlib import ExitStack

import torch
from torch import nn

from edgekd.distill.taps import evaluating


def kinds_of(network: nn.Module, shape: tuple[int, ...]) -> frozenset[str]:
    """The kinds of blocks that make two architectures alike or unlike: those that mix the places of a picture.

    1x1 convolutions mix channels alone and are in all of them; so is a first convolution, which only takes the picture in.

    Args:
        network: any; it is run once on zeros.
        shape: of one input (C, H, W).

    Returns:
        Of `dense convolution`, `depthwise convolution`, `attention` (by the names of classes) and `linear over tokens`.
    """
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)]
    inner = convolutions[1:] or convolutions
    kinds = {_kind(convolution) for convolution in inner if max(convolution.kernel_size) > 1}
    if any("attention" in type(module).__name__.lower() for module in network.modules()):
        kinds.add("attention")
    if any(_given_sequences(network, shape)):
        kinds.add("linear over tokens")
    return frozenset(kinds)


def _kind(convolution: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> str:
    return "depthwise convolution" if 1 < convolution.groups == convolution.in_channels else "dense convolution"


def _given_sequences(network: nn.Module, shape: tuple[int, ...]) -> list[bool]:
    """Of each linear layer that is run: whether it is given sequences (B, N, D)."""
    found: list[bool] = []
    with ExitStack() as hooks, evaluating(network), torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Linear):
                hook = module.register_forward_pre_hook(lambda module, given: found.append(given[0].ndim == 3))
                hooks.callback(hook.remove)
        parameter = next(network.parameters(), None)
        network(torch.zeros(1, *shape, device=None if parameter is None else parameter.device))
    return found
