"""Who waits for a device, first come, first served: a folder of tickets, each locked by its process for as long as it waits.

As with the device's lock, the operating system's lock on the file is what counts: the ticket of a process that ended is nobody's.
"""

import contextlib
import getpass
import json
import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from edgekd.lab.folder import is_shared, open_shared

Note = dict[str, Any]
TICKET = re.compile(r"[0-9]{20}-[0-9a-f]{8}")
MAX_NOTE = 4096
LONGEST_JOB = 120


def new_note(address: str) -> Note:
    """Who this process is, for people: its user, its number, what it was called with, when it came (seconds since 1970)."""
    job = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return {"address": address, "pid": os.getpid(), "user": _user(), "job": _printable(job), "since": round(time.time())}


def read_note(text: str) -> Note | None:
    """A note that another process wrote, checked; None where it is none."""
    try:
        found = json.loads(text[:MAX_NOTE])
        since, pid = found["since"], found["pid"]
        texts = {name: _printable(str(found[name])) for name in ("address", "user", "job")}
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if type(since) is not int or type(pid) is not int or not 0 <= since < 2**40:
        return None
    return {**texts, "pid": pid, "since": since}


class Queue:
    """Tickets of one device, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def place(self, note: Note) -> Iterator[Callable[[], bool]]:
        """Within, this process waits; gives what says whether nobody came before it. Raises OSError for a folder that refuses."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if is_shared():
            with contextlib.suppress(OSError):
                self.folder.chmod(0o2770)
        name = f"{time.time_ns():020d}-{secrets.token_hex(4)}"
        ticket, draft = self.folder / name, self.folder / f".{name}"
        with os.fdopen(open_shared(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL), "w+", encoding="utf-8") as file:
            try:
                take_lock(file)  # before it has its name: an unlocked ticket is taken away
                with contextlib.suppress(OSError):  # who waits is for people: a full disk must not keep a device away
                    file.write(json.dumps(note))
                    file.flush()
                draft.rename(ticket)
                yield lambda: not any(name < ticket.name for name, _ in self._living())
            finally:
                ticket.unlink(missing_ok=True)
                draft.unlink(missing_ok=True)

    def waiting(self) -> list[Note]:
        """Who waits, the first to come first."""
        notes = [read_note(text) for _, text in self._living()]
        return [note for note in notes if note is not None]

    def _living(self) -> Iterator[tuple[str, str]]:
        """Names and texts of the tickets whose processes live; those of others are taken away."""
        for path in sorted(self.folder.glob("*-*")):
            if not TICKET.fullmatch(path.name):
                continue
            with contextlib.suppress(OSError), os.fdopen(open_shared(path, os.O_RDWR), "r+", encoding="utf-8") as file:
                if take_lock(file):
                    path.unlink(missing_ok=True)
                else:
                    yield path.name, file.read(MAX_NOTE)


def take_lock(file: IO[str]) -> bool:
    """Whether the lock on an open file was free, and is this process's now, until the file is closed."""
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


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:LONGEST_JOB]
