"""Where a device is: as the user says, else as the user's own `devices.toml` says. Profiles hold facts, never addresses.

[raspberry-pi-5]
connect = "ssh:pi@192.168.1.20"
"""

import tomllib
from pathlib import Path
from typing import Any

import platformdirs

from edgekd.bench.transports.address import read_address
from edgekd.device import LOCAL
from edgekd.errors import InputError, did_you_mean, first_line


def find_address(device: str, connect: str | None) -> str | None:
    """The address of a device, checked; None where it is this machine, or where none is known.

    Raises InputError where the address, or the file that it stands in, is not well formed.
    """
    address = connect if connect is not None else _noted(device)
    if address is None:
        return None
    if device == LOCAL and read_address(address).kind != LOCAL:
        raise InputError(f"device 'local' is this machine, not {address}: name the profile of what is there")
    return str(read_address(address))


def book_file() -> Path:
    return platformdirs.user_config_path("edgekd") / "devices.toml"


def addresses() -> list[tuple[str, str]]:
    """Every device that the file has, with its address, checked. Raises InputError as `find_address`."""
    return [(name, str(read_address(_noted(name) or ""))) for name in _book()]


def _book() -> dict[str, Any]:
    file = book_file()
    if not file.is_file():
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: cannot be read: {first_line(error)}") from error


def _noted(device: str) -> str | None:
    file = book_file()
    entry = None if device == LOCAL else _book().get(device)
    if entry is None:
        return None
    if not isinstance(entry, dict) or not isinstance(entry.get("connect"), str):
        raise InputError(f'{file}: [{device}] is written with a line connect = "ssh:HOST"')
    for key in entry:
        if key != "connect":
            raise InputError(f"{file}: [{device}] has no key {key!a}" + did_you_mean(key, ("connect",)))
    return str(entry["connect"])
