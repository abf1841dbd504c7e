"""What emulated boards need of this host, what of it is missing, and the command that mends it."""

import os
import platform
import shutil
import sys
from importlib.util import find_spec

from edgekd.emulate.boards import ARCHS, Arch
from edgekd.errors import MissingExtraError

PROGRAMS = {"mmdebstrap": "mmdebstrap", "ssh": "openssh-client", "ssh-keygen": "openssh-client", "gcc": "gcc libc6-dev"}
"""Program → Debian packages that bring it."""
KERNEL = (6, 7)
"""The first with a binfmt_misc of each user namespace (commit 21ca59b365c0)."""


def missing(arch: Arch | None = None) -> str | None:
    """Why no board of that architecture (None: of any) can run here and what to do, or None where it can."""
    unfit = _unfit()
    if unfit:
        return unfit
    packages = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    for name in (arch,) if arch else ARCHS:
        guest = "aarch64" if name == "arm64" else "arm"
        if shutil.which(f"qemu-{guest}") is None and shutil.which(f"qemu-{guest}-static") is None:
            packages.append("qemu-user")
    if packages:
        return f"not installed here: apt-get install --no-install-recommends {' '.join(dict.fromkeys(packages))}"
    if find_spec("pip") is None:
        return f"{sys.executable} has no pip to fetch wheels with: python -m ensurepip"
    return None


def _unfit() -> str | None:
    """What no package mends."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"boards are emulated on Linux on x86-64 only; this is {sys.platform} on {platform.machine()}"
    release = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2] if part.isdecimal())
    if release < KERNEL:
        return f"the kernel is {platform.release()}; binfmt_misc in user namespaces came with Linux 6.7"
    if os.geteuid() != 0:
        return "a board's sshd needs several users, which only root can give it: run the command with sudo"
    if not os.path.exists("/proc/self/ns/user"):
        return "the kernel has no user namespaces (CONFIG_USER_NS)"
    return None


def require(arch: Arch) -> None:
    """Raises MissingExtraError with the first reason why there can be no board here."""
    reason = missing(arch)
    if reason:
        raise MissingExtraError(f"emulated boards: {reason}")


def examined() -> dict[str, str]:
    """The line of `edgekd doctor`."""
    reason = missing()
    text = reason or f"{', '.join(ARCHS)}: edgekd devices emulate pi5"
    return {"name": "emulated boards", "state": "unavailable" if reason else "ok", "text": text}
