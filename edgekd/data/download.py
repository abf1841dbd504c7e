"""Fetch a file once, and only if it is the one that is expected."""

import gzip
import hashlib
import http.client
import os
import urllib.error
import urllib.request
import zlib
from pathlib import Path

from edgekd.errors import InputError, storage_errors

CHUNK_BYTES = 1 << 16
LARGEST_BYTES = 1 << 26
"""No file that edgekd fetches is larger: what goes on past it is something else."""
TIMEOUT_S = 30


def download(address: str, file: Path, content_sha256: str) -> None:
    """Put the gzipped file at `address` in `file`, whole or not at all.

    The hash is of the content, unpacked: mirrors pack it anew, with another time in the header.

    Raises InputError where it cannot be fetched or is another file, StorageError where it cannot be written.
    """
    packed = _fetch(address, file.name)
    try:
        content = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{address}: what came is not a whole gzip file ({error}); try again") from error
    found = hashlib.sha256(content).hexdigest()
    if found != content_sha256:
        raise InputError(f"{address}: not the original file: SHA-256 {found[:16]}…, expected {content_sha256[:16]}…")
    with storage_errors(str(file)):
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{os.getpid()}.{file.name}")
        try:
            temporary.write_bytes(packed)
            os.replace(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)


def _fetch(address: str, name: str) -> bytes:
    from rich.console import Console
    from rich.progress import Progress

    packed, console = bytearray(), Console(stderr=True)
    try:
        with (
            urllib.request.urlopen(address, timeout=TIMEOUT_S) as reply,
            Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
        ):
            task = progress.add_task(f"fetching {name}", total=int(reply.headers.get("Content-Length") or 0) or None)
            while chunk := reply.read(CHUNK_BYTES):
                packed += chunk
                progress.advance(task, len(chunk))
                if len(packed) > LARGEST_BYTES:
                    raise InputError(f"{address}: more than {LARGEST_BYTES:,} bytes came: not the original file")
    except (OSError, ValueError, http.client.HTTPException) as error:
        # A HTTPError's text has the status and the reason, any other URLError's is its reason in brackets.
        cause = error if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", error)
        raise InputError(f"{address} cannot be fetched: {cause}; fetch the files yourself and set [data] dir") from error
    return bytes(packed)
