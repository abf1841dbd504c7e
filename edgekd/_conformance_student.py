"""The student that the conformance suite builds when it is given none."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgekd.students.mbconv import MBCONV
from edgekd.students.program import weights_hash
from edgekd.target import FloatArray, Program
from edgekd.types import Contract

SIDE, CLASSES = 16, 10
TRAINING_SAMPLES, SAMPLES = 1200, 1000
PARAMS = {"width": 12, "growth": 1.5, "depth": 2, "kernel": 3, "expansion": 4, "stem_stride": 2, "skip": True}


def example_student() -> tuple[Program, FloatArray]:
    """See `edgekd.testing.example_student`."""
    rng = np.random.default_rng(0)
    prototypes = _smooth(rng)
    inputs, labels = _samples(rng, prototypes, TRAINING_SAMPLES)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = MBCONV.build(PARAMS, (1, SIDE, SIDE), CLASSES)
    fit(module, inputs, labels)
    contract = Contract(
        classes=tuple(f"picture {i}" for i in range(CLASSES)), mean=(0.0,), std=(1.0,), value_max=1.0, shape=(1, SIDE, SIDE)
    )
    program = Program(module=module, input_shape=(1, SIDE, SIDE), contract=contract, parent=weights_hash(module.state_dict()))
    return program, _samples(rng, prototypes, SAMPLES)[0]


def fit(module: nn.Module, inputs: FloatArray, labels: NDArray[np.int64], epochs: int = 6) -> None:
    """Train on (N, C, H, W) samples until the student is sure of most of them; leaves it in evaluation mode.

    On one thread: layers this small gain nothing from two, which wait for each other for minutes on a busy machine.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _fit(module, inputs, labels, epochs)
    finally:
        torch.set_num_threads(threads)


def _fit(module: nn.Module, inputs: FloatArray, labels: NDArray[np.int64], epochs: int) -> None:
    x, y, order = torch.from_numpy(inputs), torch.from_numpy(labels), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(module.parameters(), 1e-2)
    steps = epochs * -(-len(x) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, steps)
    module.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(x), generator=order).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(x[batch]), y[batch]).backward()
            optimizer.step()
            schedule.step()
    module.eval()


def _smooth(rng: np.random.Generator) -> FloatArray:
    """Pictures (CLASSES, SIDE, SIDE) of low frequencies, of unit variance."""
    waves = rng.standard_normal((CLASSES, 4, 4)) / (1 + np.add.outer(np.arange(4), np.arange(4)))
    phase = np.cos(np.pi * np.outer(np.arange(4), np.arange(SIDE) + 0.5) / SIDE)
    pictures = np.einsum("cuv,ux,vy->cxy", waves, phase, phase)
    pictures -= pictures.mean((1, 2), keepdims=True)
    return (pictures / pictures.std((1, 2), keepdims=True)).astype(np.float32)


def _samples(rng: np.random.Generator, prototypes: FloatArray, count: int) -> tuple[FloatArray, NDArray[np.int64]]:
    labels = rng.integers(0, CLASSES, count)
    shifts = rng.integers(-2, 3, (count, 2))
    shifted = [np.roll(prototypes[label], shift, (0, 1)) for label, shift in zip(labels, shifts, strict=True)]
    noise = 0.6 * rng.standard_normal((count, SIDE, SIDE))
    return (np.stack(shifted) + noise).astype(np.float32)[:, None], labels
