"""Pictures as tokens: what the vision transformer and the mixer begin with."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PATCHES = (16, 8, 4, 2)
"""Dearest last: half the side of a patch is four times the tokens."""
MAX_TOKENS = 400
"""Beyond it a student that mixes all tokens with all is no longer small; 2 x 2 patches of 32 x 32 pixels give 256."""


def grid(input_shape: tuple[int, ...], patch: int) -> tuple[int, int]:
    """(rows, columns) of patches that cover a picture (C, H, W); the last ones may reach over its border."""
    return math.ceil(input_shape[1] / patch), math.ceil(input_shape[2] / patch)


def patch_sizes(input_shape: tuple[int, ...], sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Sides of a patch worth trying, cheapest first, for pictures (C, H, W) that are resized to one of `sizes`.

    Larger patches mean fewer operations, but from some side on more weights: C * side² to embed one, against a weight for each
    position. The first is where the weights are fewest, so that it is the smallest in both.
    """
    channels = input_shape[0]
    square = input_shape[1] == input_shape[2]
    least = (channels, min(sizes), min(sizes)) if square else input_shape

    def weights(patch: int) -> int:
        return channels * patch**2 + math.prod(grid(least, patch))

    fewest = min(PATCHES, key=lambda patch: (weights(patch), -patch))
    smaller = (patch for patch in PATCHES if patch < fewest and math.prod(grid(input_shape, patch)) <= MAX_TOKENS)
    return (fewest, *smaller)


class PatchEmbedding(nn.Module):
    """(B, C, H, W) → tokens (B, N, width): one convolution as wide as its stride, and a learned vector for each place.

    The places are kept as a map (1, width, rows, columns), so that students of other widths share its first channels.
    """

    def __init__(self, input_shape: tuple[int, ...], patch: int, width: int, positions: bool) -> None:
        super().__init__()
        self.rows, self.columns = grid(input_shape, patch)
        self.over = (0, self.columns * patch - input_shape[2], 0, self.rows * patch - input_shape[1])
        self.projection = nn.Conv2d(input_shape[0], width, patch, patch)
        self.positions = nn.Parameter(torch.empty(1, width, self.rows, self.columns)) if positions else None
        if self.positions is not None:
            nn.init.trunc_normal_(self.positions, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        if any(self.over):
            x = F.pad(x, self.over)
        y: Tensor = self.projection(x)
        if self.positions is not None:
            y = y + self.positions
        return y.flatten(2).transpose(1, 2)
