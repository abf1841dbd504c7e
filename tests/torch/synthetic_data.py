"""A small data set that a linear model learns, a teacher that knows it, and a student for the null target."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekd.data import Data, Split
from edgekd.distill import trainer
from edgekd.target import Program
from edgekd.teachers import TeacherOutputs
from edgekd.types import Contract, Scalar, digest

CLASSES, SIDE = 4, 8
CONTRACT = Contract(classes=tuple("abcd"), mean=(0.5,), std=(0.25,), value_max=255.0, shape=(1, SIDE, SIDE))


def synthetic(seed: int = 0, train: int = 300, held: int = 100) -> Data:
    """Grey pictures (N, 1, 8, 8), uint8: each class is brighter in its own quarter."""
    rng = np.random.default_rng(seed)
    count = train + 2 * held
    labels = np.arange(count) % CLASSES
    pictures = rng.normal(110, 40, (count, 1, SIDE, SIDE))
    half = SIDE // 2
    for row, label in enumerate(labels):
        y, x = divmod(int(label), 2)
        pictures[row, 0, y * half : (y + 1) * half, x * half : (x + 1) * half] += 60
    inputs = pictures.clip(0, 255).astype(np.uint8)

    def part(start: int, stop: int) -> Split:
        return Split(inputs=inputs[start:stop], labels=labels[start:stop].astype(np.int64), ids=np.arange(start, stop))

    parts = part(0, train), part(train, train + held), part(train + held, count)
    return Data(
        name="synthetic",
        train=parts[0],
        validation=parts[1],
        test=parts[2],
        contract=CONTRACT,
        fingerprint=digest([seed, train, held]),
    )


class QuarterTeacher:
    """Answers with the mean of each quarter; counts the samples that it was asked about, and may fail after some."""

    name, params = "quarters", 4

    def __init__(self, scale: float = 4.0, fails_after: int | None = None) -> None:
        self.scale, self.fails_after, self.asked = scale, fails_after, 0
        self.fingerprint = digest(scale)

    def outputs(self, inputs: NDArray[np.float32]) -> TeacherOutputs:
        self.asked += len(inputs)
        if self.fails_after is not None and self.asked > self.fails_after:
            raise KeyboardInterrupt
        half = SIDE // 2
        quarters = inputs.reshape(len(inputs), 2, half, 2, half).mean(axis=(2, 4)).reshape(len(inputs), CLASSES)
        return TeacherOutputs(logits=(self.scale * quarters).astype(np.float32), embedding=quarters.astype(np.float32))


class Linear(nn.Module):
    """What the null target builds: `weight` (classes, features) and `bias` (classes,)."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        layer = nn.Linear(features, classes)
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, inputs: Tensor) -> Tensor:
        return nn.functional.linear(inputs.flatten(1), self.weight, self.bias)


class LinearFamily:
    """One axis: the input's size."""

    def space(self, input_shape: tuple[int, ...]) -> dict[str, tuple[Scalar, ...]]:
        return {"input_size": (input_shape[1] // 2, input_shape[1])}

    def build(self, params: Mapping[str, Scalar], input_shape: tuple[int, ...], classes: int) -> nn.Module:
        return Linear(int(np.prod(input_shape)), classes)


LINEAR = LinearFamily()


def linear_program(seed: int = 0) -> Program:
    """A linear student, its weights from a seed."""
    torch.manual_seed(seed)
    return Program(module=Linear(SIDE * SIDE, CLASSES).eval(), input_shape=CONTRACT.shape, contract=CONTRACT, parent=digest(seed))


def small_net(seed: int = 0) -> nn.Module:
    """A convolutional student with batch normalisation, its weights from a seed."""
    torch.manual_seed(seed)
    body = (nn.Conv2d(1, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(32, CLASSES))


def equal_states(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two state dicts hold the same names and the same bits."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def cut_at_step(monkeypatch: pytest.MonkeyPatch, cut: int) -> None:
    """Interrupt whatever trains right after its `cut`-th step, counted over all trainings from here on; once."""
    steps, real = [0], trainer.Trainer._step

    def counted(self: Any, *batch: Any) -> None:
        real(self, *batch)
        steps[0] += 1
        if steps[0] == cut:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer.Trainer, "_step", counted)
