"""Weights that a loss has of its own (adapters, exits), made from the shapes of the tensors that it first sees."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor, nn

from edgekd.errors import InputError

Widths: TypeAlias = Mapping[str, tuple[int, ...]]
"""By feature key, the numbers of channels (or classes) that the key's module is made for."""


class Weights(nn.Module):
    """A module for each feature key, made at the first call, on the device and of the type of the student's tensors.

    Values are drawn on the CPU by a generator of its own, so they depend on `seed` alone and leave other draws as they were.

    Args:
        name: of the loss, for its refusals.
        seed: of the draws.
        build: from the channels of each key to its module.
    """

    def __init__(self, name: str, seed: int, build: Callable[[Widths], Mapping[str, nn.Module]]) -> None:
        super().__init__()
        self.name, self.seed, self.build = name, seed, build
        self.widths: Widths | None = None
        self.made = nn.ModuleDict()

    def of(self, widths: Widths, features: Mapping[str, Tensor]) -> dict[str, nn.Module]:
        """The modules by feature key. Raises InputError where they were made for other keys or channels."""
        if self.widths is None:
            self._make(widths, next(iter(features.values())))
        elif self.widths != widths:
            raise InputError(f"loss '{self.name}' was made for maps {_text(self.widths)}, now sees {_text(widths)}")
        return {key: self.made[_module_name(key)] for key in widths}

    def _make(self, widths: Widths, like: Tensor) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        # A first call under inference mode must not leave parameters that can never be trained.
        with torch.inference_mode(False):
            with torch.device("meta"):  # constructors draw values from the global generator elsewhere
                modules = self.build(widths)
            for key, module in sorted(modules.items()):
                module.to_empty(device="cpu")
                _draw(module, generator)
                self.made[_module_name(key)] = module.to(like.device, like.dtype)
        self.widths = dict(widths)


@torch.no_grad()
def _draw(module: nn.Module, generator: torch.Generator) -> None:
    """Normal values that keep the variance of what passes through (LeCun et al. 1998, section 4.6); biases 0."""
    for values in module.parameters():
        if values.ndim > 1:
            values.normal_(std=values[0].numel() ** -0.5, generator=generator)
        else:
            values.zero_()


def _module_name(key: str) -> str:
    """Module names may not hold dots, nor be those of a ModuleDict's own methods."""
    return "map_" + key.replace(".", "/")


def _text(widths: Widths) -> str:
    return ", ".join(f"{key} {'->'.join(map(str, numbers))}" for key, numbers in widths.items())
