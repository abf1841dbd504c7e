"""What the simplest model makes of the data: the least that a teacher must know to be worth asking."""

import warnings

import numpy as np
from numpy.typing import NDArray

from edgekd.data import Data, RawArray, normalise
from edgekd.data.splits import balanced_order
from edgekd.plugins import need

LARGEST_SAMPLES = 5000
LARGEST_SIDE = 32
"""Larger pictures are averaged down to this: a linear model gains nothing from more."""
LARGEST_PRODUCT = 1e9
"""Samples × features × classes: a hundred iterations over as many take about two seconds on one core (measured 2026)."""
ITERATIONS = 100


def linear_reference(data: Data, seed: int) -> NDArray[np.bool_]:
    """Whether multinomial logistic regression on the pixels is right about each validation sample, (N,) bool.

    A student that is worth deploying beats it: it is a network without its hidden layers, and sees few samples.

    Args:
        data: at most 5,000 of its training samples are learnt from, classes in their shares.
        seed: of the choice of them.

    Raises:
        MissingExtraError: where scikit-learn is not installed.
    """
    need("sklearn", "train", "the check of the teacher")
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    train, validation = data.train, data.validation
    features = pooled(train.inputs[:1])[0].size
    affordable = int(LARGEST_PRODUCT / (features * len(data.contract.classes)))
    rows = balanced_order(train.labels, seed)[: min(LARGEST_SAMPLES, max(affordable, len(data.contract.classes)))]

    def flat(inputs: RawArray) -> NDArray[np.float32]:
        values = normalise(pooled(inputs), data.contract)
        return values.reshape(len(values), -1)

    model = LogisticRegression(max_iter=ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # nearly converged is good enough for a lower bound
        model.fit(flat(train.inputs[rows]), train.labels[rows])
    right: NDArray[np.bool_] = model.predict(flat(validation.inputs)) == validation.labels
    return right


def pooled(inputs: RawArray) -> RawArray:
    """Pictures (N, C, H, W) averaged over whole blocks until no side exceeds 32; other samples as they are."""
    if inputs.ndim != 4:
        return inputs
    n, channels, height, width = inputs.shape
    rows, columns = -(-height // LARGEST_SIDE), -(-width // LARGEST_SIDE)
    if rows == columns == 1:
        return inputs
    whole = inputs[:, :, : height // rows * rows, : width // columns * columns]
    blocks = whole.reshape(n, channels, height // rows, rows, width // columns, columns)
    averaged: RawArray = blocks.mean(axis=(3, 5), dtype=np.float32)
    return averaged
