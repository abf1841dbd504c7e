"""An emulated Raspberry Pi 5 for all tests of a session: real arm64 programs behind a real sshd and a real adbd.

Its root is built once (a minute) and kept in the user's cache, or in `EDGEKD_CACHE`; each session copies and starts it in 2 s.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekd.emulate.board import Running, start_board
from edgekd.emulate.needs import missing
from edgekd.errors import InputError


@pytest.fixture(scope="session")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The board, up. Skips where this machine cannot emulate one."""
    reason = missing("arm64")
    if reason:
        pytest.skip(f"emulated boards: {reason}")
    folder = tmp_path_factory.mktemp("board")
    try:
        found = start_board("pi5", folder / "pi5", adb=True)
    except InputError as error:  # apt knows no Debian archive here
        pytest.skip(str(error))
    yield found
    found.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def ssh_board(board: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The board's address over ssh. An `ssh` first in PATH stands for the line in the user's configuration."""
    wrapper = tmp_path / "bin" / "ssh"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {board.ssh_config} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    return f"ssh:{board.host}"
