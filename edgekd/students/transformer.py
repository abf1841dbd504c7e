"""The encoder block that the vision and the text transformer share, sliceable in width, heads and hidden units.

Source: Vaswani et al. 2017, arXiv:1706.03762 (section 3.2), normalised before each part as in Xiong et al. 2020,
arXiv:2002.04745. Slices by whole heads of one width: Chen et al. 2021, arXiv:2107.00651 (AutoFormer, section 3.3).
"""

from collections.abc import Mapping

from torch import Tensor, nn

from edgekd.students.layers import ACTIVATIONS, at_stage
from edgekd.types import Scalar

HEAD_WIDTH = 16
"""Channels of every head, in students of all widths: so that the first heads are the first rows of a matrix. Vector registers
hold 16 bytes or floats."""
TOKEN_ACTIVATIONS = {**ACTIVATIONS, "gelu": nn.GELU}
"""GELU is what transformers are usually trained with; ReLU is fused into the matrix product before it."""


class Attention(nn.Module):
    """Multi-head self-attention over (B, N, width). Queries, keys and values have a matrix each, for one matrix of all three
    could not be cut by heads from the front. The products are spelled out: all four converters know them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, heads * HEAD_WIDTH) for _ in range(3))
        self.out = nn.Linear(heads * HEAD_WIDTH, width)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """`bias`, (B, 1, 1, N), is added to every query's scores: far below 0 for tokens that must not be looked at."""
        queries, keys, values = self._split(self.query(x)), self._split(self.key(x)), self._split(self.value(x))
        scores = (queries * HEAD_WIDTH**-0.5) @ keys.transpose(2, 3)
        if bias is not None:
            scores = scores + bias
        mixed = (scores.softmax(-1) @ values).transpose(1, 2)
        out: Tensor = self.out(mixed.flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """(B, N, heads * HEAD_WIDTH) → (B, heads, N, HEAD_WIDTH)."""
        return x.unflatten(2, (self.heads, HEAD_WIDTH)).transpose(1, 2)


class FeedForward(nn.Module):
    """Two linear layers over the last axis with an activation of `TOKEN_ACTIVATIONS` between them."""

    def __init__(self, width: int, hidden: int, activation: str) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.activation = TOKEN_ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.outer(self.activation(self.inner(x)))
        return out


class EncoderBlock(nn.Module):
    """Attention, then a feed-forward part, each normalised before and added to what went in: (B, N, width) → the same."""

    def __init__(self, width: int, heads: int, hidden: int, activation: str) -> None:
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.mlp_norm, self.mlp = nn.LayerNorm(width), FeedForward(width, hidden, activation)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), bias)
        out: Tensor = x + self.mlp(self.mlp_norm(x))
        return out


def add_blocks(network: nn.Module, params: Mapping[str, Scalar], width: int) -> list[str]:
    """Encoder blocks `block1`, `block2`, … as `depth`, `heads`, `mlp` and `activation` say; returns their names.

    `heads` and `mlp` may be given for single blocks (`heads2`, `mlp3`).
    """
    names = []
    for number in range(1, int(params["depth"]) + 1):
        heads, ratio = int(at_stage(params, "heads", number)), float(at_stage(params, "mlp", number))
        block = EncoderBlock(width, heads, round(width * ratio), str(params.get("activation", "relu")))
        names.append(f"block{number}")
        network.add_module(names[-1], block)
    return names
