"""Stateless views: a picture is a function of (seed, sample, view), whatever batch it is asked for in.

The teacher's cached answers belong to exact pictures, so a student's batches must bring those pictures back in any order,
batch size and process. No generator has such a promise over NumPy's versions: the draws are a counter hash of our own.
Changing it makes every teacher cache wrong; the tests hold golden values.

Source of the hash: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators", splitmix64's finaliser.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from edgekd.data import RawArray

GAMMA = 0x9E3779B97F4A7C15
"""Increment of splitmix64: 2^64 over the golden ratio, made odd."""
MASK = (1 << 64) - 1


@dataclass(frozen=True, kw_only=True)
class Augment:
    """How pictures are varied: moved by up to `shift` pixels in y and in x; mirrored left to right in half of the views."""

    shift: int = 0
    flip: bool = False


def mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64, element by element."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def draws(seed: int, stream: int, ids: NDArray[np.int64]) -> NDArray[np.uint64]:
    """64 random bits for each id: number `id` of the splitmix64 sequence that (seed, stream) selects. (B,) uint64."""
    key = _next(_next(seed) + stream)
    return mix(np.uint64(key) + (ids.astype(np.uint64) + np.uint64(1)) * np.uint64(GAMMA))


def _next(state: int) -> int:
    return int(mix(np.array([(state + GAMMA) & MASK], np.uint64))[0])


def render(inputs: RawArray, ids: NDArray[np.int64], view: int, seed: int, augment: Augment) -> RawArray:
    """The `view`-th picture of each sample.

    What moves in from outside is raw 0. Samples that are not pictures, (B, F), come back unchanged.

    Args:
        inputs: (B, C, H, W), raw values.
        ids: (B,), the samples' numbers in their source.
        view: number of the view, from 0.
        seed: of all views of a run.
        augment: how far pictures are varied.

    Returns:
        (B, C, H, W), of the same type; `inputs` itself where nothing is to be done.
    """
    if inputs.ndim != 4 or not (augment.shift or augment.flip):
        return inputs
    bits = draws(seed, view, ids)
    rendered = _shifted(inputs, bits, augment.shift)
    if augment.flip:
        mirrored = np.flatnonzero(bits >> np.uint64(63))
        rendered[mirrored] = rendered[mirrored, ..., ::-1]
    return rendered


def _shifted(inputs: RawArray, bits: NDArray[np.uint64], shift: int) -> RawArray:
    """A copy, each sample moved by what its lowest 32 bits say: 16 for y, 16 for x, scaled to 2·shift + 1 places."""
    padded = np.pad(inputs, ((0, 0), (0, 0), (shift, shift), (shift, shift)))
    windows = sliding_window_view(padded, inputs.shape[2:], axis=(2, 3))
    places, low = np.uint64(2 * shift + 1), np.uint64(0xFFFF)
    y = ((bits & low) * places) >> np.uint64(16)
    x = (((bits >> np.uint64(16)) & low) * places) >> np.uint64(16)
    moved: RawArray = windows[np.arange(len(inputs)), :, y.astype(np.int64), x.astype(np.int64)]
    return np.ascontiguousarray(moved)


def permutation(n: int, epoch: int, seed: int) -> NDArray[np.int64]:
    """An order of n samples for one epoch, the same on every machine and version of NumPy. (n,) int64."""
    # The stream is negative so that an epoch's order shares no draw with a view of the same number.
    return np.argsort(draws(seed, -1 - epoch, np.arange(n)), kind="stable").astype(np.int64)
