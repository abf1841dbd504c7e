"""Who holds a device: a name for this process that tells other processes of this machine whether it still lives."""

import functools
import hashlib
import os
import re
import secrets
import socket
import uuid

import psutil

OWNER = re.compile(r"(?P<machine>[0-9a-f]{8})\.(?P<pid>[0-9]{1,10})\.(?P<start>[0-9]{1,12})\.[0-9a-f]{16}")


_here: set[str] = set()
"""Owners in this process that have not retired."""


@functools.cache
def machine() -> str:
    return hashlib.sha256(f"{socket.gethostname()} {uuid.getnode()}".encode()).hexdigest()[:8]


def new_owner() -> str:
    """A name that no other has: machine, process, when that started, and something random."""
    owner = f"{machine()}.{os.getpid()}.{int(psutil.Process().create_time())}.{secrets.token_hex(8)}"
    _here.add(owner)
    return owner


def retire(owner: str) -> None:
    """The owner needs its device no more, whether or not the device could be told so."""
    _here.discard(owner)


def lives_no_more(owner: str) -> bool:
    """Whether the owner was of this machine, and has retired or ended. Of other machines' nothing is known: False."""
    match = OWNER.fullmatch(owner)
    if match is None or match["machine"] != machine():
        return False
    if int(match["pid"]) == os.getpid():
        return owner not in _here
    try:
        return abs(psutil.Process(int(match["pid"])).create_time() - int(match["start"])) > 2
    except psutil.NoSuchProcess:
        return True
    except (psutil.AccessDenied, ValueError):
        return False
