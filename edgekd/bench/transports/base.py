"""What every way to reach a device offers, and the limits that hold for all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from edgekd.errors import DeviceError

MAX_OUTPUT_BYTES = 32 << 20
"""Of stdout or stderr: 100,000 latencies in JSON are 1 MB, so more than this is not an answer."""


@dataclass(frozen=True, kw_only=True)
class Completed:
    """How a command ended; `rc` is negative where a signal ended it."""

    rc: int
    stdout: str
    stderr: str


class Transport(Protocol):
    """A private folder on a device. Remote names are relative to it; commands run in it, without a shell."""

    python: str
    """The interpreter that commands start with on that device."""

    def push(self, local: Path, remote: str) -> None:
        """Copy a file or folder to the device. Raises DeviceError, or InputError where `local` cannot be read."""
        ...

    def pull(self, remote: str, local: Path) -> None:
        """Copy a file from the device. Raises DeviceError."""
        ...

    def run(self, argv: Sequence[str], timeout_s: float) -> Completed:
        """Run to the end. Raises DeviceError on timeout, on too much output, and where the device is lost."""
        ...

    def close(self) -> None:
        """End what still runs there and remove the folder; the transport is not used again."""
        ...


def relative_name(remote: str, where: str) -> str:
    """A remote name made plain: relative, inside the folder, printable. Raises DeviceError for any other."""
    path = PurePosixPath(remote)
    if not remote or not remote.isprintable() or path.is_absolute() or ".." in path.parts or not path.parts:
        raise DeviceError(f"{where}: {remote[:80]!r} lies outside the working folder")
    return str(path)
