"""Fifteen corruptions of pictures at five severities, for any size and number of channels.

A corrupted picture is a function of (seed, sample, corruption, severity), whatever batch it is asked for in. The severities
of one corruption share their random numbers: a stronger one is the same disturbance, stronger, so that it always changes more.
Lengths are shares of the picture's shorter side.

Source of the idea, of most kinds and where said of the levels: Hendrycks, Dietterich 2019, "Benchmarking Neural Network
Robustness to Common Corruptions and Perturbations", arXiv:1903.12261 (ImageNet-C); of the moved and covered ones: Mu, Gilmer
2019, arXiv:1906.02337 (MNIST-C). Their levels are for 224 x 224 and 28 x 28 only; the others were set here, in the same range.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgekd.data import RawArray
from edgekd.errors import InputError, did_you_mean
from edgekd.fidelity.fields import (
    Draws,
    Floats,
    apply_matrices,
    cell_average_matrix,
    direction,
    gaussian_matrix,
    grid,
    interpolation_matrix,
    resample,
    resample_in_black,
)

VERSION = 1
"""Of the pictures: to be raised with any change of them, since answers to them are kept. 1, the first."""
SEVERITIES = (1, 2, 3, 4, 5)
SMALLEST_SIDE = 4
"""In pixels: below it no share of a side is a pixel."""
STREAM = 1 << 32
"""First stream of the hash: `data.views` counts its own from 0, one a view, and from -1 down, one an epoch."""
BLOCK_VALUES = 1 << 18
"""Values worked on at once, so that what a corruption needs beside them stays in the processor's cache."""
GREY = HALF = np.float32(0.5)
MOTION_LONGEST = 0.3


def gaussian_noise(images: Floats, random: Draws, sigma: float) -> Floats:
    """Noise of every value alike: a sensor in the dark."""
    return images + np.float32(sigma) * random.normal(*images.shape[1:])


def shot_noise(images: Floats, random: Draws, photons: float) -> Floats:
    """Noise of counted light, `photons` where it is brightest: the Poisson distribution by its normal approximation."""
    return images + np.sqrt(images / np.float32(photons)) * random.normal(*images.shape[1:])


def impulse_noise(images: Floats, random: Draws, share: float) -> Floats:
    """A share of all values is lost: half of them black, half white."""
    lost, white = random.uniform(*images.shape[1:]) < share, random.uniform(*images.shape[1:]) < 0.5
    return np.where(lost, white.astype(np.float32), images)


def gaussian_blur(images: Floats, random: Draws, share: float) -> Floats:
    """Out of focus. The third of a pixel is added in quadrature: less is no blur at all on the pixels' grid."""
    height, width = images.shape[2:]
    sigma = float(np.hypot(1 / 3, share * min(height, width)))
    return apply_matrices(images, gaussian_matrix(height, sigma), gaussian_matrix(width, sigma))


def motion_blur(images: Floats, random: Draws, share: float) -> Floats:
    """Mean along a line in any direction, by doubling: n passes give the mean of 2^n places, a pixel apart at most."""
    side = min(images.shape[2:])
    passes = max(1, int(np.ceil(np.log2(MOTION_LONGEST * side))))
    (down, right), (y, x) = direction(random), grid(images)
    for number in range(passes):
        half = np.float32(share * side * 2.0 ** (number - passes - 1))
        ahead = resample(images, y + half * down, x + half * right)
        images = HALF * (ahead + resample(images, y - half * down, x - half * right))
    return images


def glass_blur(images: Floats, random: Draws, share: float) -> Floats:
    """Every pixel is taken from a place near its own."""
    (y, x), size = grid(images), images.shape[2:]
    reach = np.float32(2 * share * min(size))
    return resample(images, y + reach * (random.uniform(*size) - HALF), x + reach * (random.uniform(*size) - HALF))


def brightness(images: Floats, random: Draws, more: float) -> Floats:
    """Overexposed: the same is added to every value."""
    return images + np.float32(more)


