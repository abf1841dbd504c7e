"""How a model file wants its inputs, against what the data has."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import InputError
from edgekd.types import Layout


def layout_of(name: str, dims: Sequence[Any], shape: tuple[int, ...]) -> Layout:
    """Layout of an input of dimensions `dims`, without the batch, for samples of `shape`: (C, H, W) or (F,).

    What is no number in `dims` fits anything. Raises InputError where neither channels first nor channels last fits.
    """
    layouts: list[tuple[Layout, tuple[int, ...]]] = [("NC", shape)]
    if len(shape) == 3:
        layouts = [("NCHW", shape), ("NHWC", (*shape[1:], shape[0]))]
    for layout, expected in layouts:
        if len(dims) == len(expected) and all(d == e or not isinstance(d, int) for d, e in zip(dims, expected, strict=True)):
            return layout
    shown = "(" + ", ".join("?" if not isinstance(d, int) else str(d) for d in dims) + ")"
    raise InputError(f"teacher {name} takes samples of shape {shown}, those of the data are {shape}")


def in_layout(inputs: NDArray[np.float32], layout: Layout) -> NDArray[np.float32]:
    """(B, C, H, W) as the layout wants it, contiguous."""
    return np.ascontiguousarray(np.moveaxis(inputs, 1, -1) if layout == "NHWC" else inputs)
