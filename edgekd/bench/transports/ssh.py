"""A device behind the system's OpenSSH client: the user's own configuration, keys, agent and jump hosts.

One connection is made (ControlMaster) and everything goes over it, in a private control socket. Commands over it may make no
connection of their own: with `ProxyCommand=false` a lost one is an error at once, not a second login.
"""

import contextlib
import os
import shlex
import shutil
import tempfile
from pathlib import Path

from edgekd.bench.transports.address import Address
from edgekd.bench.transports.faults import SSH, DeviceFault, last_line, name_fault
from edgekd.bench.transports.process import Ended, run_bytes
from edgekd.errors import DeviceError, storage_errors

CONNECT_S = 10
OPEN_S = 40.0  # the above for a jump host and for the device, and logging in at both: 2 s each on a slow board
LOST = 255  # ssh's own failures (man 1 ssh, EXIT STATUS)

OPTIONS = {
    "BatchMode": "yes",  # never ask
    "ConnectTimeout": str(CONNECT_S),
    "ServerAliveInterval": "5",  # a device that is gone is noticed after 15 s
    "ServerAliveCountMax": "3",
    "LogLevel": "ERROR",
    "RemoteCommand": "none",  # and the user's other habits that would get in the way
    "RequestTTY": "no",
    "ClearAllForwardings": "yes",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "PermitLocalCommand": "no",
}
PERSIST_S = 300  # a connection whose edgekd was killed goes by itself


class Ssh:
    """One connection to a host."""

    base = '"$HOME"/.edgekd'

    def __init__(self, address: Address) -> None:
        self.where, self._host = str(address), address.host
        self._place = ["-p", str(address.port)] if address.port else []
        self._place += ["-l", address.user] if address.user else []
        self._target = f"{address.user}@{address.host}" if address.user else address.host
        with storage_errors("a temporary folder"):
            self._folder = Path(tempfile.mkdtemp(prefix="edgekd-ssh-"))
        self._socket = str(self._folder / "c").replace("%", "%%")  # ssh replaces %h and the like in it

    def open(self) -> None:
        self._exit()
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        # Of algorithms that do not meet, ssh tells at this level only.
        master = ["-o", "LogLevel=INFO", "-o", "ControlMaster=yes", "-o", f"ControlPersist={PERSIST_S}", "-f", "-N"]
        done = run_bytes(self._argv(*master), OPEN_S, where=self.where, daemon=True)
        if done.rc != 0:
            raise self._fault(done, "ssh-failed", "ssh cannot connect: {said}")

    def shell(self, script: str, timeout_s: float, *, stdin: Path | None = None, limit_bytes: int | None = None) -> Ended:
        # `sh -c` whatever the user's own shell is; its one argument is quoted as all POSIX shells, and fish, read it.
        command = "exec sh -c " + shlex.quote(script)
        client = self._argv("-o", "ControlMaster=no", "-o", "ProxyCommand=false")
        return run_bytes([*client, command], timeout_s, where=self.where, stdin=stdin, limit_bytes=limit_bytes)

    def copy(self, file: Path, place: str, timeout_s: float) -> bool:
        return False

    def explain(self, done: Ended) -> DeviceFault:
        if done.rc == LOST:
            return self._fault(done, "lost", "the connection was lost: {said}")
        said = last_line((done.stderr or done.stdout).decode(errors="replace"))
        return DeviceFault(self.where, "truncated", f"the answer breaks off (exit code {done.rc}): {said}")

    def close(self) -> None:
        self._exit()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _argv(self, *options: str) -> list[str]:
        fixed = [part for name, value in OPTIONS.items() for part in ("-o", f"{name}={value}")]
        return ["ssh", "-T", "-S", self._socket, *options, *fixed, *self._place, "--", self._host]  # the first of two counts

    def _exit(self) -> None:
        """End the connection, if there is one."""
        if (self._folder / "c").exists():
            with contextlib.suppress(DeviceError):
                run_bytes(["ssh", "-S", self._socket, "-O", "exit", "--", self._host], CONNECT_S, where=self.where)
            (self._folder / "c").unlink(missing_ok=True)

    def _fault(self, done: Ended, cause: str, text: str) -> DeviceFault:
        said = done.stderr.decode(errors="replace")
        named = name_fault(SSH, said, host=self._host, target=self._target)
        return DeviceFault(self.where, *(named or (cause, text.format(said=last_line(said)))))
