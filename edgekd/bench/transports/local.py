"""How files and commands reach a device. `Local` runs on this machine, in a fresh process and a private folder."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from edgekd.errors import DeviceError, InputError, did_you_mean, storage_errors

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
        """Remove the folder; the transport is not used again."""
        ...


class Local:
    """This machine: the same files and commands that go to a device, in a temporary folder."""

    python = sys.executable

    def __init__(self) -> None:
        with storage_errors("a temporary folder"):
            self._folder = Path(tempfile.mkdtemp(prefix="edgekd-"))

    def push(self, local: Path, remote: str) -> None:
        place = self._place(remote)
        try:
            if local.is_dir():
                shutil.copytree(local, place, dirs_exist_ok=True)
            else:
                shutil.copyfile(local, place)
        except OSError as error:
            if error.filename2 is None and not os.access(local, os.R_OK):
                raise InputError(f"{local}: cannot be read: {error.strerror}") from error
            raise DeviceError(f"local: cannot copy {local.name} to {place}: {error.strerror or error}") from error

    def pull(self, remote: str, local: Path) -> None:
        place = self._place(remote)
        if not place.is_file() or place.is_symlink():
            raise DeviceError(f"local: there is no file {remote} to fetch")
        with storage_errors(str(local)):
            shutil.copyfile(place, local)

    def run(self, argv: Sequence[str], timeout_s: float) -> Completed:
        return run_process(argv, timeout_s, where="local", folder=self._folder)

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _place(self, remote: str) -> Path:
        place = (self._folder / remote).resolve()
        if not place.is_relative_to(self._folder.resolve()):
            raise DeviceError(f"local: {remote} lies outside the working folder")
        return place


def run_process(argv: Sequence[str], timeout_s: float, *, where: str, folder: Path | None = None) -> Completed:
    """Run a command here in a process group of its own, which does not outlive this call: timeout, Ctrl-C or error.

    Output goes through files, not pipes: a flood fills neither memory nor a pipe that nobody reads.
    Raises DeviceError, with `where` in its message, on timeout, too much output, or where the command cannot start.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            process = subprocess.Popen(
                list(argv), cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=os.name == "posix"
            )
        except OSError as error:
            raise DeviceError(f"{where}: cannot start {argv[0]}: {error.strerror}") from error
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise DeviceError(f"{where}: no answer after {timeout_s:.0f} s; the run was stopped") from None
        finally:
            _end_group(process)
        return Completed(rc=code, stdout=_text(out, where), stderr=_text(err, where))


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill whatever of the group is still there, children that outlived their parent included."""
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody left; macOS says EPERM where only zombies are
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _text(stream: IO[bytes], where: str) -> str:
    size = stream.seek(0, os.SEEK_END)
    if size > MAX_OUTPUT_BYTES:
        raise DeviceError(f"{where}: the run printed {size >> 20} MB, expected one JSON document")
    stream.seek(0)
    return stream.read().decode(errors="replace")


def connect(address: str) -> Transport:
    """The transport of an address. Raises InputError for one that is not known."""
    if address != "local":
        raise InputError(f"address '{address}' is not known" + did_you_mean(address, ("local",)))
    return Local()
