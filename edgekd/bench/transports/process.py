"""One process on this machine, with limits: in a group of its own that does not outlive the call."""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgekd.bench.transports import base
from edgekd.bench.transports.base import Completed
from edgekd.bench.transports.faults import DeviceFault

LOOK_S = 0.25  # how often the size of the output is looked at
SPARE_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a process ended, its output as bytes."""

    rc: int
    stdout: bytes
    stderr: bytes


def run_process(argv: Sequence[str], timeout_s: float, *, where: str, folder: Path | None = None) -> Completed:
    """As `run_bytes`, its output as text."""
    done = run_bytes(argv, timeout_s, where=where, folder=folder)
    return Completed(rc=done.rc, stdout=done.stdout.decode(errors="replace"), stderr=done.stderr.decode(errors="replace"))


def run_bytes(
    argv: Sequence[str],
    timeout_s: float,
    *,
    where: str,
    folder: Path | None = None,
    stdin: Path | None = None,
    limit_bytes: int | None = None,
    daemon: bool = False,
) -> Ended:
    """Run a command here in a process group of its own, which does not outlive this call: timeout, Ctrl-C or error.

    A `daemon` that it leaves after ending well stays: it is in this group until it has made one of its own.
    Output goes through files, not pipes: a flood fills neither memory nor a pipe that nobody reads, and is stopped at the limit.
    Raises DeviceFault, with `where` in its message: `timeout`, `output` (too much of it), `cannot-start`.
    """
    limit = base.MAX_OUTPUT_BYTES if limit_bytes is None else limit_bytes
    with contextlib.ExitStack() as stack:
        out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        source = subprocess.DEVNULL if stdin is None else stack.enter_context(stdin.open("rb"))
        try:
            process = subprocess.Popen(
                list(argv), cwd=folder, stdin=source, stdout=out, stderr=err, start_new_session=os.name == "posix"
            )
        except OSError as error:
            raise DeviceFault(where, "cannot-start", f"cannot start {argv[0]}: {error.strerror}") from error
        code: int | None = None
        try:
            code = _wait(process, timeout_s, (out, err), limit, where)
        finally:
            if not (daemon and code == 0):
                end_group(process)
        return Ended(rc=code, stdout=_read(out, limit, where), stderr=_read(err, limit, where))


def _wait(process: subprocess.Popen[bytes], timeout_s: float, outputs: Sequence[IO[bytes]], limit: int, where: str) -> int:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return process.wait(max(0.0, min(LOOK_S, deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            if any(os.fstat(stream.fileno()).st_size > limit + SPARE_BYTES for stream in outputs):
                end_group(process)
                return process.returncode  # _read() says what is wrong
            if time.monotonic() >= deadline:
                raise timed_out(where, timeout_s) from None


def timed_out(where: str, timeout_s: float) -> DeviceFault:
    return DeviceFault(where, "timeout", f"no answer after {timeout_s:.0f} s; the run was stopped")


def flooded(where: str, size: int) -> DeviceFault:
    return DeviceFault(where, "output", f"the run printed {size >> 20} MB, expected one JSON document")


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill whatever of the group is still there, children that outlived their parent included."""
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody left; macOS says EPERM where only zombies are
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _read(stream: IO[bytes], limit: int, where: str) -> bytes:
    size = stream.seek(0, os.SEEK_END)
    if size > limit:
        raise flooded(where, size)
    stream.seek(0)
    return stream.read()
