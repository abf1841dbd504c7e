"""Residual networks: plain 3x3 convolutions, cheap to train and fast wherever dense convolutions are.

Source: He et al. 2016, arXiv:1512.03385 (basic and bottleneck blocks, section 4.1).
"""

from collections.abc import Mapping

from torch import nn

from edgekd.students.layers import (
    ACTIVATIONS,
    Residual,
    at_stage,
    by_stage,
    channels,
    conv_bn,
    in_stages,
    input_sizes,
    stage_count,
)
from edgekd.types import Scalar


class ResNetFamily:
    """Axes: width of the first stage, its growth by stage, blocks a stage, kernel, bottleneck (0 is the basic block), skip,
    activation. `depth`, `kernel` and `bottleneck` may be given for single stages: `depth2`, `bottleneck3`."""

    def space(self, input_shape: tuple[int, ...]) -> dict[str, tuple[Scalar, ...]]:
        return {
            "width": (8, 12, 16, 24, 32),
            "growth": (1.0, 1.5, 2.0),
            "depth": (1, 2, 3),
            "kernel": (3, 5),
            "bottleneck": (0.25, 0.5, 0.0),
            "skip": (False, True),
            "activation": ("relu",),
            "input_size": input_sizes(input_shape),
        }

    def elastic(self, input_shape: tuple[int, ...], coupled: bool) -> dict[str, tuple[Scalar, ...]]:
        """Coupled: one width, growth and kernel for all stages, 162 students of 28 pixels. Free: a kernel for each stage too."""
        stages = stage_count(input_shape)
        return {
            "width": (8, 12, 16) if coupled else (8, 12, 16, 20, 24),
            "growth": (1.5,) if coupled else (1.0, 1.5, 2.0),
            **by_stage("depth", (1, 2, 3), stages),
            **({"kernel": (3,)} if coupled else by_stage("kernel", (3, 5), stages)),
            "bottleneck": (0.0,),
            "skip": (True,),
            "activation": ("relu",),
            "input_size": input_sizes(input_shape),
        }

    def build(self, params: Mapping[str, Scalar], input_shape: tuple[int, ...], classes: int) -> nn.Module:
        width, growth, activation = float(params["width"]), float(params["growth"]), str(params.get("activation", "relu"))
        current = channels(width)
        stem, stages = conv_bn(input_shape[0], current, 3, activation=activation), []
        for number in range(1, stage_count(input_shape) + 1):
            outputs, blocks = channels(width * growth ** (number - 1)), []
            kernel, bottleneck = int(at_stage(params, "kernel", number)), float(at_stage(params, "bottleneck", number))
            for index in range(int(at_stage(params, "depth", number))):
                stride = 2 if number > 1 and index == 0 else 1
                blocks.append(_block(current, outputs, kernel, stride, bottleneck, bool(params["skip"]), activation))
                current = outputs
            stages.append(blocks)
        return in_stages(stem, stages, current, classes)


def _block(inputs: int, outputs: int, kernel: int, stride: int, bottleneck: float, skip: bool, activation: str) -> nn.Module:
    if bottleneck:
        inner = channels(outputs * bottleneck)
        body = nn.Sequential(
            conv_bn(inputs, inner, activation=activation),
            conv_bn(inner, inner, kernel, stride, activation=activation),
            conv_bn(inner, outputs, activation=None),
        )
    else:
        body = nn.Sequential(
            conv_bn(inputs, outputs, kernel, stride, activation=activation), conv_bn(outputs, outputs, kernel, activation=None)
        )
    after = ACTIVATIONS[activation]()
    if not skip:
        return Residual(body, None, after)
    same = stride == 1 and inputs == outputs
    return Residual(body, nn.Identity() if same else conv_bn(inputs, outputs, 1, stride, activation=None), after)


RESNET = ResNetFamily()
