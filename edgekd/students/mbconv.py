"""Inverted residuals: depthwise convolutions between 1x1 ones; few parameters and few operations for their accuracy.

Source: Sandler et al. 2018, arXiv:1801.04381 (section 3.3); ReLU instead of ReLU6, whose clipping costs int8 accuracy nothing
to leave out since activations are ranged by calibration. Coupling depth and expansion: Sahni et al. 2021, arXiv:2104.12642.
"""

from collections.abc import Mapping

from torch import nn

from edgekd.students.layers import Residual, at_stage, by_stage, channels, conv_bn, in_stages, input_sizes, stage_count
from edgekd.types import Scalar


class MbConvFamily:
    """Axes: width of the first stage, its growth by stage, blocks a stage, kernel, expansion (0 is one more than the blocks of
    the stage), stride of the stem, skip, activation. `depth`, `kernel` and `expansion` may be given for single stages."""

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
            "activation": ("relu", "relu6", "hard_swish"),
            "input_size": input_sizes(input_shape),
        }

    def elastic(self, input_shape: tuple[int, ...], coupled: bool) -> dict[str, tuple[Scalar, ...]]:
        """Coupled: depth and expansion of a stage grow together, 324 students of 28 pixels. Free: each stage has its own."""
        stages = stage_count(input_shape)
        own = {**by_stage("expansion", (2, 3, 4), stages), **by_stage("kernel", (3, 5), stages)}
        return {
            "width": (8, 16, 24) if coupled else (8, 12, 16, 20, 24),
            "growth": (1.5,),
            **by_stage("depth", (1, 2, 3), stages),
            **({"expansion": (0,), "kernel": (3, 5)} if coupled else own),
            "stem_stride": (2,) if min(input_shape[1:]) >= 16 else (1,),
            "skip": (True,),
            "activation": ("relu",),
            "input_size": input_sizes(input_shape),
        }

    def build(self, params: Mapping[str, Scalar], input_shape: tuple[int, ...], classes: int) -> nn.Module:
        width, growth, activation = float(params["width"]), float(params["growth"]), str(params.get("activation", "relu"))
        current = channels(width)
        stem, stages = conv_bn(input_shape[0], current, 3, int(params["stem_stride"]), activation=activation), []
        for number in range(1, stage_count(input_shape) + 1):
            outputs, blocks = channels(width * growth ** (number - 1)), []
            depth, kernel = int(at_stage(params, "depth", number)), int(at_stage(params, "kernel", number))
            expansion = int(at_stage(params, "expansion", number)) or depth + 1
            for index in range(depth):
                stride = 2 if number > 1 and index == 0 else 1
                blocks.append(_block(current, outputs, kernel, stride, expansion, bool(params["skip"]), activation))
                current = outputs
            stages.append(blocks)
        return in_stages(stem, stages, current, classes)


def _block(inputs: int, outputs: int, kernel: int, stride: int, expansion: int, skip: bool, activation: str) -> nn.Module:
    inner = inputs * expansion
    body = nn.Sequential(
        conv_bn(inputs, inner, activation=activation),
        conv_bn(inner, inner, kernel, stride, groups=inner, activation=activation),
        conv_bn(inner, outputs, activation=None),
    )
    same = stride == 1 and inputs == outputs
    return Residual(body, nn.Identity() if skip and same else None, nn.Identity())


MBCONV = MbConvFamily()
