"""Data source `npz:FILE`: arrays in NumPy's own archive."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from edgekd.data.arrays import from_arrays
from edgekd.data.splits import Samples
from edgekd.errors import InputError, first_line


def load_npz(file: Path) -> Samples:
    """Samples of an .npz with x_train, y_train (and x_test, y_test), or x and y; `classes` may name them. No pickles."""
    try:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InputError(f"{file} holds a single array, expected an .npz with arrays x_train and y_train")
        with archive:
            arrays = {key: archive[key] for key in archive.files}
    except FileNotFoundError as error:
        raise InputError(f"data file {file} does not exist") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, KeyError, MemoryError) as error:
        raise InputError(f"{file} is not a whole .npz of plain arrays: {first_line(error)}") from error
    return from_arrays(file.name, arrays)
