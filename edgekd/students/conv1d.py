"""Depthwise-separable convolutions along time, for sound and sensors.

A sample (C, H, W) is C * H channels over W steps: a log-mel picture (1, bands, frames), or sensors (channels, 1, steps).

Source: Zhang et al. 2017, arXiv:1711.07128 (DS-CNN, section 4.2), with the bands as channels of a convolution along time: Choi et
al. 2019, arXiv:1904.03814 (TC-ResNet, section 3.1).
"""

from collections.abc import Mapping

from torch import Tensor, nn

from edgekd.students.layers import ACTIVATIONS, Residual, at_stage, by_stage, channels, in_stages
from edgekd.types import Scalar


class Conv1dFamily:
    """Axes: width of the first stage, its growth by stage, blocks a stage, kernel (steps), stride of the stem, skip, activation.
    `depth` and `kernel` may be given for single stages: `depth2`, `kernel3`."""

    def space(self, input_shape: tuple[int, ...]) -> dict[str, tuple[Scalar, ...]]:
        return {
            "width": (16, 24, 32, 48, 64),
            "growth": (1.0, 1.5, 2.0),
            "depth": (1, 2, 3),
            "kernel": (3, 5, 9),
            "stem_stride": stem_strides(input_shape),
            "skip": (False, True),
            "activation": ("relu", "relu6", "hard_swish"),
        }

    def elastic(self, input_shape: tuple[int, ...], coupled: bool) -> dict[str, tuple[Scalar, ...]]:
        """Coupled: one kernel for all stages, 243 students of 16 steps and more. Free: each stage has its own."""
        stages = stage_count(input_shape)
        return {
            "width": (16, 32, 48) if coupled else (16, 24, 32, 40, 48),
            "growth": (1.5,) if coupled else (1.0, 1.5, 2.0),
            **by_stage("depth", (1, 2, 3), stages),
            **({"kernel": (3, 5, 9)} if coupled else by_stage("kernel", (3, 5, 9), stages)),
            "stem_stride": stem_strides(input_shape)[:1],
            "skip": (True,),
            "activation": ("relu",),
        }

    def build(self, params: Mapping[str, Scalar], input_shape: tuple[int, ...], classes: int) -> nn.Module:
        width, growth, activation = float(params["width"]), float(params["growth"]), str(params.get("activation", "relu"))
        current = channels(width)
        inputs = input_shape[0] * input_shape[1]
        stem = nn.Sequential(AsChannels(), _conv(inputs, current, 3, int(params["stem_stride"]), activation=activation))
        stages = []
        for number in range(1, stage_count(input_shape) + 1):
            outputs, blocks = channels(width * growth ** (number - 1)), []
            kernel = int(at_stage(params, "kernel", number))
            for index in range(int(at_stage(params, "depth", number))):
                stride = 2 if number > 1 and index == 0 else 1
                blocks.append(_block(current, outputs, kernel, stride, bool(params["skip"]), activation))
                current = outputs
            stages.append(blocks)
        return in_stages(stem, stages, current, classes)


class AsChannels(nn.Module):
    """(B, C, H, W) → (B, C * H, 1, W): steps stay on an axis of pictures, for TFLite has convolutions of pictures alone."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.shape[2] == 1 else x.reshape(x.shape[0], x.shape[1] * x.shape[2], 1, x.shape[3])


def _conv(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, activation: str | None = None
) -> nn.Module:
    """Convolution along the last axis with 'same' padding, batch normalisation, and an activation of `ACTIVATIONS`, or None."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, (1, kernel), (1, stride), (0, kernel // 2), groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, ACTIVATIONS[activation]()) if activation else nn.Sequential(*layers)


def _block(inputs: int, outputs: int, kernel: int, stride: int, skip: bool, activation: str) -> nn.Module:
    """Depthwise along time, then pointwise; where the shape stays, added to what went in before the activation."""
    body = nn.Sequential(_conv(inputs, inputs, kernel, stride, groups=inputs, activation=activation), _conv(inputs, outputs))
    same = stride == 1 and inputs == outputs
    return Residual(body, nn.Identity() if skip and same else None, ACTIVATIONS[activation]())


def stage_count(input_shape: tuple[int, ...]) -> int:
    """Stages, each at half the steps of the one before: three from 16 steps on."""
    return 3 if input_shape[2] >= 16 else 2


def stem_strides(input_shape: tuple[int, ...]) -> tuple[Scalar, ...]:
    """Cheapest first; few steps are not halved at once."""
    return (2, 1) if input_shape[2] >= 32 else (1,)


CONV1D = Conv1dFamily()
