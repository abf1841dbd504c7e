"""The Fashion-MNIST teacher: a residual network of 0.7 M parameters."""

from torch import Tensor, nn
from torch.nn import functional as F


def conv_bn_relu(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU())


class Block(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv_bn_relu(channels_in, channels_out, stride)
        self.conv2 = nn.Sequential(nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False), nn.BatchNorm2d(channels_out))
        projects = stride != 1 or channels_in != channels_out
        self.skip = (
            nn.Sequential(nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out))
            if projects
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(self.conv1(x)) + self.skip(x))


class ResNet(nn.Module):
    """Images (B, 1, 28, 28), normalised by mean 0.2860 and deviation 0.3530 of pixels in 0..1, to logits (B, 10)."""

    def __init__(self, widths: tuple[int, ...] = (32, 64, 128), blocks: int = 2, classes: int = 10) -> None:
        super().__init__()
        self.stem = conv_bn_relu(1, widths[0], 1)
        layers, channels = [], widths[0]
        for stage, width in enumerate(widths):
            for block in range(blocks):
                layers.append(Block(channels, width, 2 if stage > 0 and block == 0 else 1))
                channels = width
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


def resnet() -> nn.Module:
    return ResNet()
