"""One job at a time for each device: a locked file on this machine, whatever process and thread asks.

The operating system's own lock on the file is what counts: it goes with the process that holds it, however that ends, so no
lock is ever left behind; the text inside says who it is, for messages. Other machines are kept away by the lock on the device.
"""

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import platformdirs

from edgekd.bench.transports.faults import DeviceFault
from edgekd.errors import storage_errors

WAIT_S = 600.0
"""Longer than a full measurement takes, which is what another process may be at."""


class DeviceLock:
    """Held from `take` to `release`."""

    def __init__(self, address: str, folder: Path | None = None) -> None:
        self.address = address
        self._folder = folder or platformdirs.user_state_path("edgekd") / "locks"
        self._file: IO[str] | None = None

    @property
    def path(self) -> Path:
        """Named after the address, with a digest of it: what a file system makes alike stays apart."""
        plain = re.sub(r"[^A-Za-z0-9.-]+", "_", self.address)[:60]
        return self._folder / f"{plain}-{hashlib.sha256(self.address.encode()).hexdigest()[:8]}.lock"

    def take(self, wait_s: float = WAIT_S) -> None:
        """Wait for the lock. Raises DeviceFault `busy` after `wait_s`, with who holds it; StorageError."""
        with storage_errors(str(self.path)):
            self._folder.mkdir(parents=True, exist_ok=True)
            file = self.path.open("a+", encoding="utf-8")
        try:
            wait_for(lambda: _lock(file), wait_s)
        except TimeoutError:
            holder = self.holder()
            file.close()
            raise DeviceFault(self.address, "busy", f"is in use by {holder}; waited {wait_s:.0f} s") from None
        except BaseException:
            file.close()
            raise
        self._file = file
        with contextlib.suppress(OSError):  # who holds it is for messages only: a full disk must not keep a device away
            file.truncate(0)
            file.write(json.dumps({"pid": os.getpid(), "since": round(time.time())}))
            file.flush()

    def release(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.truncate(0)
            self._file.close()
            self._file = None

    def holder(self) -> str:
        """Who says in the file that it holds the lock."""
        try:
            found: Any = json.loads(self.path.read_text(encoding="utf-8"))
            return f"process {int(found['pid'])} of this machine for {max(0, round(time.time() - found['since']))} s"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process of this machine"


def wait_for(attempt: Callable[[], bool], wait_s: float) -> None:
    """Try until it succeeds, at growing intervals up to a second. Raises TimeoutError."""
    deadline, pause = time.monotonic() + wait_s, 0.05
    while not attempt():
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        time.sleep(min(pause, left))
        pause = min(1.0, pause * 1.5)


def _lock(file: IO[str]) -> bool:
    """Whether the lock was free, and is taken now."""
    if os.name == "nt":
        import msvcrt

        file.seek(1 << 30)  # far behind the text, which stays readable for others
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
