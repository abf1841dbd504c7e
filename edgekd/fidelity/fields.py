"""What the corruptions are made of: numbers drawn by each sample's own hash, smooth fields, resampling.

Pictures here are float32 from 0 to 1, (B, C, H, W).
"""

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgekd.data.views import GAMMA, draws, mix

Floats: TypeAlias = NDArray[np.float32]

MANTISSA_BITS = 24
"""Of float32: as many random bits as it can hold."""


class Draws:
    """Numbers for a batch; those of a sample depend on (seed, stream, its id) and on how many were taken before.

    Source: Steele, Lea, Flood 2014, splitmix64: each sample has a sequence of its own, read at a counter.
    """

    def __init__(self, seed: int, stream: int, ids: NDArray[np.int64]) -> None:
        self._keys = draws(seed, stream, ids)
        self._taken = 0

    def uniform(self, *shape: int) -> Floats:
        """(B, *shape), within 0 to 1; never 0, whose logarithm is none."""
        count = math.prod(shape)
        counters = np.arange(self._taken + 1, self._taken + count + 1, dtype=np.uint64) * np.uint64(GAMMA)
        self._taken += count
        bits = mix(self._keys[:, None] + counters) >> np.uint64(64 - MANTISSA_BITS)
        values = (bits.astype(np.float32) + np.float32(1)) * np.float32(2.0**-MANTISSA_BITS)
        return values.reshape(-1, *shape)

    def normal(self, *shape: int) -> Floats:
        """(B, *shape), of mean 0 and variance 1. Source: Box, Muller 1958, doi:10.1214/aoms/1177706645."""
        radius = np.sqrt(np.float32(-2) * np.log(self.uniform(*shape)))
        return radius * np.cos(np.float32(2 * np.pi) * self.uniform(*shape))


def apply_matrices(images: Floats, rows: Floats, columns: Floats) -> Floats:
    """A separable linear map: `rows` (H', H) over the height, `columns` (W', W) over the width. (B, C, H', W')."""
    mapped: Floats = np.matmul(np.matmul(rows, images), columns.T)
    return mapped


def gaussian_matrix(size: int, sigma: float) -> Floats:
    """Blur along one axis of `size` pixels, sigma in pixels, renormalised at the border. (size, size)."""
    distance = np.arange(size)[:, None] - np.arange(size)[None, :]
    weights = np.exp(-0.5 * (distance / sigma) ** 2)
    blur: Floats = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return blur


def interpolation_matrix(size: int, knots: int) -> Floats:
    """Linear interpolation from `knots` evenly spaced values, the first and last at the borders, to `size`. (size, knots)."""
    places = np.linspace(0, knots - 1, size)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(knots)[None, :])).astype(np.float32)


def cell_average_matrix(size: int, cells: int) -> Floats:
    """Each pixel becomes the mean of its cell, `cells` of nearly equal width. (size, size)."""
    cell = np.arange(size) * cells // size
    same = cell[:, None] == cell[None, :]
    average: Floats = (same / same.sum(axis=1, keepdims=True)).astype(np.float32)
    return average


def resample(images: Floats, y: Floats, x: Floats) -> Floats:
    """Bilinear values at the coordinates y, x in pixels, (B, H, W) or what broadcasts to it; outside counts as the edge."""
    batch, channels, height, width = images.shape
    y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
    top = np.minimum(y.astype(np.int64), height - 2)
    left = np.minimum(x.astype(np.int64), width - 2)
    down, right = (y - top).astype(np.float32)[:, None], (x - left).astype(np.float32)[:, None]
    planes = np.arange(batch * channels).reshape(batch, channels, 1, 1) * (height * width)
    corner = planes + (top * width + left)[:, None]
    flat = images.reshape(-1)
    above = flat.take(corner) * (1 - right) + flat.take(corner + 1) * right
    below = flat.take(corner + width) * (1 - right) + flat.take(corner + width + 1) * right
    sampled: Floats = above * (1 - down) + below * down
    return sampled


def resample_in_black(images: Floats, y: Floats, x: Floats) -> Floats:
    """As `resample`, but outside is 0, as where `data.views` moves a picture."""
    return resample(np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1))), y + 1, x + 1)


def grid(images: Floats) -> tuple[Floats, Floats]:
    """The pixels' own coordinates, y (1, H, 1) and x (1, 1, W)."""
    height, width = images.shape[2:]
    return np.arange(height, dtype=np.float32)[None, :, None], np.arange(width, dtype=np.float32)[None, None, :]


def direction(random: Draws) -> tuple[Floats, Floats]:
    """One direction a sample, evenly over the circle: its y and x parts, (B, 1, 1) each."""
    angle = np.float32(2 * np.pi) * random.uniform(1, 1)
    return np.sin(angle), np.cos(angle)
