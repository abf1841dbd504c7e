"""A device with a POSIX shell, whatever leads there: it is taken, used in a private folder, and left as it was found."""

import contextlib
import re
import secrets
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from edgekd.bench.transports import base, scripts
from edgekd.bench.transports.base import Completed, relative_name
from edgekd.bench.transports.faults import DEVICE, DeviceFault, last_line, name_fault
from edgekd.bench.transports.locks import WAIT_S, DeviceLock, wait_for
from edgekd.bench.transports.owner import lives_no_more, new_owner, retire
from edgekd.bench.transports.process import Ended, flooded, timed_out
from edgekd.errors import DeviceError, InputError, storage_errors

ASK_S = 30.0  # for a script that only looks and tells: an emulated board takes 2
GRACE_S = 20.0  # beyond a run's own limit, which `timeout` on the device keeps: for starting, ending and a slow link
SLOWEST_BYTES_S = 50_000  # half of a poor wireless link
MOST_BYTES = 256 << 20  # of a file that is fetched
BOOT = re.compile(r"[0-9a-f-]{36}")
TOKEN = re.compile(rb"\nedgekd-[0-9a-f]{16} ")


class Channel(Protocol):
    """How one shell script gets to a device, and its output back."""

    where: str
    """The address, for messages."""
    base: str
    """edgekd's folder on the device, as shell text."""

    def open(self) -> None:
        """Connect; again where that was done before. Raises DeviceFault."""
        ...

    def shell(self, script: str, timeout_s: float, *, stdin: Path | None = None, limit_bytes: int | None = None) -> Ended:
        """Run a script in the device's shell. Raises DeviceFault on timeout and flood; of the rest `explain` tells."""
        ...

    def copy(self, file: Path, place: str, timeout_s: float) -> bool:
        """Copy a file by the channel's own means, if it has such; False: it goes through a shell's standard input."""
        ...

    def explain(self, done: Ended) -> DeviceFault:
        """Why a script's answer is not whole."""
        ...

    def close(self) -> None: ...


