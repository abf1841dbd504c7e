"""Small files and commands of a device, read alike here and through a transport: what sensors and /proc say.

What a device answers is untrusted: answers are cut off, names of folder entries are checked before they are used again.
"""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from edgekd.errors import DeviceError

MAX_TEXT = 1 << 20
"""Characters of one answer: /proc/cpuinfo of 512 processors is 0.8 MB."""
MAX_NAMES = 4096
NAME = re.compile(r"[A-Za-z0-9_.:@-]{1,100}")
TIMEOUT_S = 20.0


class Ended(Protocol):
    """How a command ended."""

    @property
    def rc(self) -> int: ...
    @property
    def stdout(self) -> str: ...
    @property
    def stderr(self) -> str: ...


class Runner(Protocol):
    """What is needed of a transport."""

    def run(self, argv: Sequence[str], timeout_s: float) -> Ended: ...


class Files(Protocol):
    """Where sensors are read. Paths are absolute; OSError where a file cannot be read, DeviceError where the device is lost."""

    here: bool
    """Whether this is this machine, so that a reading costs microseconds."""

    def read(self, path: str) -> str:
        """The text of a file, without white space at its ends. Raises PermissionError or another OSError."""
        ...

    def read_many(self, paths: Sequence[str]) -> list[str]:
        """Of files of one line each: read in one go where each costs a round trip."""
        ...

    def names(self, folder: str) -> list[str]:
        """Entries of a folder in order; none where it is not there."""
        ...

    def snapshot(self, patterns: Sequence[str]) -> "Files":
        """The same, with the files that match the patterns (shell globs, of this program's own) read now, in one go where
        each costs a round trip; others are absent in it."""
        ...

    def output(self, argv: Sequence[str], timeout_s: float = TIMEOUT_S) -> str:
        """What a command says. Raises OSError where it is not there or fails."""
        ...


class Here:
    """This machine, or a copy of its /sys and /proc under `root`."""

    here = True

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def read(self, path: str) -> str:
        with open(self._root / path.lstrip("/"), errors="replace") as stream:
            return stream.read(MAX_TEXT).strip()

    def read_many(self, paths: Sequence[str]) -> list[str]:
        return [self.read(path) for path in paths]

    def names(self, folder: str) -> list[str]:
        try:
            return _sound(os.listdir(self._root / folder.lstrip("/")))
        except OSError:
            return []

    def snapshot(self, patterns: Sequence[str]) -> Files:
        return self

    def output(self, argv: Sequence[str], timeout_s: float = TIMEOUT_S) -> str:
        try:
            found = subprocess.run(
                list(argv), stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, text=True, errors="replace"
            )
        except subprocess.TimeoutExpired as error:
            raise OSError(f"{argv[0]} did not end in {timeout_s:g} s") from error
        return _said(found.returncode, found.stdout, found.stderr, argv[0])


class There:
    """A device behind a transport: `cat`, `ls` and the sensors' own programs are run on it."""

    here = False

    def __init__(self, transport: Runner) -> None:
        self._transport = transport

    def read(self, path: str) -> str:
        return self.output(["cat", path]).strip()

    def read_many(self, paths: Sequence[str]) -> list[str]:
        lines = self.output(["cat", *paths]).splitlines()
        if len(lines) != len(paths):
            raise OSError(f"{len(paths)} files of one line were read, {len(lines)} lines came back")
        return [line.strip() for line in lines]

    def names(self, folder: str) -> list[str]:
        try:
            return _sound(self.output(["ls", "-1", folder]).splitlines())
        except OSError:
            return []

    def snapshot(self, patterns: Sequence[str]) -> Files:
        try:
            said = self.output(["sh", "-c", f'grep -sH "" {" ".join(patterns)}; true'])
        except OSError:
            said = ""
        return Snapshot(said, self)

    def output(self, argv: Sequence[str], timeout_s: float = TIMEOUT_S) -> str:
        try:
            ended = self._transport.run(list(argv), timeout_s)
        except DeviceError as error:
            if "cannot start" in str(error):  # the local transport's word for a program that is not installed
                raise FileNotFoundError(f"{argv[0]} is not there") from error
            raise
        return _said(ended.rc, ended.stdout, ended.stderr, argv[0])


class Snapshot:
    """Files of a device as they were at one moment, from lines `path:text`; commands are still run on it."""

    here = False

    def __init__(self, said: str, device: Files) -> None:
        self._device = device
        self._texts: dict[str, list[str]] = {}
        for line in said.splitlines():
            path, _, text = line.partition(":")
            if path.startswith("/") and all(NAME.fullmatch(part) for part in path[1:].split("/")):
                self._texts.setdefault(path, []).append(text)

    def read(self, path: str) -> str:
        if path not in self._texts:
            raise FileNotFoundError(f"{path} was not there")
        return "\n".join(self._texts[path]).strip()

    def read_many(self, paths: Sequence[str]) -> list[str]:
        return [self.read(path) for path in paths]

    def names(self, folder: str) -> list[str]:
        inside = [path[len(folder) + 1 :] for path in self._texts if path.startswith(f"{folder}/")]
        return _sound(list(dict.fromkeys(name.partition("/")[0] for name in inside)))

    def snapshot(self, patterns: Sequence[str]) -> Files:
        return self

    def output(self, argv: Sequence[str], timeout_s: float = TIMEOUT_S) -> str:
        return self._device.output(argv, timeout_s)


def _said(rc: int, stdout: str, stderr: str, program: str) -> str:
    if rc == 0:
        return stdout[:MAX_TEXT]
    cause = printable(stderr.strip().splitlines()[-1]) if stderr.strip() else f"exit code {rc}"
    if "ermission denied" in cause or "not permitted" in cause:
        raise PermissionError(f"{program}: {cause}")
    raise OSError(f"{program}: {cause}")


def _sound(names: Sequence[str]) -> list[str]:
    """Only names that can be part of a path: no separator, no option, no control character."""
    return sorted(n for n in names[:MAX_NAMES] if NAME.fullmatch(n) and not n.startswith("-") and n not in (".", ".."))


def printable(text: str, limit: int = 200) -> str:
    """A device's text on one line, without control characters (terminals obey them), cut to `limit` characters."""
    return "".join(c if c.isprintable() else " " for c in text).strip()[:limit]


def text_of(files: Files, path: str) -> str:
    """A file's text, or nothing where it cannot be read."""
    try:
        return files.read(path)
    except OSError:
        return ""


def number_of(files: Files, path: str) -> int | None:
    """A file's whole number, or None where it cannot be read or is no number."""
    text = text_of(files, path)
    return int(text) if re.fullmatch(r"-?[0-9]{1,19}", text) else None
