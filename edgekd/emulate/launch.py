"""Start and end the process that holds a board (`namespace.py`)."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edgekd.errors import DeviceError

FIRST_ID = 0x60000000
"""Of the 65,536 ids of the host that a board's users are: in the range that Linux distributions leave to containers, far from
those that they hand out to users (from 100,000 on)."""
END_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Service:
    """A program that a board runs from its start."""

    argv: tuple[str, ...]
    env: dict[str, str]
    log: str


@dataclass(frozen=True, kw_only=True)
class Description:
    """What `namespace.py` is told."""

    root: str
    binfmt: tuple[str, ...]
    binds: tuple[tuple[str, str], ...]
    services: tuple[Service, ...]
    with_parent: int
    """Process whose end ends the board; 0 for none."""
    first_id: int = FIRST_ID


def launch(folder: Path, description: Description) -> subprocess.Popen[bytes]:
    """Start a board's holder. It holds the lock of `folder` until all of the board is gone."""
    file = folder / "board.json"
    file.write_text(json.dumps(asdict(description)))
    with open(folder / "board.lock", "a") as lock, open(folder / "board.log", "wb") as log:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DeviceError(f"{folder}: its board runs already; end it with: edgekd devices emulate --stop") from None
        argv = [sys.executable, "-I", "-S", str(Path(__file__).with_name("namespace.py")), str(file)]
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, pass_fds=(lock.fileno(),)
        )
        # Its own copy of the lock's descriptor outlives this one; whoever stops the board finds the holder by this number.
        lock.truncate(0)
        lock.write(str(process.pid))
    return process


def running(folder: Path) -> bool:
    """Whether something of the board in `folder` is still there."""
    try:
        with open(folder / "board.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def end(folder: Path) -> None:
    """End the board in `folder` and wait until all of it is gone. Raises DeviceError where that fails."""
    if running(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int((folder / "board.lock").read_text()), signal.SIGKILL)
    until = time.monotonic() + END_SECONDS
    while running(folder):
        if time.monotonic() > until:
            raise DeviceError(f"{folder}: the board did not end within {END_SECONDS:.0f} s")
        time.sleep(0.02)


def environment(cpu: str, **more: str) -> dict[str, str]:
    """The environment of a board's programs; nothing of the host's comes through."""
    fixed = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/root", "LANG": "C.UTF-8", "QEMU_CPU": cpu}
    return {**fixed, **more}


def tail(files: Sequence[Path]) -> str:
    """The last lines of the logs, for a message."""
    texts = [file.read_text(errors="replace").strip() for file in files if file.is_file()]
    lines = [line for text in texts for line in text.splitlines()[-2:]]
    return "; ".join(lines)[-300:] or "it said nothing"