def contrast(images: Floats, random: Draws, factor: float) -> Floats:
    """Every value moves towards its channel's mean."""
    mean = images.mean(axis=(2, 3), keepdims=True)
    return mean + np.float32(factor) * (images - mean)


def fog(images: Floats, random: Draws, density: float) -> Floats:
    """A bright veil of uneven thickness: two octaves of smooth noise, the finer at half the weight."""
    height, width = images.shape[2:]
    coarse, fine = (
        apply_matrices(random.uniform(1, knots, knots), interpolation_matrix(height, knots), interpolation_matrix(width, knots))
        for knots in (3, 5)
    )
    veil = HALF + (coarse + HALF * fine) * np.float32(1 / 3)
    return images + np.float32(density) * (veil - images)


def spatter(images: Floats, random: Draws, share: float) -> Floats:
    """Grey drops on the lens: where smooth noise is highest, over a share of the picture."""
    height, width = images.shape[2:]
    sigma = max(0.5, min(height, width) / 16)  # a drop is about an eighth of the side, and two pixels at least
    field = apply_matrices(random.normal(1, height, width), gaussian_matrix(height, sigma), gaussian_matrix(width, sigma))
    threshold = np.quantile(field, 1 - share, axis=(2, 3), keepdims=True)
    return np.where(field > threshold, GREY, images)


def occlusion(images: Floats, random: Draws, share: float) -> Floats:
    """A black square, `share` of the side long, somewhere around the middle; its border covers parts of pixels."""
    (y, x), (height, width) = grid(images), images.shape[2:]
    half = np.float32(share * min(height, width) / 2)
    middle_y = (height - 1) * (0.25 + 0.5 * random.uniform(1, 1))
    middle_x = (width - 1) * (0.25 + 0.5 * random.uniform(1, 1))
    covered = np.clip(half - np.abs(y - middle_y) + HALF, 0, 1) * np.clip(half - np.abs(x - middle_x) + HALF, 0, 1)
    return images * (1 - covered.astype(np.float32))[:, None]


def translate(images: Floats, random: Draws, share: float) -> Floats:
    """Moved in any direction."""
    (down, right), (y, x) = direction(random), grid(images)
    distance = np.float32(share * min(images.shape[2:]))
    return resample_in_black(images, y + distance * down, x + distance * right)


def rotate(images: Floats, random: Draws, degrees: float) -> Floats:
    """Turned about the middle, to the left or to the right."""
    angle = np.radians(degrees) * np.where(random.uniform(1, 1) < 0.5, -1, 1)
    return _about_the_middle(images, np.cos(angle), np.sin(angle))


def shrink(images: Floats, random: Draws, factor: float) -> Floats:
    """Smaller about the middle, as from farther away."""
    return _about_the_middle(images, np.full((1, 1, 1), 1 / factor), np.zeros((1, 1, 1)))


def _about_the_middle(images: Floats, cosine: NDArray[np.float64], sine: NDArray[np.float64]) -> Floats:
    """Each pixel taken from its place turned and scaled by (cosine, sine), about the middle of the picture."""
    y, x = grid(images)
    middle_y, middle_x = (images.shape[2] - 1) / 2, (images.shape[3] - 1) / 2
    y, x = y - middle_y, x - middle_x
    return resample_in_black(images, middle_y + cosine * y + sine * x, middle_x + cosine * x - sine * y)


def pixelate(images: Floats, random: Draws, share: float) -> Floats:
    """Means of cells, `share` as many along each side as there were pixels."""
    rows, columns = (cell_average_matrix(size, max(1, round(share * size))) for size in images.shape[2:])
    return apply_matrices(images, rows, columns)


