"""Files in the operating system's page cache: brought in, thrown out, and how much of them is there.

Pushed to devices beside the harness: standard library, Python 3.8 syntax.
"""

from __future__ import annotations

import ctypes
import mmap
import os


def bring_in(files: list[str]) -> None:
    """Read the files once, so that they come from memory."""
    for file in files:
        with open(file, "rb") as stream:
            while stream.read(1 << 20):
                pass


def throw_out(files: list[str]) -> None:
    """Ask the kernel to forget the files' pages, which it does for clean pages that nobody maps (man 2 posix_fadvise).

    Needs no privilege. It is advice: `resident` says what became of it. A file system in memory keeps them all.
    """
    for file in files:
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fsync(handle)
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def resident(files: list[str]) -> float | None:
    """Share of the files' pages that are in memory, 0 to 1; None where this system does not tell (man 2 mincore)."""
    there = pages = 0
    for file in files:
        found = _resident(file)
        if found is None:
            return None
        there, pages = there + found[0], pages + found[1]
    return there / pages if pages else None


def _resident(file: str) -> tuple[int, int] | None:
    """(pages in memory, pages) of one file."""
    size = os.path.getsize(file)
    if not size:
        return 0, 0
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        map_, unmap, mincore = libc.mmap, libc.munmap, libc.mincore
    except (OSError, AttributeError, TypeError):
        return None
    integer, size_t, pointer = ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p
    map_.restype, map_.argtypes = pointer, [pointer, size_t, integer, integer, integer, ctypes.c_long]
    unmap.argtypes, mincore.argtypes = [pointer, size_t], [pointer, size_t, ctypes.c_char_p]
    pages = -(-size // mmap.PAGESIZE)
    handle = os.open(file, os.O_RDONLY)
    try:
        address = map_(None, size, mmap.PROT_READ, mmap.MAP_SHARED, handle, 0)
        if address in (None, pointer(-1).value):
            return None
        vector = ctypes.create_string_buffer(pages)
        failed = mincore(address, size, vector)
        unmap(address, size)
        return None if failed else (sum(byte & 1 for byte in vector.raw[:pages]), pages)
    finally:
        os.close(handle)
