"""Residual networks: plain 3x3 convolutions, cheap to train and fast wherever dense convolutions are.

Source: He et al. 2016, arXiv:1512.03385 (basic and bottleneck blocks, section 4.1).
"""

from collections.abc import Mapping

from torch import nn

from edgekd.students.layers import Residual, channels, classifier, conv_bn, input_sizes, stage_count
from edgekd.types import Scalar


class ResNetFamily:
    """Axes: width of the first stage, its growth by stage, blocks a stage, kernel, bottleneck (0 is the basic block), skip."""

    def space(self, input_shape: tuple[int, ...]) -> dict[str, tuple[Scalar, ...]]:
        return {
            "width": (8, 12, 16, 24, 32),
            "growth": (1.0, 1.5, 2.0),
            "depth": (1, 2, 3),
            "kernel": (3, 5),
            "bottleneck": (0.25, 0.5, 0.0),
            "skip": (False, True),
            "input_size": input_sizes(input_shape),
        }

    def build(self, params: Mapping[str, Scalar], input_shape: tuple[int, ...], classes: int) -> nn.Module:
        width, growth, kernel = float(params["width"]), float(params["growth"]), int(params["kernel"])
        current = channels(width)
        layers: list[nn.Module] = [conv_bn(input_shape[0], current, 3)]
        for stage in range(stage_count(input_shape)):
            outputs = channels(width * growth**stage)
            for block in range(int(params["depth"])):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(_block(current, outputs, kernel, stride, float(params["bottleneck"]), bool(params["skip"])))
                current = outputs
        return nn.Sequential(*layers, *classifier(current, classes))


def _block(inputs: int, outputs: int, kernel: int, stride: int, bottleneck: float, skip: bool) -> nn.Module:
    if bottleneck:
        inner = channels(outputs * bottleneck)
        body = nn.Sequential(
            conv_bn(inputs, inner), conv_bn(inner, inner, kernel, stride), conv_bn(inner, outputs, activation=False)
        )
    else:
        body = nn.Sequential(conv_bn(inputs, outputs, kernel, stride), conv_bn(outputs, outputs, kernel, activation=False))
    if not skip:
        return Residual(body, None, nn.ReLU())
    same = stride == 1 and inputs == outputs
    return Residual(body, nn.Identity() if same else conv_bn(inputs, outputs, 1, stride, activation=False), nn.ReLU())


RESNET = ResNetFamily()
