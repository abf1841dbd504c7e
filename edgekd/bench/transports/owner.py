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


@functools.cache
def machine() -> str:
    return hashlib.sha256(f"{socket.gethostname()} {uuid.getnode()}".encode()).hexdigest()[:8]


def new_owner() -> str:
    """A name that no other has: machine, process, when that started, and something random."""
    return f"{machine()}.{os.getpid()}.{int(psutil.Process().create_time())}.{secrets.token_hex(8)}"


def lives_no_more(owner: str) -> bool:
    """Whether the owner was a process of this machine that has ended. Of other machines' nothing is known: False."""
    match = OWNER.fullmatch(owner)
    if match is None or match["machine"] != machine():
        return False
    try:
        return abs(psutil.Process(int(match["pid"])).create_time() - int(match["start"])) > 2
    except psutil.NoSuchProcess:
        return True
    except (psutil.AccessDenied, ValueError):
        return False
