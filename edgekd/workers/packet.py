"""Recorded units of work and the files that they made, as bytes on their way between a run and its workers.

    "EDGEKD1\\n" · 8 bytes, length of the header · header, JSON · the files' bytes in the header's order

No pickle: what arrives is data, and checked before anything of it is written (`from_bytes`, `Store.merge`).
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any, Self

from edgekd.errors import InputError

Record = dict[str, Any]
UnitName = tuple[str, str]
"""Kind, and the digest of the key."""
MAGIC = b"EDGEKD1\n"
LENGTH_BYTES = 8
CANDIDATES, DEPTH = "candidates", 3
"""Files lie at candidates/<id>/<name> or deeper: no packet reaches the record, the reports, or a candidate's whole folder."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A finished unit as the store has it.

    Args:
        value: its result, JSON text.
        seconds: that it took to compute.
        files: paths relative to the run's folder.
        folder: that the files fill and that appears as a whole; empty where they are placed one by one.
    """

    kind: str
    key: str
    value: str
    seconds: float
    files: tuple[str, ...] = ()
    folder: str = ""

    @property
    def name(self) -> UnitName:
        return self.kind, self.key


@dataclass(frozen=True, kw_only=True)
class Packet:
    """Units, the content of their files by path, and a note of what the packet is for: JSON."""

    units: tuple[Unit, ...] = ()
    files: dict[str, bytes] = field(default_factory=dict)
    note: Record = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        listed = [{"path": p, "size": len(c), "sha256": hashlib.sha256(c).hexdigest()} for p, c in self.files.items()]
        header = json.dumps({"units": [asdict(unit) for unit in self.units], "files": listed, "note": self.note}).encode()
        return b"".join([MAGIC, len(header).to_bytes(LENGTH_BYTES, "big"), header, *self.files.values()])

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Raises InputError for anything that is not a whole packet with safe paths."""
        begin = len(MAGIC) + LENGTH_BYTES
        try:
            if content[: len(MAGIC)] != MAGIC:
                raise ValueError("it does not begin as one")
            end = begin + int.from_bytes(content[len(MAGIC) : begin], "big")
            header = json.loads(content[begin:end])
            files = _files(header["files"], content, end)
            units = tuple(_unit(record, files) for record in header["units"])
            return cls(units=units, files=files, note=dict(header["note"]))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(f"what a worker sent is no packet of units: {error}") from error


def _files(listed: list[Record], content: bytes, start: int) -> dict[str, bytes]:
    found = {}
    for item in listed:
        size, part = int(item["size"]), content[start : start + int(item["size"])]
        if size < 0 or len(part) != size or hashlib.sha256(part).hexdigest() != item["sha256"]:
            raise ValueError(f"file {item['path']!r} is damaged")
        found[safe_path(item["path"])] = part
        start += size
    if start != len(content):
        raise ValueError("there is more of it than it says")
    return found


def _unit(record: Record, files: dict[str, bytes]) -> Unit:
    unit = Unit(**{**record, "files": tuple(record["files"]), "seconds": float(record["seconds"])})
    if not all(isinstance(text, str) for text in (unit.kind, unit.key, unit.value, unit.folder)):
        raise ValueError("a unit is not made of text")
    json.loads(unit.value)
    folder = safe_path(unit.folder) if unit.folder else ""
    for path in unit.files:
        if path not in files or (folder and not PurePosixPath(path).is_relative_to(folder)):
            raise ValueError(f"unit {unit.kind!r} has no file {path!r}")
    return unit


def safe_path(path: object) -> str:
    """The path, if it is one of a candidate's, relative to the run's folder and written the plain way. Raises ValueError."""
    if not isinstance(path, str) or not path or "\0" in path or "\\" in path:
        raise ValueError(f"{path!r} is no path")
    plain = PurePosixPath(path)
    if ".." in plain.parts or plain.as_posix() != path or plain.parts[:1] != (CANDIDATES,) or len(plain.parts) < DEPTH:
        raise ValueError(f"path {path!r} is not in a candidate's folder")
    return path


def places(kind: str, value: Any) -> tuple[str, bool]:
    """Where a unit's files lie, relative to the run's folder, and whether that is a folder; empty where it made none.

    A training makes its weights file; a build makes the folder around its artifact.
    """
    if kind == "distil" and isinstance(value, dict) and value.get("weights"):
        return str(value["weights"]), False
    if kind == "build" and isinstance(value, dict) and value.get("path"):
        return PurePosixPath(value["path"]).parent.as_posix(), True
    return "", False
