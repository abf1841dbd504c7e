"""Real inputs beside an artifact: `model.onnx.samples.npy`, a few training samples as its runtime takes them."""

import os
from pathlib import Path

import numpy as np

from edgekd.bench.settings import MAX_BATCH
from edgekd.errors import InputError, first_line, storage_errors
from edgekd.session import to_native
from edgekd.target import FloatArray
from edgekd.types import Artifact

MOST_SAMPLES = 8
MOST_BYTES = 1 << 20
"""Of one file: artifacts are many, and timing hardly depends on which samples they are."""


def samples_file(model: Path) -> Path:
    return model.with_name(model.name + ".samples.npy")


def write_samples(artifact: Artifact, inputs: FloatArray) -> None:
    """Write the first of the inputs (N, C, H, W), float32 and normalised, beside the artifact: native, stacked by sample."""
    native = to_native(inputs[:MOST_SAMPLES], artifact.contract.inputs[0])
    fitting = max(1, MOST_BYTES // max(1, native[:1].nbytes))
    file = samples_file(artifact.path)
    with storage_errors(str(file)):
        np.save(file, native[:fitting], allow_pickle=False)


def choose_inputs(model: Path, asked: str | None) -> tuple[tuple[Path, ...], int | None]:
    """(.npy files, samples that they stack) to measure a model with; ((), None) is random inputs.

    Args:
        asked: `random`; `samples`, those beside the model; the name of an .npy file; None for samples where there are some.

    Raises:
        InputError: where what was asked for is not there, or not an array of samples. Python objects are never loaded.
    """
    beside = samples_file(model)
    if asked == "random" or (asked is None and not os.path.isfile(beside)):
        return (), None
    if asked == "samples" and not os.path.isfile(beside):
        raise InputError(f"{model.name}: has no samples beside it ({beside.name}); give --inputs random, or an .npy file")
    file = beside if asked in (None, "samples") else Path(str(asked))
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{file}: cannot be read as an .npy array: {first_line(error)}") from error
    if not isinstance(array, np.ndarray) or array.ndim < 2 or not 1 <= len(array) <= MAX_BATCH:
        raise InputError(f"{file}: expected samples stacked along the first axis of one array")
    return (file.absolute(),), len(array)
