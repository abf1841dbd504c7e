"""Samples that each student family is made for, four classes each, learnt within a few steps."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

CLASSES = 4
Samples = tuple[NDArray[np.float32], NDArray[np.int64]]
FIRST_WORD = 3000
"""The words that tell a text's class are neighbours above 2,048: half precision takes one for another."""


def pictures(rng: np.random.Generator, labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """(N, 1, 8, 8): each class is brighter in its own quarter."""
    made = rng.normal(0, 1, (len(labels), 1, 8, 8))
    for row, label in enumerate(labels):
        y, x = divmod(int(label), 2)
        made[row, 0, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4] += 2.5
    return made.astype(np.float32)


def sounds(rng: np.random.Generator, labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """(N, 1, 8, 24), 8 bands over 24 frames: a band rises or falls, early or late."""
    made = rng.normal(0, 0.5, (len(labels), 1, 8, 24))
    for row, label in enumerate(labels):
        start, band = 12 * (int(label) // 2) + rng.integers(0, 4), np.arange(8)
        made[row, 0, band if label % 2 else band[::-1], start + band] += 3
    return made.astype(np.float32)


def texts(rng: np.random.Generator, labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """(N, 1, 1, 16) token numbers, the last ones padding: two words among others tell the class."""
    made = rng.integers(2, 5000, (len(labels), 1, 1, 16))
    made[(made >= FIRST_WORD) & (made < FIRST_WORD + CLASSES)] = 1
    for row, label in enumerate(labels):
        length = rng.integers(6, 17)
        made[row, 0, 0, rng.choice(length, 2, replace=False)] = FIRST_WORD + label
        made[row, 0, 0, length:] = 0
    return made.astype(np.float32)


MAKERS: dict[str, Callable[[np.random.Generator, NDArray[np.int64]], NDArray[np.float32]]] = {
    "vit": pictures,
    "mixer": pictures,
    "conv1d": sounds,
    "text": texts,
}


def family_data(family: str, count: int, seed: int = 0) -> Samples:
    """(inputs (N, C, H, W), labels (N,)) for a family, decided by the seed."""
    labels = np.arange(count) % CLASSES
    return MAKERS[family](np.random.default_rng(seed), labels), labels.astype(np.int64)
