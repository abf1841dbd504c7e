"""MLP-Mixers: linear layers over the patches of a picture in turn with linear layers over their channels; no attention.

Source: Tolstikhin et al. 2021, arXiv:2105.01601 (section 2, equation 1).
"""

from collections.abc import Mapping

from torch import Tensor, nn

from edgekd.students.layers import at_stage, by_stage, channels, input_sizes
from edgekd.students.patches import PatchEmbedding, patch_sizes
from edgekd.students.transformer import FeedForward
from edgekd.types import Scalar

MAX_DEPTH = 4


class MixerFamily:
    """Axes: side of a patch, width of a token, blocks, hidden units of the layers over tokens (`token_mlp`, a number) and over
    channels (`mlp`, by width), activation. `token_mlp` and `mlp` may be given for single blocks: `mlp2`."""

    def space(self, input_shape: tuple[int, ...]) -> dict[str, tuple[Scalar, ...]]:
        sizes = input_sizes(input_shape)
        return {
            "patch": patch_sizes(input_shape, sizes),
            "width": (16, 24, 32, 48, 64),
            "depth": (1, 2, 3, 4, 6),
            "token_mlp": (8, 16, 32, 64),
            "mlp": (1, 2, 4),
            "activation": ("relu", "gelu"),
            "input_size": sizes,
        }

    def elastic(self, input_shape: tuple[int, ...], coupled: bool) -> dict[str, tuple[Scalar, ...]]:
        """Coupled: the same hidden units in all blocks, 108 students. Free: each block has its own.

        One patch and one input size, for a linear layer over tokens knows each by its place.
        """
        sizes = input_sizes(input_shape)
        shared: dict[str, tuple[Scalar, ...]] = {"token_mlp": (8, 16, 32), "mlp": (1, 2, 3)}
        own = {**by_stage("token_mlp", (8, 16, 24, 32), MAX_DEPTH), **by_stage("mlp", (1, 2, 3, 4), MAX_DEPTH)}
        return {
            "patch": patch_sizes(input_shape, sizes)[:1],
            "width": (16, 32, 48) if coupled else (16, 24, 32, 40, 48),
            "depth": tuple(range(1, MAX_DEPTH + 1)),
            **(shared if coupled else own),
            "activation": ("relu",),
            "input_size": sizes[-1:],
        }

    def build(self, params: Mapping[str, Scalar], input_shape: tuple[int, ...], classes: int) -> nn.Module:
        return Mixer(params, input_shape, classes)


class MixerBlock(nn.Module):
    """Tokens (B, N, width) → the same: mixed among themselves, then each among its channels."""

    def __init__(self, tokens: int, width: int, token_hidden: int, hidden: int, activation: str) -> None:
        super().__init__()
        self.token_norm, self.token_mlp = nn.LayerNorm(width), FeedForward(tokens, token_hidden, activation)
        self.mlp_norm, self.mlp = nn.LayerNorm(width), FeedForward(width, hidden, activation)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.token_mlp(self.token_norm(x).transpose(1, 2)).transpose(1, 2)
        out: Tensor = x + self.mlp(self.mlp_norm(x))
        return out


class Mixer(nn.Module):
    """(B, C, H, W) → logits (B, classes)."""

    def __init__(self, params: Mapping[str, Scalar], input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        width, activation = channels(float(params["width"])), str(params.get("activation", "relu"))
        self.patches = PatchEmbedding(input_shape, int(params["patch"]), width, positions=False)
        self.blocks = [f"block{number}" for number in range(1, int(params["depth"]) + 1)]
        for number, name in enumerate(self.blocks, 1):
            token_hidden, ratio = int(at_stage(params, "token_mlp", number)), float(at_stage(params, "mlp", number))
            tokens = self.patches.rows * self.patches.columns
            self.add_module(name, MixerBlock(tokens, width, token_hidden, round(width * ratio), activation))
        self.norm, self.classifier = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x)
        for name in self.blocks:
            x = self.get_submodule(name)(x)
        logits: Tensor = self.classifier(self.norm(x).mean(1))
        return logits


MIXER = MixerFamily()
