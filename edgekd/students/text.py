"""Small transformer encoders over token numbers.

A sample holds a text's token numbers as plain values, (1, 1, L): `x` of an .npz is (N, 1, L), int32 or float32 (uint8 would be
taken for pixels), with `mean = [0.0]` and `std = [1.0]` in `[data]`, so that they come in as they are. 0 is padding, 1 an unknown
token, and the others are numbered by falling frequency: a vocabulary of V takes numbers below V, and what is rarer is unknown to
it. Samples of other shapes are read in a row.

Where numbers are rounded, tokens are mistaken for others: fp16 of ONNX Runtime takes its input in half precision, which is exact
up to 2,048, and w8a8 of TFLite in 256 steps over the calibrated range, which never hit. Verification refuses such an artifact.
The other precisions, and the other targets at all of theirs, read numbers up to 32,767 as they are.

Source: Vaswani et al. 2017, arXiv:1706.03762 (encoder); learned places and the mean over tokens as in Reimers, Gurevych 2019,
arXiv:1908.10084 (section 3).
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from edgekd.students.layers import by_stage, channels
from edgekd.students.transformer import add_blocks
from edgekd.types import Scalar

MAX_TOKENS, MAX_DEPTH = 512, 3
"""Attention costs the square of the tokens; longer texts are cut off."""
HIDDEN = -20.0
"""Added to the scores of padding, whose share of a softmax is then 2e-9; far lower, and eight bits for all scores would not tell
the others apart (w8a8 of ONNX Runtime agreed on 34 % of answers with -10,000, on 94 % with -20)."""


class TextFamily:
    """Axes: tokens known (`vocabulary`), tokens read (`length`), width of a token, blocks, heads of 16 channels, hidden units by
    width (`mlp`), activation. `heads` and `mlp` may be given for single blocks: `heads2`, `mlp3`."""

    def space(self, input_shape: tuple[int, ...]) -> dict[str, tuple[Scalar, ...]]:
        return {
            "vocabulary": (1000, 2000, 4000, 8000),
            "length": lengths(input_shape),
            "width": (16, 24, 32, 48, 64),
            "depth": (1, 2, 3, 4),
            "heads": (1, 2, 3, 4),
            "mlp": (1, 2, 4),
            "activation": ("relu", "gelu"),
        }

    def elastic(self, input_shape: tuple[int, ...], coupled: bool) -> dict[str, tuple[Scalar, ...]]:
        """Coupled: the same heads and hidden units in all blocks, 324 students where texts may be cut. Free: each has its own."""
        shared: dict[str, tuple[Scalar, ...]] = {"heads": (1, 2, 3), "mlp": (1, 2)}
        own = {**by_stage("heads", (1, 2, 3), MAX_DEPTH), **by_stage("mlp", (1, 2, 4), MAX_DEPTH)}
        return {
            "vocabulary": (1000, 2000, 4000),
            "length": lengths(input_shape),
            "width": (16, 32, 48) if coupled else (16, 24, 32, 40, 48),
            "depth": tuple(range(1, MAX_DEPTH + 1)),
            **(shared if coupled else own),
            "activation": ("relu",),
        }

    def build(self, params: Mapping[str, Scalar], input_shape: tuple[int, ...], classes: int) -> nn.Module:
        return TextTransformer(params, input_shape, classes)


def lengths(input_shape: tuple[int, ...]) -> tuple[Scalar, ...]:
    """Tokens to read, cheapest first: half of them, where that is 8 and more, and all."""
    whole = min(math.prod(input_shape), MAX_TOKENS)
    return (whole // 2, whole) if whole >= 16 else (whole,)


class TextTransformer(nn.Module):
    """Token numbers (B, 1, 1, L) in float32 → logits (B, classes)."""

    def __init__(self, params: Mapping[str, Scalar], input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.vocabulary = int(params["vocabulary"])
        self.length = min(int(params["length"]), math.prod(input_shape))
        width = channels(float(params["width"]))
        self.tokens = nn.Embedding(self.vocabulary, width)
        self.positions = nn.Parameter(torch.empty(1, self.length, width))
        nn.init.trunc_normal_(self.tokens.weight, std=0.02)
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.blocks = add_blocks(self, params, width)
        self.norm, self.classifier = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        numbers = x.to(torch.int32).flatten(1)  # first of all: runtimes may round floats
        if numbers.shape[1] > self.length:  # coremltools 9 does not know a slice that takes all
            numbers = numbers[:, : self.length]
        numbers = torch.maximum(numbers, torch.zeros_like(numbers))  # `clamp` and scalars pass through floats in Core ML
        present = (numbers > 0).to(torch.int32)  # (B, L): 1, and 0 for padding; 1 is the unknown token's number too
        y = self.tokens(torch.where(numbers < self.vocabulary, numbers, present)) + self.positions
        present = present.to(x.dtype)
        bias = ((1 - present) * HIDDEN)[:, None, None]
        for name in self.blocks:
            y = self.get_submodule(name)(y, bias)
        weights = present / present.sum(1, keepdim=True).clamp(min=1.0)
        logits: Tensor = self.classifier((self.norm(y) * weights[..., None]).sum(1))
        return logits


TEXT = TextFamily()
