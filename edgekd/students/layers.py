"""Layers that the student families share. All of them pass through the four converters without needless operators."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from edgekd.types import Scalar

ACTIVATIONS = {"relu": nn.ReLU, "relu6": nn.ReLU6, "hard_swish": nn.Hardswish, "silu": nn.SiLU}
"""Cheapest first. Every runtime fuses ReLU into the convolution before it; hard-swish is a pass over memory of its own on some,
and ReLU6 is its usual substitute there (Howard et al. 2019, arXiv:1905.02244, section 5.2)."""
CHANNEL_STEP = 4
"""Channels come in multiples of this: kernels of all four runtimes work on at least four lanes."""


def channels(width: float) -> int:
    """A width rounded to a whole number of lanes, at least one step."""
    return max(CHANNEL_STEP, CHANNEL_STEP * round(width / CHANNEL_STEP))


def conv_bn(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, activation: str | None = "relu"
) -> nn.Sequential:
    """Convolution with 'same' padding, batch normalisation, and an activation of `ACTIVATIONS`, or None."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, ACTIVATIONS[activation]()) if activation else nn.Sequential(*layers)


class Residual(nn.Module):
    """body(x) + shortcut(x), then the activation. Without a shortcut it is the activated body alone."""

    def __init__(self, body: nn.Module, shortcut: nn.Module | None, activation: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut, self.activation = body, shortcut, activation

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        out: Tensor = self.activation(y)
        return out


def in_stages(stem: nn.Module, stages: Sequence[Sequence[nn.Module]], features: int, classes: int) -> nn.Sequential:
    """Stem, the blocks of each stage, global average pooling and one linear layer.

    Each block is named by its place: students of different depths call the same block by the same name, and so can share its
    weights (students/sharing.py). `AdaptiveAvgPool2d` + `Flatten` converts to TFLite without a transpose.
    """
    layers: list[tuple[str, nn.Module]] = [("stem", stem)]
    for number, blocks in enumerate(stages, 1):
        layers += [(f"stage{number}_block{index}", block) for index, block in enumerate(blocks, 1)]
    head = [("pool", nn.AdaptiveAvgPool2d(1)), ("flatten", nn.Flatten()), ("classifier", nn.Linear(features, classes))]
    return nn.Sequential(OrderedDict(layers + head))


def at_stage(params: Mapping[str, Scalar], axis: str, number: int) -> Scalar:
    """The value of an axis in a stage, counted from 1: its own (`depth2`), else that of all stages (`depth`)."""
    return params.get(f"{axis}{number}", params.get(axis, 0))


def by_stage(axis: str, values: tuple[Scalar, ...], stages: int) -> dict[str, tuple[Scalar, ...]]:
    """An axis for each stage of its own: `depth1`, `depth2`, …"""
    return {f"{axis}{number}": values for number in range(1, stages + 1)}


def stage_count(input_shape: tuple[int, ...]) -> int:
    """Stages, each at half the resolution of the one before, such that the last works on at least 4 x 4 positions."""
    side = min(input_shape[1:])
    return 3 if side >= 16 else 2


def input_sizes(input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Input sizes worth trying: the given one, and from 16 up three quarters of it (half the work), cheapest first."""
    side = min(input_shape[1:])
    reduced = 4 * round(0.75 * side / 4)
    return (reduced, side) if side >= 16 and input_shape[1] == input_shape[2] else (side,)
