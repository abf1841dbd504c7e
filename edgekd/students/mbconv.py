"""Inverted residuals: depthwise convolutions between 1x1 ones; few parameters and few operations for their accuracy.

Source: Sandler et al. 2018, arXiv:1801.04381 (section 3.3); ReLU instead of ReLU6, whose clipping costs int8 accuracy nothing
to leave out since activations are ranged by calibration.
"""

from collections.abc import Mapping

from torch import nn

from edgekd.students.layers import Residual, channels, classifier, conv_bn, input_sizes, stage_count
from edgekd.types import Scalar


class MbConvFamily:
    """Axes: width of the first stage, its growth by stage, blocks a stage, kernel, expansion, stride of the stem, skip."""

    def space(self, input_shape: tuple[int, ...]) -> dict[str, tuple[Scalar, ...]]:
        large = min(input_shape[1:]) >= 16
        return {
            "width": (8, 12, 16, 24, 32),
            "growth": (1.0, 1.5, 2.0),
            "depth": (1, 2, 3),
            "kernel": (3, 5),
            "expansion": (2, 3, 4, 6),
            "stem_stride": (2, 1) if large else (1,),
            "skip": (False, True),
            "input_size": input_sizes(input_shape),
        }

    def build(self, params: Mapping[str, Scalar], input_shape: tuple[int, ...], classes: int) -> nn.Module:
        width, growth = float(params["width"]), float(params["growth"])
        current = channels(width)
        layers: list[nn.Module] = [conv_bn(input_shape[0], current, 3, int(params["stem_stride"]))]
        for stage in range(stage_count(input_shape)):
            outputs = channels(width * growth**stage)
            for block in range(int(params["depth"])):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(
                    _block(current, outputs, int(params["kernel"]), stride, int(params["expansion"]), bool(params["skip"]))
                )
                current = outputs
        return nn.Sequential(*layers, *classifier(current, classes))


def _block(inputs: int, outputs: int, kernel: int, stride: int, expansion: int, skip: bool) -> nn.Module:
    inner = inputs * expansion
    body = nn.Sequential(
        conv_bn(inputs, inner),
        conv_bn(inner, inner, kernel, stride, groups=inner),
        conv_bn(inner, outputs, activation=False),
    )
    same = stride == 1 and inputs == outputs
    return Residual(body, nn.Identity() if skip and same else None, nn.Identity())


MBCONV = MbConvFamily()
