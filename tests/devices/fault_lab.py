"""A board whose connection can be made to misbehave: a real sshd, and between it and the board's shell a face with bad habits."""

import contextlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from ssh_server import Lab

from edgekd.bench.transports import DeviceFault, Transport, connect
from edgekd.bench.transports import remote as remote_module

LONG = "616.5"
"""Seconds of sleep that name what a test started."""
STRANGER = "0a1b2c3d.77.1700000000.0123456789abcdef"
"""The owner of a lock that another machine made."""
FACE = r"""#!/bin/sh
# What stands between sshd and the shell: the habit that the file `habit` names, a boot id of its own.
here=HERE
command=$(printf '%s' "$SSH_ORIGINAL_COMMAND" | sed "s#/proc/sys/kernel/random/boot_id#$here/boot#")
case "$(cat $here/habit)" in
  other-token) sh -c "$command" | sed 's/edgekd-[0-9a-f]\{16\} /edgekd-0123456789abcdef /' ;;
  cut-end) sh -c "$command" | head -c -12 ;;
  swallow) case "$command" in *"cat >"*) head -c 1000 >/dev/null; exit 0 ;; esac; sh -c "$command" ;;
  stall) case "$command" in *"cat >"*) head -c 1000 >/dev/null; touch $here/now; sleep 30 ;; esac; sh -c "$command" ;;
  small-files) ulimit -f 100; sh -c "$command" ;;
  *) exec sh -c "$command" ;;
esac
"""


class Faced:
    """A board, its lab, and the habit of its face."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.board = lab.board(start=False)
        self.folder = self.board.folder
        (self.folder / "boot").write_text(Path("/proc/sys/kernel/random/boot_id").read_text())
        self.habit("")
        face = self.folder / "face"
        face.write_text(FACE.replace("HERE", str(self.folder)))
        face.chmod(0o755)
        self.board.extra = [f"ForceCommand {face}"]
        self.board.start()

    def habit(self, name: str) -> None:
        (self.folder / "habit").write_text(name)

    def reboot(self) -> None:
        (self.folder / "boot").write_text("00000000-0000-4000-8000-000000000000\n")
        self.board.cut()

    def freeze(self) -> None:
        """Nothing answers any more, and no connection breaks."""
        for pid in self.board.sessions():
            psutil.Process(pid).suspend()

    def job(self) -> Path:
        return next(self.board.home.glob(".edgekd/job-*"))

    @contextlib.contextmanager
    def mounted(self, options: str) -> Iterator[None]:
        """A small file system of its own for the board's home. Skips where this process may not mount."""
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.board.home)], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("may not mount a file system: a full disk needs root")
        try:
            yield
        finally:
            subprocess.run(["umount", "-l", str(self.board.home)], check=True)

    def remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.board.home)], check=True)

    def check_clean(self) -> None:
        """Nothing is left behind, nothing still runs, and the next one goes on."""
        self.habit("")
        for _ in range(100):
            if not running():
                break
            time.sleep(0.05)
        assert not running()
        lock = self.board.home / ".edgekd" / "lock"
        theirs = [".edgekd/lock"] if lock.is_symlink() and os.readlink(lock).startswith(STRANGER) else []
        assert [name for name in self.board.left() if name != ".edgekd/site"] == theirs
        with contextlib.closing(connect("ssh:board")) as device:
            assert device.run(["echo", "next"], 60).stdout == "next\n"


def running() -> list[int]:
    return [p.pid for p in psutil.process_iter(["cmdline"]) if LONG in (p.info["cmdline"] or [])]


@contextlib.contextmanager
def when(file: Callable[[], Path], act: Callable[[], object]) -> Iterator[None]:
    """Do something on another thread as soon as a file is there."""

    def watch() -> None:
        for _ in range(1200):
            with contextlib.suppress(StopIteration, OSError):
                if file().exists():
                    act()
                    return
            time.sleep(0.05)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def cause_of(work: Callable[[], object], limit_s: float) -> str:
    """Cause of the fault that work ends in, which comes within its limit, in one printable line that names the device."""
    started = time.monotonic()
    with pytest.raises(DeviceFault) as caught:
        work()
    assert time.monotonic() - started < limit_s
    assert str(caught.value).isprintable()
    assert caught.value.where in str(caught.value)
    return caught.value.cause


def refused(address: str = "ssh:board") -> str:
    """Cause of the fault in connecting."""
    return cause_of(lambda: connect(address), 60)


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter limits, for a device that never answers; long enough for a busy machine."""
    monkeypatch.setattr(remote_module, "ASK_S", 6.0)
    monkeypatch.setattr(remote_module, "GRACE_S", 4.0)


def kill_ssh(device: Transport) -> None:
    """Kill the ssh on this side that holds the connection."""
    folder = device._channel._folder  # type: ignore[attr-defined]
    for process in psutil.process_iter(["name", "cmdline"]):
        words = process.info["cmdline"] or []
        if process.info["name"] == "ssh" and f"{folder}/c" in words and "ControlMaster=yes" in words:
            process.kill()


def tools(folder: Path, *names: str) -> Path:
    """A folder with these programs of the system and no others."""
    folder.mkdir()
    for name in names:
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    return folder
