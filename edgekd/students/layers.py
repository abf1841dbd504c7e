"""Layers that the student families share. All of them pass through the four converters without needless operators."""

from torch import Tensor, nn

CHANNEL_STEP = 4
"""Channels come in multiples of this: kernels of all four runtimes work on at least four lanes."""


def channels(width: float) -> int:
    """A width rounded to a whole number of lanes, at least one step."""
    return max(CHANNEL_STEP, CHANNEL_STEP * round(width / CHANNEL_STEP))


def conv_bn(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, activation: bool = True
) -> nn.Sequential:
    """Convolution with 'same' padding, batch normalisation, and a ReLU unless told otherwise."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, nn.ReLU()) if activation else nn.Sequential(*layers)


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


def classifier(features: int, classes: int) -> list[nn.Module]:
    """Global average pooling and one linear layer. `AdaptiveAvgPool2d` + `Flatten` converts to TFLite without a transpose."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, classes)]


def stage_count(input_shape: tuple[int, ...]) -> int:
    """Stages, each at half the resolution of the one before, such that the last works on at least 4 x 4 positions."""
    side = min(input_shape[1:])
    return 3 if side >= 16 else 2


def input_sizes(input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Input sizes worth trying: the given one, and from 16 up three quarters of it (half the work), cheapest first."""
    side = min(input_shape[1:])
    reduced = 4 * round(0.75 * side / 4)
    return (reduced, side) if side >= 16 and input_shape[1] == input_shape[2] else (side,)
