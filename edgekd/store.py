"""The run folder: finished units of work in SQLite, and a lock.

A unit is named by its kind and the content of its key; its result is JSON. It is recorded when it is whole, in one
transaction, after its files were renamed into place: a run that was cut off goes on from the last finished unit, and
nothing half-written is taken for whole.

Workers never write here: each has a store of its own and sends what it recorded as a packet, which the one process that holds
the lock merges (`merge`). What is recorded stays as it is, however often and in whatever order packets come.

    RUN/run.sqlite · RUN/candidates/<id>/… · RUN/report.{json,html,md}
"""

import fcntl
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from edgekd.errors import InputError, StorageError, storage_errors
from edgekd.types import digest
from edgekd.workers.packet import Packet, Unit, UnitName, places
from edgekd.workers.placing import check_inside, place_files, sync_folder

# History: 1, first; 2, layers of the built-in families are named by stage and block.
SCHEMA = 2
MEASUREMENTS = ("profile", "screen")
"""Kinds whose results are figures of a machine: those that a replay takes from another run."""


class Unrecorded(Exception):
    """A unit that the store was only asked for is not there; `name` is its kind and the digest of its key."""

    def __init__(self, name: UnitName) -> None:
        super().__init__(f"{name[0]} {name[1][:8]} is not recorded")
        self.name = name


class Store:
    """The record of one run. `replay` is another run's folder whose measurements are taken instead of measuring again."""

    def __init__(self, folder: Path, replay: Path | None = None) -> None:
        self.folder = folder
        self._asked: list[UnitName] | None = None
        self._taken: set[UnitName] = set()
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
                self._db.execute("CREATE TABLE IF NOT EXISTS attempt (value TEXT)")
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
        """The recorded result of this unit of work, or `compute()`, recorded. Results are JSON.

        Within `asking`, raises Unrecorded instead of computing.
        """
        name = digest(key)
        self._taken.add((kind, name))
        for source in (self._db, self._replay if kind in MEASUREMENTS else None):
            row = None if source is None else _read(source, kind, name)
            if row is not None:
                if source is self._replay:
                    self._record(kind, name, row[0], row[1])
                if self._asked is not None:
                    self._asked.append((kind, name))
                return json.loads(row[0])
        if self._asked is not None:
            raise Unrecorded((kind, name))
        started = time.monotonic()
        text = json.dumps(compute(), allow_nan=False)
        self._record(kind, name, text, time.monotonic() - started)
        return json.loads(text)

    def _record(self, kind: str, name: str, text: str, seconds: float) -> None:
        with _database(self.folder):
            self._db.execute("INSERT OR REPLACE INTO unit VALUES (?, ?, ?, ?)", (kind, name, text, seconds))
            self._db.commit()

    @contextmanager
    def asking(self) -> Iterator[list[UnitName]]:
        """Within, nothing is computed: the first unit that is not recorded raises Unrecorded. Gives those that were read."""
        self._asked = []
        try:
            yield self._asked
        finally:
            self._asked = None

    # Packets -------------------------------------------------------------------------------------------------------

    @property
    def last(self) -> int:
        """A number that grows with every recorded unit: `since` gives those after it."""
        return int(self._db.execute("SELECT COALESCE(MAX(rowid), 0) FROM unit").fetchone()[0])

    def since(self, last: int) -> list[UnitName]:
        return [tuple(row) for row in self._db.execute("SELECT kind, key FROM unit WHERE rowid > ? ORDER BY rowid", (last,))]

    def packet(self, names: Iterable[UnitName], note: dict[str, Any] | None = None) -> Packet:
        """These units, those that are recorded, with their files."""
        units: list[Unit] = []
        files: dict[str, bytes] = {}
        for kind, name in dict.fromkeys(names):
            row = _read(self._db, kind, name)
            if row is None:
                continue
            place, whole_folder = places(kind, json.loads(row[0]))
            paths = [self.folder / place] if place else []
            if whole_folder:
                paths = sorted(path for path in (self.folder / place).rglob("*") if path.is_file())
            own = {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in paths}
            folder = place if whole_folder else ""
            units.append(Unit(kind=kind, key=name, value=row[0], seconds=row[1], files=tuple(own), folder=folder))
            files |= own
        return Packet(units=tuple(units), files=files, note=note or {})

    def merge(self, packet: Packet, attempt: dict[str, Any] | None = None) -> int:
        """Take over the units that are not recorded yet, their files first; how many those were.

        Files are on the disk before the one transaction that records the units and the attempt that brought them: a merge that
        is cut off leaves files that nothing refers to, and is done again. Raises InputError for a path that leads elsewhere.
        """
        named = {unit.name: unit for unit in reversed(packet.units)}
        new = [unit for name, unit in reversed(named.items()) if _read(self._db, *name) is None]
        for unit in new:
            self._place(unit, packet.files)
        rows = [(unit.kind, unit.key, unit.value, unit.seconds) for unit in new]
        with _database(self.folder), self._db:  # commits whole, or rolls back
            self._db.executemany("INSERT INTO unit VALUES (?, ?, ?, ?)", rows)
            if attempt is not None:
                text = json.dumps({**attempt, "recorded": len(new), "repeated": len(packet.units) - len(new)})
                self._db.execute("INSERT INTO attempt VALUES (?)", (text,))
        return len(new)

    def _place(self, unit: Unit, files: dict[str, bytes]) -> None:
        contents = {path: files[path] for path in unit.files}
        with storage_errors(str(self.folder / "candidates")):
            if not unit.folder:
                place_files(self.folder, contents)
                return
            place = self.folder / unit.folder
            check_inside(self.folder, place)
            with self.fresh_folder(place) as folder:
                place_files(folder, {PurePosixPath(p).relative_to(unit.folder).as_posix(): c for p, c in contents.items()})
            sync_folder(place.parent)

    def attempts(self) -> list[dict[str, Any]]:
        """Every attempt of a worker at a task, in the order in which they ended."""
        return [json.loads(row[0]) for row in self._db.execute("SELECT value FROM attempt ORDER BY rowid")]

    def seconds(self) -> dict[str, float]:
        """Time spent on each kind of unit that was asked for, whichever process did it, and when."""
        rows = self._db.execute("SELECT kind, key, seconds FROM unit ORDER BY kind, rowid")
        found: dict[str, float] = {}
        for kind, name, seconds in rows:
            if (kind, name) in self._taken:
                found[kind] = found.get(kind, 0.0) + seconds
        return {kind: round(seconds, 3) for kind, seconds in found.items()}

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
