"""edgekd's student family `resnet` written with torch alone: what a rival trains, from the very weights that edgekd starts with.

A rival's environment has no edgekd. `kd_cost.py` refuses to run where the two networks answer differently.

Source: He et al. 2016, arXiv:1512.03385 (basic and bottleneck blocks, section 4.1).
"""

from collections import OrderedDict

from torch import Tensor, nn

LANES = 4
STAGES = 3


def resnet(width: float, growth: float, depth: int, kernel: int, bottleneck: float, skip: bool, classes: int = 10) -> nn.Module:
    """Images (B, 1, H, W), H and W from 16 up, to logits (B, classes)."""
    current = rounded(width)
    layers: dict[str, nn.Module] = {"stem": conv_bn_relu(1, current, 3)}
    for stage in range(STAGES):
        outputs = rounded(width * growth**stage)
        for block in range(depth):
            stride = 2 if stage > 0 and block == 0 else 1
            layers[f"stage{stage + 1}_block{block + 1}"] = Block(current, outputs, kernel, stride, bottleneck, skip)
            current = outputs
    layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "classifier": nn.Linear(current, classes)}
    return nn.Sequential(OrderedDict(layers))


class Block(nn.Module):
    """relu(body(x) + shortcut(x)); relu(body(x)) without a skip."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, bottleneck: float, skip: bool) -> None:
        super().__init__()
        if bottleneck:
            inner = rounded(outputs * bottleneck)
            self.body = nn.Sequential(
                conv_bn_relu(inputs, inner, 1), conv_bn_relu(inner, inner, kernel, stride), conv_bn(inner, outputs, 1)
            )
        else:
            self.body = nn.Sequential(conv_bn_relu(inputs, outputs, kernel, stride), conv_bn(outputs, outputs, kernel))
        same = stride == 1 and inputs == outputs
        self.shortcut = (nn.Identity() if same else conv_bn(inputs, outputs, 1, stride)) if skip else None
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        y = y if self.shortcut is None else y + self.shortcut(x)
        out: Tensor = self.activation(y)
        return out


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs))


def conv_bn_relu(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(*conv_bn(inputs, outputs, kernel, stride), nn.ReLU())


def rounded(width: float) -> int:
    return max(LANES, LANES * round(width / LANES))
