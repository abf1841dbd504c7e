"""From raw samples to what a model takes, by the contract alone: resize, then normalise."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edgekd.data import RawArray, normalise
from edgekd.types import Contract


def prepare(inputs: RawArray, contract: Contract) -> NDArray[np.float32]:
    """Raw samples (N, C, H, W) as float32 (N, C, h, w): resized to the contract's image size, then normalised."""
    if contract.image_size is not None:
        inputs = resize(inputs, contract.image_size)
    return normalise(inputs, contract)


def resize(images: RawArray, size: tuple[int, int]) -> NDArray[np.float32]:
    """Bilinear, half-pixel centres, no antialiasing (what every platform's simplest resize does): (N, C, H, W) to size."""
    rows, columns = interpolation(images.shape[2], size[0]), interpolation(images.shape[3], size[1])
    resized: NDArray[np.float32] = rows @ images.astype(np.float32) @ columns.T
    return resized


@lru_cache
def interpolation(source: int, target: int) -> NDArray[np.float32]:
    """(target, source) interpolation weights; each row sums to 1."""
    position = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, source - 1)
    weights = np.zeros((target, source), np.float32)
    np.add.at(weights, (np.arange(target), low), 1 - (position - low))
    np.add.at(weights, (np.arange(target), high), position - low)
    return weights
