"""Every measurement of a shared lab in one store, `results.sqlite` in its folder, whoever made it by whatever command.

Kept only where `EDGEKD_LAB` names a shared folder: elsewhere records go where the command that made them puts them.
"""

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from edgekd.errors import StorageError, storage_errors
from edgekd.lab.folder import is_shared, lab_folder, open_shared
from edgekd.lab.queue import new_note

Record = dict[str, Any]
WAIT_S = 60.0
"""For other processes that write at the same moment."""
MOST = 1000


def results_file() -> Path:
    return lab_folder() / "results.sqlite"


def keep(record: Record, *, device: str, target: str, sha256: str, address: str | None) -> None:
    """Record a measurement, as JSON can hold it. Raises StorageError where the lab's folder cannot be written."""
    if not is_shared():
        return
    note = new_note(address or "local")
    row = (time.time(), note["user"], device, note["address"], target, sha256, json.dumps(record))
    with _opened() as store, store:
        store.execute("INSERT INTO result VALUES (?, ?, ?, ?, ?, ?, ?)", row)


def results(device: str | None = None, most: int = MOST) -> list[Record]:
    """The latest measurements, the last one first: `created` (seconds since 1970), `user`, `device`, `address`, `target`,
    `sha256` of the artifact, and the `record` itself. Raises StorageError.
    """
    if not results_file().is_file():
        return []
    columns = ("created", "user", "device", "address", "target", "sha256", "record")
    with _opened() as store:
        rows = store.execute(
            "SELECT * FROM result WHERE ?1 IS NULL OR device = ?1 ORDER BY created DESC LIMIT ?2", (device, most)
        ).fetchall()
    return [{**dict(zip(columns, row, strict=True)), "record": json.loads(row[-1])} for row in rows]


@contextmanager
def _opened() -> Iterator[sqlite3.Connection]:
    file = results_file()
    with storage_errors(str(file)):
        file.parent.mkdir(parents=True, exist_ok=True)
        os.close(open_shared(file, os.O_RDWR | os.O_CREAT))
    try:
        with closing(sqlite3.connect(file, timeout=WAIT_S)) as store:
            store.execute(
                "CREATE TABLE IF NOT EXISTS result "
                "(created REAL, user TEXT, device TEXT, address TEXT, target TEXT, sha256 TEXT, record TEXT)"
            )
            yield store
    except sqlite3.Error as error:
        raise StorageError(f"{file}: {error}; free some space, or let EDGEKD_LAB name another folder") from error
