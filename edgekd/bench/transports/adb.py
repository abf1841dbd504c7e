"""A device behind the system's adb: a phone on USB, or `HOST:PORT` over the network.

Scripts go by `exec-out`, which is raw on every Android since 5: no terminal that changes line ends. Exit codes and stderr come
back inside the output (`scripts.py`), so a device without shell_v2, whose shell always answers 0, is measured like any other.
"""

from pathlib import Path

from edgekd.bench.transports.address import Address
from edgekd.bench.transports.faults import ADB, DEVICE, DeviceFault, last_line, name_fault
from edgekd.bench.transports.process import Ended, run_bytes

OPEN_S = 30.0  # starting adb's server takes 3


class Adb:
    """One device of the local adb server."""

    base = "/data/local/tmp/edgekd"

    def __init__(self, address: Address) -> None:
        self.where, self._serial = str(address), address.host

    def open(self) -> None:
        run_bytes(["adb", "start-server"], OPEN_S, where=self.where, daemon=True)
        state = self._state()
        if ":" in self._serial and state != "device":
            self._adb("disconnect", self._serial)  # after a restart of the daemon the server keeps a dead one, as offline
            done = self._adb("connect", self._serial)
            state = self._state()  # "failed to connect" to one that took the connection and says nothing: that one is offline
            if b"connected to" not in done.stdout and "offline" not in state:
                raise self._fault(done, "connection-refused", "adb cannot connect: {said}")
        if state != "device":
            named = name_fault(ADB, state) or ("not-ready", f"adb says that it is {last_line(state)!r}, expected 'device'")
            raise DeviceFault(self.where, *named)

    def shell(self, script: str, timeout_s: float, *, stdin: Path | None = None, limit_bytes: int | None = None) -> Ended:
        assert stdin is None  # files go by copy()
        argv = ["adb", "-s", self._serial, "exec-out", script]
        return run_bytes(argv, timeout_s, where=self.where, limit_bytes=limit_bytes)

    def copy(self, file: Path, place: str, timeout_s: float) -> bool:
        argv = ["adb", "-s", self._serial, "push", str(file.absolute()), place]
        done = run_bytes(argv, timeout_s, where=self.where)
        if done.rc != 0:
            named = name_fault(DEVICE, _said(done))
            raise DeviceFault(self.where, *named) if named else self._fault(done, "lost", "adb push failed: {said}")
        return True

    def explain(self, done: Ended) -> DeviceFault:
        """adb ends with 0 and no word where a connection breaks in mid-answer; its server knows more."""
        if done.rc == 0 and not done.stderr.strip():
            state = self._state()
            if state == "device":
                said = last_line(done.stdout.decode(errors="replace"))
                return DeviceFault(self.where, "truncated", f"the answer breaks off: {said}")
            return DeviceFault(self.where, "lost", f"the connection was lost (adb: {last_line(state)})")
        return self._fault(done, "lost", "the connection was lost: {said}")

    def close(self) -> None:
        """adb's server is the user's; it stays, and so does its connection to a device of the network."""

    def _adb(self, *arguments: str) -> Ended:
        return run_bytes(["adb", *arguments], OPEN_S, where=self.where)

    def _state(self) -> str:
        """`device` where it is ready, else what adb says instead."""
        done = self._adb("-s", self._serial, "get-state")
        return done.stdout.decode(errors="replace").strip() if done.rc == 0 else _said(done)

    def _fault(self, done: Ended, cause: str, text: str) -> DeviceFault:
        said = _said(done)
        return DeviceFault(self.where, *(name_fault(ADB, said) or (cause, text.format(said=last_line(said)))))


def _said(done: Ended) -> str:
    return (done.stderr if done.stderr.strip() else done.stdout).decode(errors="replace")
