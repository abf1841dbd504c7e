"""Data source `digits`: 1,797 handwritten digits of 8 × 8 pixels, embedded in scikit-learn."""

import numpy as np

from edgekd.data.splits import Samples
from edgekd.plugins import need


def load_digits() -> Samples:
    """Values 0 to 16, shape (1, 8, 8).

    Source: E. Alpaydin, C. Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI repository, its test part.
    """
    need("sklearn", "train", "data source 'digits'")
    from sklearn import datasets

    found = datasets.load_digits()
    return Samples(
        name="digits",
        inputs=found.images.astype(np.uint8)[:, None],
        labels=found.target.astype(np.int64),
        classes=tuple(str(digit) for digit in range(10)),
        value_max=16.0,
    )
