"""Checks that turn somebody's arrays into `Samples`, and say what is wrong where they cannot be."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.data import RawArray
from edgekd.data.splits import Samples
from edgekd.errors import InputError, did_you_mean

KEYS = ("x", "y", "x_train", "y_train", "x_test", "y_test", "classes")


def from_arrays(name: str, arrays: Mapping[str, Any]) -> Samples:
    """Samples from `x_train` and `y_train` (and `x_test`, `y_test`), or from `x` and `y`; `classes` names the classes.

    x: (N, C, H, W), (N, H, W) or (N, F): uint8 from 0 to 255, or numbers that are taken as they are. y: (N,) integers from 0.
    """
    for key in arrays:
        if key not in KEYS:
            raise InputError(f"{name} has an array '{key}'" + did_you_mean(key, KEYS))
    suffix = "_train" if "x_train" in arrays else ""
    inputs, labels = _pair(name, arrays, suffix)
    classes = _classes(name, arrays, labels)
    _check_labels(name, labels, len(classes), complete=True)
    test = None
    if suffix and ("x_test" in arrays or "y_test" in arrays):
        test = _pair(name, arrays, "_test")
        if test[0].shape[1:] != inputs.shape[1:] or test[0].dtype != inputs.dtype:
            found, expected = f"{test[0].shape[1:]} {test[0].dtype}", f"{inputs.shape[1:]} {inputs.dtype}"
            raise InputError(f"{name}: samples of x_test are {found}, expected {expected} as in x_train")
        _check_labels(name, test[1], len(classes), complete=False)
    value_max = 255.0 if inputs.dtype == np.uint8 else 1.0
    return Samples(name=name, inputs=inputs, labels=labels, classes=classes, value_max=value_max, test=test)


def _pair(name: str, arrays: Mapping[str, Any], suffix: str) -> tuple[RawArray, NDArray[np.int64]]:
    x_key, y_key = f"x{suffix}", f"y{suffix}"
    for key in (x_key, y_key):
        if key not in arrays:
            there = ", ".join(sorted(arrays)) or "none"
            raise InputError(f"{name} has no array '{key}' (there is: {there}); expected x_train and y_train, or x and y")
    inputs, labels = _inputs(name, x_key, np.asarray(arrays[x_key])), _labels(name, y_key, np.asarray(arrays[y_key]))
    if len(inputs) != len(labels):
        raise InputError(f"{name}: {x_key} has {len(inputs)} samples, {y_key} has {len(labels)} labels")
    if len(inputs) == 0:
        raise InputError(f"{name}: {x_key} is empty")
    return inputs, labels


def _inputs(name: str, key: str, values: RawArray) -> RawArray:
    if values.dtype.kind not in "uif":
        raise InputError(f"{name}: {key} is of type {values.dtype}, expected numbers")
    if values.ndim == 3:
        values = values[:, None]
    if values.ndim not in (2, 4) or 0 in values.shape[1:]:
        raise InputError(f"{name}: {key} has shape {values.shape}, expected (N, C, H, W), (N, H, W) or (N, F)")
    if values.ndim == 4 and values.shape[1] > 4 and values.shape[-1] in (1, 3, 4):
        raise InputError(f"{name}: {key} has shape {values.shape}: channels come first, use np.moveaxis({key}, -1, 1)")
    if values.dtype != np.uint8:
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
        if not np.isfinite(values).all():
            row = int(np.argwhere(~np.isfinite(values))[0][0])
            raise InputError(f"{name}: {key} has NaN or infinite values, the first in sample {row}")
    return np.ascontiguousarray(values)


def _labels(name: str, key: str, values: RawArray) -> NDArray[np.int64]:
    if values.ndim != 1 or values.dtype.kind not in "ui":
        raise InputError(f"{name}: {key} is {values.dtype} of shape {values.shape}, expected integers of shape (N,)")
    return values.astype(np.int64)


def _classes(name: str, arrays: Mapping[str, Any], labels: NDArray[np.int64]) -> tuple[str, ...]:
    if "classes" not in arrays:
        # A label of a million is a mistake (an id column), not a million classes.
        return tuple(str(label) for label in range(min(int(labels.max()) + 1, 100_000)))
    names = np.asarray(arrays["classes"])
    if names.ndim != 1 or names.dtype.kind != "U" or len(set(names.tolist())) != len(names):
        raise InputError(f"{name}: classes is {names.dtype} of shape {names.shape}, expected distinct texts, one for each class")
    return tuple(names.tolist())


def _check_labels(name: str, labels: NDArray[np.int64], classes: int, *, complete: bool) -> None:
    if labels.min() < 0 or labels.max() >= classes:
        wrong = labels[(labels < 0) | (labels >= classes)][0]
        raise InputError(f"{name} has a label {wrong}, expected 0 to {classes - 1}")
    if classes < 2:
        raise InputError(f"{name} has one class only, expected at least two")
    missing = np.flatnonzero(np.bincount(labels, minlength=classes) == 0)
    if complete and len(missing):
        raise InputError(f"{name} has no training sample of class {missing[0]} (labels run from 0 to {classes - 1})")
