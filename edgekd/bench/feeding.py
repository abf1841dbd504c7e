"""What a model is fed while it is measured. Pushed to devices beside the harness: numpy, Python 3.8 syntax."""

from __future__ import annotations

import os
from typing import Any

import numpy as np


def make_batches(specs: list[dict[str, Any]], job: dict[str, Any], here: str) -> list[list[Any]]:
    """One list of arrays a query, an array an input: from .npy files, or seeded random in the model's types and shapes."""
    if job["inputs"]:
        given = [np.load(os.path.join(here, name), allow_pickle=False) for name in job["inputs"]]
        if not job["samples"]:
            return [given]
        size = job["batch"] or 1
        rows = [[(start + i) % job["samples"] for i in range(size)] for start in range(0, job["samples"], size)]
        return [[array[row] for array in given] for row in rows]
    rng = np.random.default_rng(job["seed"])
    return [[random_input(rng, np.dtype(spec["dtype"]), fixed_shape(spec, job["batch"])) for spec in specs]]


def fixed_shape(spec: dict[str, Any], batch: int | None = None) -> list[int]:
    """The input's shape, a free batch set to `batch`, or to 1. A batch that the model fixes otherwise is refused."""
    shape = list(spec["shape"])
    if shape and not is_fixed(shape[0]):
        shape[0] = batch or 1
    if not all(is_fixed(size) for size in shape):
        raise ValueError("input '%s' has a free dimension in %s; export the model with a fixed shape" % (spec["name"], shape))
    if batch and shape and shape[0] != batch:
        raise ValueError("input '%s' has a fixed batch of %d; export the model with a free one" % (spec["name"], shape[0]))
    return shape


def is_fixed(size: Any) -> bool:
    return isinstance(size, int) and size > 0


def random_input(rng: Any, dtype: Any, shape: list[int]) -> Any:
    """Standard normal floats, 8-bit integers over their whole range, wider integers and booleans 0 or 1.

    Wider integers are indices as a rule: 0 and 1 are valid ones everywhere.
    """
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    if dtype.kind in "iu" and dtype.itemsize == 1:
        low = -128 if dtype.kind == "i" else 0
        return rng.integers(low, low + 256, shape).astype(dtype)
    if dtype.kind in "iub":
        return rng.integers(0, 2, shape).astype(dtype)
    raise ValueError("no random input of type %s" % dtype)