_LEVELS: dict[str, tuple[Callable[[Floats, Draws, float], Floats], tuple[float, ...]]] = {
    "gaussian_noise": (gaussian_noise, (0.08, 0.12, 0.18, 0.26, 0.38)),  # ImageNet-C
    "shot_noise": (shot_noise, (60, 25, 12, 5, 3)),  # ImageNet-C
    "impulse_noise": (impulse_noise, (0.03, 0.06, 0.09, 0.17, 0.27)),  # ImageNet-C
    "gaussian_blur": (gaussian_blur, (0.02, 0.03, 0.04, 0.06, 0.08)),
    "motion_blur": (motion_blur, (0.08, 0.12, 0.16, 0.22, MOTION_LONGEST)),
    "glass_blur": (glass_blur, (0.02, 0.035, 0.05, 0.065, 0.08)),
    "brightness": (brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),  # ImageNet-C
    "contrast": (contrast, (0.7, 0.55, 0.4, 0.3, 0.2)),  # ImageNet-C's 0.4 to 0.05 leave nothing of a picture of 17 levels
    "fog": (fog, (0.3, 0.4, 0.5, 0.6, 0.7)),
    "spatter": (spatter, (0.05, 0.1, 0.15, 0.2, 0.3)),
    "occlusion": (occlusion, (0.2, 0.3, 0.4, 0.5, 0.6)),
    "translate": (translate, (0.05, 0.1, 0.15, 0.2, 0.25)),
    "rotate": (rotate, (10, 20, 30, 40, 50)),
    "shrink": (shrink, (0.9, 0.8, 0.7, 0.6, 0.5)),
    "pixelate": (pixelate, (0.75, 0.6, 0.45, 0.35, 0.25)),
}
CORRUPTIONS = tuple(_LEVELS)
"""Their names, in the order of reports: noise, blur, light and weather, covered, moved, digital."""


def corrupt(inputs: RawArray, ids: NDArray[np.int64], name: str, severity: int, seed: int, value_max: float) -> RawArray:
    """The samples under one corruption.

    Args:
        inputs: (B, C, H, W), raw values from 0 to `value_max`, of any integer or floating type.
        ids: (B,), the samples' numbers in their source.
        name: one of CORRUPTIONS.
        severity: 1 to 5.
        seed: of all corruptions of a run.
        value_max: the raw value of full brightness.

    Returns:
        (B, C, H, W), of the same type, from 0 to `value_max`; integers are rounded.

    Raises:
        InputError: for a name or severity that there is none of, and for samples that are no such pictures.
    """
    if name not in _LEVELS:
        raise InputError(f"corruption '{name}' is not known" + did_you_mean(name, _LEVELS))
    if severity not in SEVERITIES:
        raise InputError(f"severity {severity} of '{name}': expected 1 to {len(SEVERITIES)}")
    check_pictures(inputs, ids, value_max)
    function, levels = _LEVELS[name]
    corrupted = np.empty_like(inputs)
    rows = max(1, BLOCK_VALUES // max(1, inputs[:1].size))
    for start in range(0, len(inputs), rows):
        block = slice(start, start + rows)
        random = Draws(seed, STREAM + CORRUPTIONS.index(name), ids[block])
        images = inputs[block].astype(np.float32) / np.float32(value_max)
        values = np.clip(function(images, random, levels[severity - 1]), 0, 1) * np.float32(value_max)
        corrupted[block] = values if np.issubdtype(inputs.dtype, np.floating) else np.rint(values)
    return corrupted


def check_pictures(inputs: RawArray, ids: NDArray[np.int64], value_max: float) -> None:
    """Raise InputError for samples that `corrupt` cannot take: no pictures, too small ones, values that are not raw."""
    if inputs.ndim != 4 or min(inputs.shape[2:]) < SMALLEST_SIDE:
        raise InputError(
            f"corruptions need pictures (N, C, H, W) of {SMALLEST_SIDE} x {SMALLEST_SIDE} pixels or more, found {inputs.shape}"
        )
    if ids.shape != (len(inputs),):
        raise InputError(f"{len(inputs)} pictures have ids of shape {ids.shape}, expected one id a picture")
    if len(inputs) and not 0 <= inputs.min() <= inputs.max() <= value_max:
        raise InputError(
            f"corruptions need raw values from 0 to {value_max:g}, found {inputs.min():g} to {inputs.max():g}:"
            " give the samples as they were before normalisation"
        )
