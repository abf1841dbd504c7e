"""Data sets as edgekd sees them: raw samples, labels, three splits, and the contract that says how to feed a model."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgekd.types import Contract

RawArray: TypeAlias = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Split:
    """Some samples: `inputs` (N, C, H, W) or (N, F), raw values (uint8 or float32), `labels` (N,) int64.

    `ids` (N,) int64 are the samples' numbers in their source: stateless views are seeded by them.
    """

    inputs: RawArray
    labels: NDArray[np.int64]
    ids: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True)
class Data:
    """A source's three splits. Selection sees train and validation; test is read once, for the final figures."""

    name: str
    train: Split
    validation: Split
    test: Split
    contract: Contract
    fingerprint: str
    """SHA-256 over all samples, labels and splits: what caches are keyed by."""


def normalise(inputs: RawArray, contract: Contract) -> NDArray[np.float32]:
    """Raw samples (N, C, …) as a model takes them: float32, (value / value_max - mean) / std by channel."""
    shape = (1, -1) + (1,) * (inputs.ndim - 2)
    mean = np.asarray(contract.mean, np.float32).reshape(shape)
    std = np.asarray(contract.std, np.float32).reshape(shape)
    return (inputs.astype(np.float32) / np.float32(contract.value_max) - mean) / std
