"""The process that holds a running board: namespaces of its own, in which ARM programs run through QEMU.

Run as a script with a JSON description (`Description` of `launch.py`); standard library only, so that it starts at once. It
lives as long as the board does, holds the board's lock, and takes everything of the board along when it ends:

    holder (root on the host) ── keeper ── pid 1 of the board, which only reaps ── sshd, adbd

Users of the board, root too, are ids of the host that nobody has; its root file system is the only one there; QEMU is known to
a binfmt_misc of the board's own (Linux 6.7), so nothing is registered on the machine. A program that QEMU kills by a signal
must not be pid 1, which signals do not kill: it would hang for ever.
"""

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
MNT_DETACH, PR_SET_PDEATHSIG, SYS_PIVOT_ROOT_X86_64 = 2, 1, 155
IDS = 65536
DEVICES = ("full", "null", "random", "tty", "urandom", "zero")
libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str | None, target: str, kind: str | None = None, flags: int = 0, data: str | None = None) -> None:
    texts = [None if text is None else text.encode() for text in (source, target, kind, data)]
    result = libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3])
    check(result, f"mount {kind or 'bind'} {target}")


def die_with_parent(parent: int) -> None:
    """End when the parent does, however it ends. Set after every change of ids: the kernel forgets it then."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def mount_all(description: dict[str, Any]) -> None:
    """Everything that is mounted in the board's root, then that root in place of the host's."""
    root = description["root"]
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    mount(root, root, None, MS_BIND)
    mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("binfmt_misc", f"{root}/proc/sys/fs/binfmt_misc", "binfmt_misc")
    for line in description["binfmt"]:
        with open(f"{root}/proc/sys/fs/binfmt_misc/register", "w") as file:
            file.write(line)
    for name in DEVICES:
        mount(f"/dev/{name}", f"{root}/dev/{name}", None, MS_BIND)
    mount("devpts", f"{root}/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5")
    mount("tmpfs", f"{root}/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    for source, target in description["binds"]:
        mount(source, f"{root}/{target}", None, MS_BIND)
    os.chdir(root)
    check(libc.syscall(SYS_PIVOT_ROOT_X86_64, b".", b"."), "pivot_root")
    check(libc.umount2(b".", MNT_DETACH), "umount of the host's root")
    os.chdir("/")


def start(service: dict[str, Any]) -> int:
    """Start one of the board's programs; its standard output and error go where the description said."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(service["fd"], 1)
        os.dup2(service["fd"], 2)
        os.closerange(3, 256)  # the lock of the board's folder, and the logs of its other programs
        os.execve(service["argv"][0], service["argv"], service["env"])
    except OSError as error:
        os.write(2, f"{service['argv'][0]}: {error}\n".encode())
    os._exit(127)


def be_first(description: dict[str, Any], parent: int) -> None:
    """Be pid 1: set up, start the programs, reap. The board ends with the first of them that ends."""
    die_with_parent(parent)
    libc.sethostname(b"edgekd-board", 12)
    mount_all(description)
    os.setgroups([])
    os.setgid(0)
    os.setuid(0)
    die_with_parent(parent)
    children = {start(service) for service in description["services"]}
    while True:
        pid, status = os.wait()
        if pid in children:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def keep(description: dict[str, Any], unshared: int, mapped: int, holder: int) -> None:
    """Enter the namespaces, wait for the ids, and wait for pid 1."""
    check(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC), "unshare (user namespaces)")
    os.write(unshared, b"x")
    if not os.read(mapped, 1):
        os._exit(1)
    die_with_parent(holder)
    pid = os.fork()
    if pid == 0:
        guarded(be_first, description, 0)  # a parent in another pid namespace is shown as 0
    os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xFF)


def guarded(function: Callable[..., None], *arguments: Any) -> None:
    """Errors of set-up go to the holder's standard error as one line; 126 tells them from the programs' own codes."""
    try:
        function(*arguments)
    except OSError as error:
        os.write(2, f"cannot set up the board: {error.strerror or error}\n".encode())
    os._exit(126)


def main() -> None:
    with open(sys.argv[1]) as file:
        description = json.load(file)
    holder = os.getpid()
    if description["with_parent"]:
        die_with_parent(description["with_parent"])
    for service in description["services"]:
        service["fd"] = os.open(service["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    (unshared_r, unshared_w), (mapped_r, mapped_w) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(mapped_w)
        os.close(unshared_r)
        guarded(keep, description, unshared_w, mapped_r, holder)
    os.close(unshared_w)
    if os.read(unshared_r, 1):
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{pid}/{name}", "w") as file:
                file.write(f"0 {description['first_id']} {IDS}\n")
        os.write(mapped_w, b"x")
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xFF)


if __name__ == "__main__":
    main()
