"""Two small students, trained for a second on scikit-learn's digits, for the tests of the Core ML target."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgekd.target import Program
from edgekd.types import Contract, digest
from edgekd_coreml.toolchain import toolchain

CLASSES = tuple("0123456789")


class InvertedResidual(nn.Module):
    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        wide = channels * 4
        self.body = nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.Hardswish(),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            nn.Conv2d(wide, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.skip = channels == out and stride == 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.body(x)
        return x + y if self.skip else y


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.body(x))


def inverted() -> nn.Module:
    stem = [nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    blocks = [InvertedResidual(16, 16, 1), InvertedResidual(16, 24, 2), InvertedResidual(24, 24, 1)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10))


def residual() -> nn.Module:
    stem = [nn.Conv2d(1, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*stem, Residual(24), Residual(24), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10))


def coremltools() -> Any:
    """The library, imported as the target imports it: without the frameworks that it merely looks for."""
    with toolchain("convert") as library:
        return library


def trained(make: Any) -> tuple[Program, NDArray[np.float32]]:
    """(a student trained on 797 digits, the other 1,000 as inputs (1000, 1, 8, 8))."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    inputs = (digits.images[order, None] / 16).astype(np.float32)
    labels = torch.from_numpy(digits.target[order])
    torch.manual_seed(0)
    module, generator = make(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(module.parameters(), lr=5e-3)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # batches this small only wait for a second thread, long where the machine is busy
    for _ in range(12):
        for batch in torch.randperm(797, generator=generator).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(torch.from_numpy(inputs)[batch]), labels[batch]).backward()
            optimizer.step()
    torch.set_num_threads(threads)
    return program_of(module.eval()), inputs[797:]


def program_of(module: nn.Module) -> Program:
    """The module as converters are given it: 8×8 grey digits in, ten classes out."""
    contract = Contract(classes=CLASSES, mean=(0.0,), std=(1.0,), value_max=16.0, shape=(1, 8, 8))
    return Program(module=module, input_shape=(1, 8, 8), contract=contract, parent=digest("digits"))
