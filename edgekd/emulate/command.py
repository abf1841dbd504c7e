"""`edgekd devices emulate`: start a board, say how it is reached, keep it until Ctrl-C or `--stop`."""

import contextlib
import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgekd.emulate import launch
from edgekd.emulate.board import Running, Say, start_board
from edgekd.emulate.boards import find_arch, find_board
from edgekd.errors import InputError
from edgekd.lab.folder import lab_folder
from edgekd.types import digest


def emulate_board(
    name: str,
    folder: Path,
    arch: str,
    *,
    adb: bool,
    bare: bool,
    background: bool,
    archive: str | None,
    say: Say,
    put: Callable[[dict[str, Any]], None],
) -> None:
    """Start a board and, unless in the background, stay until it ends. Raises InputError for names that are not known."""
    find_board(name)
    if archive is not None and not re.fullmatch(r"(https?|file)://[!-~]+", archive):
        raise InputError(f"--mirror {archive[:60]!r} is no address of a Debian archive: http://HOST/debian")
    running = start_board(
        name, folder, arch=find_arch(arch), adb=adb, bare=bare, archive=archive, with_parent=not background, say=say
    )
    put(described(running))
    note_board(described(running))
    say("\n".join(how_to_reach(running)))
    if background:
        return
    say("Ctrl-C ends it")
    # A service manager's or a script's end of this command ends the board as Ctrl-C does.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            running.process.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
        running.stop()


def note_board(board: dict[str, Any]) -> None:
    """Let `edgekd devices status` know of a board."""
    file = lab_folder() / "boards" / f"{digest(board['folder'])[:16]}.json"
    with contextlib.suppress(OSError):  # the board is up all the same
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(board))


def stop_board(folder: Path) -> dict[str, Any]:
    """End the board of a folder. Raises InputError where none runs."""
    folder = folder.resolve()
    if not launch.running(folder):
        raise InputError(f"no board runs in {folder}; --out says which folder")
    launch.end(folder)
    return {"folder": str(folder), "stopped": True}


def described(running: Running) -> dict[str, Any]:
    """What a script needs."""
    return {
        "folder": str(running.folder),
        "host": running.host,
        "ssh_config": str(running.ssh_config),
        "ssh_port": running.ssh_port,
        "adb_serial": running.adb_serial,
        "cpu": running.cpu,
    }


def how_to_reach(running: Running) -> list[str]:
    """What a person needs."""
    lines = [
        f"{running.host} is up (emulated {running.cpu})",
        f"  ssh:    ssh -F '{running.ssh_config}' {running.host}",
        f"  edgekd: put this line first in ~/.ssh/config, then use the address ssh:{running.host}",
        f'          Include "{running.ssh_config}"',
    ]
    if running.adb_serial:
        lines += [
            f"  adb:    adb connect {running.adb_serial}; then use the address adb:{running.adb_serial}",
            "          adbd asks for no key: every user of this machine can enter the board (not the machine)",
        ]
    return lines
