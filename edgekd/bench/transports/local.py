"""This machine: the same files and commands that go to a device, in a temporary folder and in fresh processes."""

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgekd.bench.transports.base import Completed
from edgekd.bench.transports.process import run_process
from edgekd.errors import DeviceError, InputError, storage_errors


class Local:
    """A private folder on this machine."""

    python = sys.executable

    def __init__(self) -> None:
        with storage_errors("a temporary folder"):
            self._folder = Path(tempfile.mkdtemp(prefix="edgekd-"))

    def push(self, local: Path, remote: str) -> None:
        place = self._place(remote)
        try:
            if local.is_dir():
                shutil.copytree(local, place, dirs_exist_ok=True)
            else:
                shutil.copyfile(local, place)
        except OSError as error:
            if error.filename2 is None and not os.access(local, os.R_OK):
                raise InputError(f"{local}: cannot be read: {error.strerror}") from error
            raise DeviceError(f"local: cannot copy {local.name} to {place}: {error.strerror or error}") from error

    def pull(self, remote: str, local: Path) -> None:
        place = self._place(remote)
        if not place.is_file() or place.is_symlink():
            raise DeviceError(f"local: there is no file {remote} to fetch")
        with storage_errors(str(local)):
            shutil.copyfile(place, local)

    def run(self, argv: Sequence[str], timeout_s: float) -> Completed:
        return run_process(argv, timeout_s, where="local", folder=self._folder)

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _place(self, remote: str) -> Path:
        place = (self._folder / remote).resolve()
        if not place.is_relative_to(self._folder.resolve()):
            raise DeviceError(f"local: {remote} lies outside the working folder")
        return place
