"""One job at a time for each device: a locked file on this machine, whatever process and thread asks, in the order they ask.

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
from typing import IO

from edgekd.bench.transports.faults import DeviceFault
from edgekd.errors import storage_errors
from edgekd.lab.folder import lab_folder, open_shared
from edgekd.lab.queue import MAX_NOTE, Note, Queue, new_note, read_note, take_lock

WAIT_S = 600.0
"""Longer than a full measurement takes, which is what another process may be at."""


class DeviceLock:
    """Held from `take` to `release`."""

    def __init__(self, address: str, folder: Path | None = None) -> None:
        self.address = address
        self._folder = folder or lab_folder() / "locks"
        self._file: IO[str] | None = None

    @property
    def path(self) -> Path:
        """Named after the address, with a digest of it: what a file system makes alike stays apart."""
        plain = re.sub(r"[^A-Za-z0-9.-]+", "_", self.address)[:60]
        return self._folder / f"{plain}-{hashlib.sha256(self.address.encode()).hexdigest()[:8]}.lock"

    @property
    def queue(self) -> Queue:
        """Who waits for it."""
        return Queue(self.path.with_suffix(".queue"))

    def take(self, wait_s: float = WAIT_S) -> None:
        """Wait for the lock, behind those that came before. Raises DeviceFault `busy` after `wait_s`, StorageError."""
        note = new_note(self.address)
        with storage_errors(str(self.path)):
            self._folder.mkdir(parents=True, exist_ok=True)
            file = self._open()
        try:
            with storage_errors(str(self.path)), self.queue.place(note) as turn:
                taken = _in_time(lambda: turn() and take_lock(file), wait_s)
            if not taken:
                raise DeviceFault(self.address, "busy", f"is in use by {self._holder()}; waited {wait_s:.0f} s")
        except BaseException:
            file.close()
            raise
        self._file = file
        with contextlib.suppress(OSError):  # who holds it is for messages only: a full disk must not keep a device away
            file.truncate(0)
            file.write(json.dumps({**note, "since": round(time.time())}))
            file.flush()

    def _open(self) -> IO[str]:
        return os.fdopen(open_shared(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND), "a+", encoding="utf-8")

    def release(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.truncate(0)
            self._file.close()
            self._file = None

    def seen(self) -> None:
        """Note that the device was there just now."""
        with contextlib.suppress(OSError):
            os.close(open_shared(self._sighting, os.O_WRONLY | os.O_CREAT))
            os.utime(self._sighting)

    def last_seen(self) -> float | None:
        """When it was there last, in seconds since 1970."""
        try:
            return self._sighting.stat().st_mtime
        except OSError:
            return None

    def holder(self) -> Note | None:
        """Who has the device now; None where nobody has it."""
        try:
            with self._open() as file:
                if take_lock(file):
                    return None
                file.seek(0)
                found = read_note(file.read(MAX_NOTE))
        except OSError:
            return None
        return found or {"address": self.address, "pid": 0, "user": "unknown", "job": "", "since": round(time.time())}

    @property
    def _sighting(self) -> Path:
        return self.path.with_suffix(".seen")

    def _holder(self) -> str:
        note = self.holder()
        if note is None or not note["pid"]:
            return "another process of this machine"
        return f"process {note['pid']} of this machine ({note['user']}: {note['job']}) for {round(time.time()) - note['since']} s"


def known_locks(folder: Path | None = None) -> list[DeviceLock]:
    """The locks of all devices that somebody has, or waits for, at this moment."""
    folder = folder or lab_folder() / "locks"
    found = {}
    for path in sorted(folder.glob("*.lock")):
        with contextlib.suppress(OSError):
            note = read_note(path.read_text(encoding="utf-8", errors="replace")[:MAX_NOTE])
            waiting = Queue(path.with_suffix(".queue")).waiting()
            address = note["address"] if note else waiting[0]["address"] if waiting else None
            if address is not None and DeviceLock(address, folder).path == path:
                found[address] = DeviceLock(address, folder)
    return list(found.values())


def _in_time(attempt: Callable[[], bool], wait_s: float) -> bool:
    try:
        wait_for(attempt, wait_s)
    except TimeoutError:
        return False
    return True


def wait_for(attempt: Callable[[], bool], wait_s: float) -> None:
    """Try until it succeeds, at growing intervals up to a second. Raises TimeoutError."""
    deadline, pause = time.monotonic() + wait_s, 0.05
    while not attempt():
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        time.sleep(min(pause, left))
        pause = min(1.0, pause * 1.5)
