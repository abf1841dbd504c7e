"""Where a device is: `local`, `ssh:[USER@]HOST[:PORT]` or `adb:SERIAL`, read strictly.

An address becomes an argument of ssh or adb, and ssh may put a host's name into its user's own ProxyCommand, which is a line
for a shell (CVE-2023-51385). So only letters, digits and a few signs are let through, and none that could be an option.
"""

import re
from dataclasses import dataclass
from typing import Literal

from edgekd.errors import InputError, did_you_mean

LONGEST = 255
HOST = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
IPV6 = r"\[[0-9A-Fa-f:.]{2,45}\]"
USER = r"[A-Za-z_][A-Za-z0-9._-]*"
SSH = re.compile(rf"(?:(?P<user>{USER})@)?(?P<host>{HOST}|{IPV6})(?::(?P<port>[0-9]{{1,5}}))?")
ADB = re.compile(rf"{HOST}(?::[0-9]{{1,5}})?|{IPV6}:[0-9]{{1,5}}")


@dataclass(frozen=True, kw_only=True)
class Address:
    """A checked address. `host` is ssh's host, or adb's serial number; `port` is ssh's, where it was given."""

    kind: Literal["local", "ssh", "adb"]
    host: str = ""
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        """As it was written."""
        if self.kind == "local":
            return "local"
        host = f"[{self.host}]" if self.kind == "ssh" and ":" in self.host else self.host
        user, port = f"{self.user}@" if self.user else "", f":{self.port}" if self.port else ""
        return f"{self.kind}:{user}{host}{port}"


def read_address(text: str) -> Address:
    """The address in a text. Raises InputError that shows how one is written."""
    if text == "local":
        return Address(kind="local")
    kind, colon, place = text.partition(":")
    if not colon or kind not in ("ssh", "adb"):
        shown = ascii(text[:60])
        raise InputError(f"address {shown} is not known" + did_you_mean(text, ("local", "ssh:HOST", "adb:SERIAL")))
    match = (SSH if kind == "ssh" else ADB).fullmatch(place) if len(place) <= LONGEST else None
    if match is None:
        form = "ssh:[USER@]HOST[:PORT]" if kind == "ssh" else "adb:SERIAL, as adb devices shows it"
        raise InputError(f"address {text[:60]!a} is none that {kind} takes: write {form}, in letters, digits, '.', '-' and '_'")
    if kind == "adb":
        return Address(kind="adb", host=place)
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 1 <= port <= 65535:
        raise InputError(f"address {text[:60]!a}: port {port} is not from 1 to 65535")
    return Address(kind="ssh", host=match["host"].strip("[]"), user=match["user"], port=port)
