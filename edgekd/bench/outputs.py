"""Keep what a model answers. Pushed to devices beside the harness: numpy, Python 3.8 syntax."""

from __future__ import annotations

import os
from typing import Any

import numpy as np


def keep(model: Any, batches: list[list[Any]], here: str) -> int:
    """Run every batch once; each output of all of them, stacked, goes into `output-I.npy`. Returns how many outputs there are."""
    answers = [model.run(arrays) for arrays in batches]
    outputs = [np.concatenate(parts) for parts in zip(*answers)]  # noqa: B905 (Python 3.8)
    for number, output in enumerate(outputs):
        np.save(os.path.join(here, f"output-{number}.npy"), output, allow_pickle=False)
    return len(outputs)