class Remote:
    """A private folder on the device at the end of a channel, which nobody else uses until `close`."""

    def __init__(self, channel: Channel, wait_s: float = WAIT_S, lock: DeviceLock | None = None) -> None:
        """Connect and take the device. Raises DeviceFault."""
        self._channel, self.where = channel, channel.where
        self._owner = new_owner()
        self._folder = f"job-{self._owner.rpartition('.')[2]}"
        self._lock = lock or DeviceLock(channel.where)
        self.python, self.arch, self._base, self._boot, self._grace = "python3", "", "", "", ""
        deadline = time.monotonic() + wait_s
        self._lock.take(wait_s)
        try:
            channel.open()
            self._take(max(0.0, deadline - time.monotonic()))
            self._lock.seen()
        except BaseException:
            self._let_go()
            raise

    # What a transport offers ---------------------------------------------------------------------------------------

    def push(self, local: Path, remote: str) -> None:
        name = relative_name(remote, self.where)
        if not local.is_dir():
            self._send(local, name)
            return
        self._make(name)
        for path in sorted(local.rglob("*")):
            inner = relative_name(f"{name}/{path.relative_to(local).as_posix()}", self.where)
            if path.is_dir():
                self._make(inner)
            else:
                self._send(path, inner)

    def pull(self, remote: str, local: Path) -> None:
        token = _token()
        script = self._owned(token, ASK_S) + scripts.sending(relative_name(remote, self.where))
        done = self._shell(script, ASK_S + MOST_BYTES / SLOWEST_BYTES_S, limit_bytes=MOST_BYTES)
        mark = f"\n{token} ".encode()
        _, found, rest = done.stdout.partition(mark)
        size, _, body = rest.partition(b"\n")
        if size == b"none":
            raise DeviceError(f"{self.where}: there is no file {remote} to fetch")
        self._check_owner(size.decode(errors="replace"))
        if not found or not size.isdigit() or body[int(size) :] != mark + b"end\n":
            raise self._unanswered(done)
        with storage_errors(str(local)):
            local.write_bytes(body[: int(size)])

    def run(self, argv: Sequence[str], timeout_s: float) -> Completed:
        seconds, token, limit = max(1, round(timeout_s)), _token(), base.MAX_OUTPUT_BYTES
        script = self._owned(token, seconds + GRACE_S) + scripts.running(
            argv, owner=self._owner, token=token, seconds=seconds, grace=self._grace, limit=limit
        )
        started = time.monotonic()
        with self._stopping():
            try:
                done = self._channel.shell(script, seconds + GRACE_S, limit_bytes=limit + scripts.ERR_BYTES + 1000)
            except DeviceFault as fault:
                raise timed_out(self.where, timeout_s) if fault.cause == "timeout" else fault from fault
            out, end = self._split(done, token)
        if len(out) > limit:
            raise flooded(self.where, len(out))
        code, _, err = end.partition("\n")
        if not code.isdigit():
            raise self._named(end, "no-exit-code", "the run ended without an exit code: {said}")
        return self._ended(argv, int(code), out, err, time.monotonic() - started >= seconds - 0.2, timeout_s)

    def close(self) -> None:
        try:
            with contextlib.suppress(DeviceError):
                self._leave()
        finally:
            self._let_go()

    def _let_go(self) -> None:
        self._channel.close()
        retire(self._owner)
        self._lock.release()

    # How it is done ------------------------------------------------------------------------------------------------

    def _take(self, wait_s: float) -> None:
        """Get the lock on the device, and a folder there."""
        holder = gone = ""

        def attempt() -> bool:
            nonlocal holder, gone
            state, *facts = self._opened(gone)
            if state == "busy":
                holder = facts[0].partition(":")[0] if facts else ""
                gone = holder if lives_no_more(holder) else ""
                return bool(gone) and attempt()
            self._note(state, facts)
            return True

        try:
            wait_for(attempt, wait_s)
        except (TimeoutError, RecursionError):
            raise DeviceFault(self.where, "busy", f"is in use by another machine or account; waited {wait_s:.0f} s") from None

    def _opened(self, gone: str) -> list[str]:
        token = _token()
        lasts = round(ASK_S) + scripts.IDLE_S
        script = scripts.opening(
            self._channel.base, owner=self._owner, seconds=lasts, folder=self._folder, token=token, gone=gone
        )
        done = self._shell(script, ASK_S)
        _, found, rest = done.stdout.decode(errors="replace").partition(token + "\n")
        if not found or not rest.strip():
            raise self._channel.explain(done)
        return rest.splitlines()

    def _note(self, state: str, facts: list[str]) -> None:
        """What the device told of itself when it was taken; checked, since nothing that it says is taken on trust."""
        if state == "no-timeout":
            raise DeviceFault(self.where, "no-timeout", "it has no 'timeout', which ends runs that hang: install coreutils")
        if state == "unwritable":
            raise self._named(" ".join(facts), "not-writable", "its folder cannot be made: {said}")
        plain = state == "open" and len(facts) == 5 and all(len(fact) < 400 and fact.isprintable() for fact in facts)
        if not plain or not facts[4].startswith("/"):
            raise DeviceFault(self.where, "garbage", f"what answers there is no POSIX shell: {last_line(state)}")
        self._boot, self.arch, python, self._grace, self._base = facts
        self.python = python or "python3"

    def _owned(self, token: str, seconds: float) -> str:
        lasts = round(seconds) + scripts.IDLE_S
        return scripts.owned(self._base, owner=self._owner, folder=self._folder, token=token, seconds=lasts)

    def _shell(self, script: str, timeout_s: float, *, stdin: Path | None = None, limit_bytes: int | None = None) -> Ended:
        return self._channel.shell(script, timeout_s, stdin=stdin, limit_bytes=limit_bytes)

    def _ask(self, body: str, timeout_s: float = ASK_S, stdin: Path | None = None) -> str:
        """What a script in the folder tells after its token."""
        token = _token()
        with self._stopping():
            done = self._shell(self._owned(token, timeout_s) + body, timeout_s, stdin=stdin)
            return self._split(done, token)[1]

    def _split(self, done: Ended, token: str) -> tuple[str, str]:
        """Output before the token, and what is told after it."""
        out, found, end = done.stdout.rpartition(f"\n{token} ".encode())
        if not found:
            if TOKEN.search(done.stdout):
                raise DeviceFault(self.where, "another-job", "it answered for another job: try again")
            raise self._unanswered(done)
        told = end.decode(errors="replace")
        self._check_owner(told)
        return out.decode(errors="replace"), told

    def _check_owner(self, told: str) -> None:
        if told.strip() == "taken":
            raise DeviceFault(self.where, "taken", "its working folder is gone: removed, or the device taken over")

    def _unanswered(self, done: Ended) -> DeviceFault:
        """The fault behind an answer that is not whole; a board that is back with another boot id has rebooted."""
        fault = self._channel.explain(done)
        with contextlib.suppress(DeviceError):
            boot = self._reopened()
            if BOOT.fullmatch(boot) and boot != self._boot:
                return DeviceFault(self.where, "rebooted", "it restarted in mid-work: power, heat, or out of memory?")
        return fault

    def _reopened(self) -> str:
        """Connect anew. Returns the boot id."""
        self._channel.open()
        done = self._shell(scripts.COMMON + 'printf "\\n%s\\n" "$boot"', ASK_S)
        return last_line(done.stdout.decode(errors="replace"))

    @contextlib.contextmanager
    def _stopping(self) -> Iterator[None]:
        """Nothing that was started goes on after a fault or Ctrl-C, where the device can still be told so."""
        try:
            yield
        except BaseException:
            with contextlib.suppress(DeviceError):
                self._shell(self._owned(_token(), ASK_S) + scripts.stopping(self._owner), ASK_S)
            raise

    def _ended(self, argv: Sequence[str], code: int, out: str, err: str, late: bool, timeout_s: float) -> Completed:
        if late and code in (124, 128 + signal.SIGKILL, 128 + signal.SIGTERM):  # which of them depends on whose `timeout` it is
            raise timed_out(self.where, timeout_s)
        if code in (126, 127) and not out:
            why = last_line(err) if code == 126 else "is it installed there?"
            raise DeviceFault(self.where, "cannot-start", f"cannot start {argv[0]}: {why}")
        return Completed(rc=128 - code if 128 < code < 128 + 65 else code, stdout=out, stderr=err)

    def _send(self, file: Path, remote: str) -> None:
        try:
            size = file.stat().st_size
            file.open("rb").close()
        except OSError as error:
            raise InputError(f"{file}: cannot be read: {error.strerror}") from error
        limit = ASK_S + size / SLOWEST_BYTES_S
        if self._channel.copy(file, f"{self._base}/{self._folder}/{remote}", limit):
            told = self._ask(scripts.arrived(remote))
        else:
            told = self._ask(scripts.receiving(remote), limit, stdin=file)
        arrived, _, said = told.partition(" ")
        if arrived.strip() != str(size):
            raise self._named(said, "not-copied", f"{arrived.strip() or 'none'} of {size} bytes of {file.name} arrived: {{said}}")

    def _make(self, folder: str) -> None:
        code, _, said = self._ask(scripts.making(folder)).partition(" ")
        if code.strip() != "0":
            raise self._named(said, "not-writable", "its folder cannot be made: {said}")

    def _named(self, said: str, cause: str, text: str) -> DeviceFault:
        """The device's own words as a fault; `cause` and `text` where they are not known."""
        cause, text = name_fault(DEVICE, said) or (cause, text.format(said=last_line(said)))
        return DeviceFault(self.where, cause, text)

    def _leave(self) -> None:
        """Leave nothing there; over a new connection where the old one is lost."""
        token = _token()
        script = scripts.closing(self._base, owner=self._owner, folder=self._folder, token=token)
        with contextlib.suppress(DeviceError):
            if token.encode() in self._shell(script, ASK_S).stdout:
                return
        self._channel.open()
        self._shell(script, ASK_S)


def _token() -> str:
    return f"edgekd-{secrets.token_hex(8)}"
