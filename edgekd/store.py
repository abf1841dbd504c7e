"""The run folder: finished units of work in SQLite, and a lock.

A unit is named by its kind and the content of its key; its result is JSON. It is recorded when it is whole, in one
transaction, after its files were renamed into place: a run that was cut off goes on from the last finished unit, and
nothing half-written is taken for whole.

    RUN/run.sqlite · RUN/candidates/<id>/… · RUN/report.{json,html,md}
"""

import fcntl
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import IO, Any

from edgekd.errors import InputError, StorageError, storage_errors
from edgekd.types import digest

# History: 1, first; 2, layers of the built-in families are named by stage and block.
SCHEMA = 2
MEASUREMENTS = ("profile", "screen")
"""Kinds whose results are figures of a machine: those that a replay takes from another run."""


class Store:
    """The record of one run. `replay` is another run's folder whose measurements are taken instead of measuring again."""

    def __init__(self, folder: Path, replay: Path | None = None) -> None:
        self.folder = folder
        with ExitStack() as held:
            with storage_errors(str(folder)):
                folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(_lock(folder))
            record = None if replay is None else _open(replay / "run.sqlite", must_exist=True)
            self._replay = None if record is None else held.enter_context(closing(record))
            self._db = held.enter_context(closing(_open(folder / "run.sqlite", must_exist=False)))
            with _database(folder):
                self._db.execute(
                    "CREATE TABLE IF NOT EXISTS unit (kind TEXT, key TEXT, value TEXT, seconds REAL, UNIQUE (kind, key))"
                )
                self._db.execute("CREATE TABLE IF NOT EXISTS project (raw TEXT, base TEXT, schema INTEGER)")
                self._db.commit()
            self._held = held.pop_all()

    def bind(self, raw: dict[str, Any], base: Path) -> None:
        """Tie the folder to a project. Raises InputError if it holds another's run, naming what differs."""
        text = json.dumps(raw, default=str)
        row = self._db.execute("SELECT raw, schema FROM project").fetchone()
        if row is None:
            with _database(self.folder):
                self._db.execute("INSERT INTO project VALUES (?, ?, ?)", (text, str(base), SCHEMA))
                self._db.commit()
            return
        if row[1] != SCHEMA:
            raise InputError(f"{self.folder} was written by another version of edgekd: choose another --out")
        changed = _differences(json.loads(row[0]), json.loads(text))
        if changed:
            raise InputError(f"{self.folder} holds the run of another project: {changed[0]} changed; choose another --out")

    def project(self) -> tuple[dict[str, Any], Path]:
        """The project that was run here, and the folder that its paths are relative to. Raises InputError where there is none."""
        row = self._db.execute("SELECT raw, base FROM project").fetchone()
        if row is None:
            raise InputError(f"{self.folder} holds no run")
        return json.loads(row[0]), Path(row[1])

    def units(self, kind: str) -> list[Any]:
        """Results of all finished units of a kind, in the order they were finished."""
        return [json.loads(row[0]) for row in self._db.execute("SELECT value FROM unit WHERE kind = ? ORDER BY rowid", (kind,))]

    def once(self, kind: str, key: Any, compute: Callable[[], Any]) -> Any:
        """The recorded result of this unit of work, or `compute()`, recorded. Results are JSON."""
        name = digest(key)
        for source in (self._db, self._replay if kind in MEASUREMENTS else None):
            row = None if source is None else _read(source, kind, name)
            if row is not None:
                if source is self._replay:
                    self._record(kind, name, row[0], row[1])
                return json.loads(row[0])
        started = time.monotonic()
        text = json.dumps(compute(), allow_nan=False)
        self._record(kind, name, text, time.monotonic() - started)
        return json.loads(text)

    def _record(self, kind: str, name: str, text: str, seconds: float) -> None:
        with _database(self.folder):
            self._db.execute("INSERT OR REPLACE INTO unit VALUES (?, ?, ?, ?)", (kind, name, text, seconds))
            self._db.commit()

    def seconds(self) -> dict[str, float]:
        """Time spent on each kind of unit, over all the processes that this run took."""
        rows = self._db.execute("SELECT kind, SUM(seconds) FROM unit GROUP BY kind ORDER BY kind")
        return {kind: round(seconds, 3) for kind, seconds in rows}

    @contextmanager
    def fresh_folder(self, path: Path) -> Iterator[Path]:
        """A folder to build in that becomes `path` when the block ends well, and is gone when it does not."""
        temporary = path.with_name(f".{path.name}.building")
        with storage_errors(str(path)):
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        try:
            yield temporary
            with storage_errors(str(path)):
                shutil.rmtree(path, ignore_errors=True)
                os.replace(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def close(self) -> None:
        self._held.close()


def _open(file: Path, *, must_exist: bool) -> sqlite3.Connection:
    if must_exist and not file.is_file():
        raise InputError(f"{file.parent} holds no run: there is no {file.name}")
    with _database(file.parent):
        connection = sqlite3.connect(file)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("SELECT COUNT(*) FROM sqlite_master")
    return connection


@contextmanager
def _database(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if type(error) is sqlite3.DatabaseError:  # what the disk refuses is one of its heirs
            raise InputError(f"{folder}/run.sqlite is damaged, or no record of a run: {error}; choose another") from error
        raise StorageError(f"{folder}/run.sqlite: {error}; free some space, or choose another --out") from error


def _read(connection: sqlite3.Connection, kind: str, name: str) -> tuple[str, float] | None:
    try:
        row: tuple[str, float] | None = connection.execute(
            "SELECT value, seconds FROM unit WHERE kind = ? AND key = ?", (kind, name)
        ).fetchone()
    except sqlite3.Error as error:
        raise InputError(f"a run's record cannot be read: {error}; choose another --out or --replay") from error
    return row


def _lock(folder: Path) -> IO[str]:
    """Held by the process that runs in this folder; the system lets go of it however that process ends."""
    file = (folder / ".lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise InputError(f"{folder} is in use by another edgekd: wait for it, or choose another --out") from error
    return file


def _differences(old: Any, new: Any, place: str = "") -> list[str]:
    """Where two documents differ, as `[distill] epochs`."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in sorted(old.keys() | new.keys()):
            inner = f"[{key}]" if not place else f"{place} {key}"
            found += _differences(old.get(key), new.get(key), inner)
        return found
    return [] if old == new else [place]
