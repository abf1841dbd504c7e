"""The IDX format of the MNIST family, read strictly. Source: Y. LeCun, "The MNIST database", section "File formats"."""

import gzip
import math
import zlib
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import InputError

UNSIGNED_BYTE = 0x08
GZIP_MAGIC = b"\x1f\x8b"
LARGEST_BYTES = 1 << 31
"""More than this is not one of the files that this reader is for: a wrong header, or a bomb."""


def read_idx(file: Path, ndim: int) -> NDArray[np.uint8]:
    """The array of unsigned bytes in an IDX file, gzipped or not.

    Raises InputError unless the magic number, the `ndim` dimensions and the length agree to the byte.
    """
    try:
        with file.open("rb") as raw:
            zipped = raw.read(2) == GZIP_MAGIC
            raw.seek(0)
            # gzip gives a binary reader, whatever its annotation says of its mode.
            return _read(file, cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if zipped else raw, ndim)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{file} is cut off or damaged: {error}; fetch it again") from error
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error


def _read(file: Path, stream: IO[bytes], ndim: int) -> NDArray[np.uint8]:
    header = stream.read(4 + 4 * ndim)
    if len(header) < 4 + 4 * ndim or header[:3] != bytes((0, 0, UNSIGNED_BYTE)):
        raise InputError(f"{file} is not an IDX file of unsigned bytes: it begins with {header[:4].hex() or 'nothing'}")
    if header[3] != ndim:
        raise InputError(f"{file} has {header[3]} dimensions, expected {ndim}")
    shape = tuple(int.from_bytes(header[at : at + 4], "big") for at in range(4, len(header), 4))
    size = math.prod(shape)
    if not 0 < size <= LARGEST_BYTES:
        raise InputError(f"{file} says that it holds {shape} bytes, expected 1 to {LARGEST_BYTES:,}")
    # One byte more shows whether there is anything after the end.
    content = stream.read(size + 1)
    if len(content) != size:
        found = f"{len(content):,}" if len(content) < size else "more"
        raise InputError(f"{file} holds {found} bytes after its header, expected {size:,} for {shape}")
    return np.frombuffer(content, np.uint8).reshape(shape)
