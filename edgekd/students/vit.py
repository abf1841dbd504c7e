"""Vision transformers: a picture as a row of patches that all look at each other.

Source: Dosovitskiy et al. 2021, arXiv:2010.11929; the mean of all tokens instead of a class token, and small patches for small
pictures: Beyer et al. 2022, arXiv:2205.01580 (section 3).
"""

from collections.abc import Mapping

from torch import Tensor, nn

from edgekd.students.layers import by_stage, channels, input_sizes
from edgekd.students.patches import PatchEmbedding, patch_sizes
from edgekd.students.transformer import add_blocks
from edgekd.types import Scalar

MAX_DEPTH = 4


class VitFamily:
    """Axes: side of a patch, width of a token, blocks, heads of 16 channels, hidden units by width (`mlp`), activation.
    `heads` and `mlp` may be given for single blocks: `heads2`, `mlp3`."""

    def space(self, input_shape: tuple[int, ...]) -> dict[str, tuple[Scalar, ...]]:
        sizes = input_sizes(input_shape)
        return {
            "patch": patch_sizes(input_shape, sizes),
            "width": (16, 24, 32, 48, 64),
            "depth": (1, 2, 3, 4, 6),
            "heads": (1, 2, 3, 4),
            "mlp": (1, 2, 4),
            "activation": ("relu", "gelu"),
            "input_size": sizes,
        }

    def elastic(self, input_shape: tuple[int, ...], coupled: bool) -> dict[str, tuple[Scalar, ...]]:
        """Coupled: the same heads and hidden units in all blocks, 108 students. Free: each block has its own.

        One patch and one input size: a place's vector means another place on another grid.
        """
        sizes = input_sizes(input_shape)
        shared: dict[str, tuple[Scalar, ...]] = {"heads": (1, 2, 3), "mlp": (1, 2, 3)}
        own = {**by_stage("heads", (1, 2, 3), MAX_DEPTH), **by_stage("mlp", (1, 2, 3, 4), MAX_DEPTH)}
        return {
            "patch": patch_sizes(input_shape, sizes)[:1],
            "width": (16, 32, 48) if coupled else (16, 24, 32, 40, 48),
            "depth": tuple(range(1, MAX_DEPTH + 1)),
            **(shared if coupled else own),
            "activation": ("relu",),
            "input_size": sizes[-1:],
        }

    def build(self, params: Mapping[str, Scalar], input_shape: tuple[int, ...], classes: int) -> nn.Module:
        return VisionTransformer(params, input_shape, classes)


class VisionTransformer(nn.Module):
    """(B, C, H, W) → logits (B, classes)."""

    def __init__(self, params: Mapping[str, Scalar], input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        width = channels(float(params["width"]))
        self.patches = PatchEmbedding(input_shape, int(params["patch"]), width, positions=True)
        self.blocks = add_blocks(self, params, width)
        self.norm, self.classifier = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x)
        for name in self.blocks:
            x = self.get_submodule(name)(x)
        logits: Tensor = self.classifier(self.norm(x).mean(1))
        return logits


VIT = VitFamily()
