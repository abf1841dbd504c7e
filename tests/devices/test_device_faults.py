"""Faults put into a real connection: each has its name, none hangs past its limit, nothing is left, the next run goes on."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from ssh_server import Board, Lab, free_port, needs_sshd

from edgekd.bench.reply import parse
from edgekd.bench.transports import DeviceFault, Transport, base, connect
from edgekd.bench.transports import ssh as ssh_module
from edgekd.bench.transports.process import run_bytes
from edgekd.errors import DeviceError

pytestmark = needs_sshd
LONG = "616.5"  # seconds of sleep that name what a test started


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    (tmp_path / "lab").mkdir()
    made = Lab(tmp_path / "lab")
    made.enter(monkeypatch, tmp_path)
    yield made
    made.stop()


@pytest.fixture
def board(lab: Lab) -> Iterator[Board]:
    found = lab.board()
    yield found
    assert found.left() == []
    assert not _running()
    with contextlib.closing(connect("ssh:board")) as device:  # the next one goes on
        assert device.run(["echo", "next"], 30).stdout == "next\n"


def _running() -> list[int]:
    return [p.pid for p in psutil.process_iter(["cmdline"]) if LONG in (p.info["cmdline"] or [])]


def refused(address: str = "ssh:board") -> str:
    """Cause of the fault in connecting, which comes in time and leaves no lock."""
    started = time.monotonic()
    with pytest.raises(DeviceFault) as caught:
        connect(address)
    assert time.monotonic() - started < 40
    assert "\n" not in str(caught.value)
    return caught.value.cause


def fault(device: Transport, *argv: str, timeout_s: float = 20) -> str:
    """Cause of the fault of a run, which comes within its limit and what connecting anew may take."""
    started = time.monotonic()
    with pytest.raises(DeviceFault) as caught:
        device.run(list(argv), timeout_s)
    assert time.monotonic() - started < timeout_s + 20
    return caught.value.cause


def test_key_refused(lab: Lab) -> None:
    """A key that the device does not know."""
    board = lab.board()
    (board.folder / "authorized_keys").write_text("")
    assert refused() == "key-refused"


def test_host_key_changed(lab: Lab) -> None:
    """A device that shows another host key than before."""
    board = lab.board()
    other = lab.board("other", start=False)
    text = (lab.folder / "known_hosts").read_text().splitlines()
    key = text[1].split(" ", 1)[1]
    (lab.folder / "known_hosts").write_text(f"[127.0.0.1]:{board.port} {key}\n")
    assert (refused(), other.process) == ("host-key-changed", None)


def test_host_key_unknown(lab: Lab) -> None:
    """A device that was never met: nobody is asked, nothing is accepted."""
    lab.board()
    (lab.folder / "known_hosts").write_text("")
    assert refused() == "host-key-unknown"


def test_connection_refused(lab: Lab) -> None:
    """A port where nothing listens."""
    lab.board(start=False)
    assert refused() == "connection-refused"


def test_host_unknown(lab: Lab) -> None:
    """A name that nobody resolves."""
    lab.board(start=False)
    assert refused("ssh:no-such-host.invalid") == "host-unknown"


def test_hangs_while_connecting(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something that accepts the connection and never speaks."""
    import socket

    monkeypatch.setitem(ssh_module.OPTIONS, "ConnectTimeout", "2")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        lab.write("Host mute", "  HostName 127.0.0.1", f"  Port {silent.getsockname()[1]}")
        assert refused("ssh:mute") in ("connect-timeout", "lost")


def test_bad_ssh_configuration(lab: Lab) -> None:
    """A user's configuration that ssh itself refuses."""
    lab.board(start=False)
    lab.write("NoSuchOption yes")
    assert refused() == "ssh-config"


def test_jump_host_down(lab: Lab) -> None:
    """A jump host that does not answer is as a device that does not: the user's ProxyJump is followed."""
    lab.board(start=False)
    lab.write("Host board", "  ProxyJump jump", "Host jump", "  HostName 127.0.0.1", f"  Port {free_port()}")
    assert refused() in ("connection-refused", "lost")


def test_no_shell(lab: Lab) -> None:
    """An account that may log in and gets no shell."""
    lab.board(extra=["ForceCommand echo This account is currently not available.; exit 1"])
    assert refused() == "truncated"


def test_sessions_refused(lab: Lab) -> None:
    """A server that allows a connection and no command over it."""
    lab.board(extra=["MaxSessions 0"])
    assert refused() in ("session-refused", "lost")


def test_no_timeout_command(lab: Lab) -> None:
    """A device that could not end a run by itself is not used."""
    tools = lab.folder / "tools"
    tools.mkdir()
    for name in ("sh", "mkdir", "cat", "readlink", "ln", "rm", "cut", "date", "uname", "mv"):
        (tools / name).symlink_to(f"/bin/{name}")
    lab.board(extra=[f'ForceCommand env PATH={tools} /bin/sh -c "$SSH_ORIGINAL_COMMAND"'])
    assert refused() == "no-timeout"


def test_disk_full_at_the_start(lab: Lab) -> None:
    """A device that cannot even make a folder."""
    board = lab.board()
    (board.home / ".edgekd").symlink_to("/proc/self")
    assert refused() in ("not-writable", "read-only", "disk-full")


def test_disk_full_in_a_push(board: Board, tmp_path: Path) -> None:
    """A file that does not fit: a limit on the size of files stands for the full disk, /dev/full for its message."""
    (tmp_path / "big").write_bytes(bytes(1 << 20))
    with contextlib.closing(connect("ssh:board")) as device:
        folder = next(board.home.glob(".edgekd/job-*"))
        (folder / "out").mkdir()
        os.symlink("/dev/full", folder / "out" / "full")
        done = device.run(["sh", "-c", "cat /dev/zero > out/full"], 20)
        assert "No space left on device" in done.stderr


def test_connection_lost_in_mid_run(board: Board) -> None:
    """A cable that is pulled while a run goes on: named, and the run is ended over a new connection."""
    import threading

    with contextlib.closing(connect("ssh:board")) as device:
        threading.Timer(0.7, board.cut).start()
        assert fault(device, "sleep", LONG) == "lost"


def test_ssh_killed_in_mid_run(board: Board) -> None:
    """The ssh on this side that is killed."""
    import threading

    def kill_master() -> None:
        for process in psutil.process_iter(["name", "cmdline"]):
            words = process.info["cmdline"] or []
            if process.info["name"] == "ssh" and f"{socket_folder}/c" in words and "ControlMaster=yes" in words:
                process.kill()

    with contextlib.closing(connect("ssh:board")) as device:
        socket_folder = device._channel._folder  # type: ignore[attr-defined]
        threading.Timer(0.7, kill_master).start()
        assert fault(device, "sleep", LONG) == "lost"


def test_server_gone_in_mid_run(lab: Lab) -> None:
    """A device that vanishes and does not come back: named in time; closing does not wait for it either."""
    import threading

    board = lab.board()
    device = connect("ssh:board")
    threading.Timer(0.7, board.stop).start()
    assert fault(device, "sleep", LONG) == "lost"
    started = time.monotonic()
    device.close()
    assert time.monotonic() - started < 30
    board.start()
    with contextlib.closing(connect("ssh:board")) as again:  # this machine's next run takes over: it knows that nobody is there
        assert again.run(["true"], 20).rc == 0
    assert (board.left(), _running()) == ([], [])


def test_hangs_and_ignores_signals(board: Board) -> None:
    """A run that ignores being told to end is ended all the same."""
    with contextlib.closing(connect("ssh:board")) as device:
        assert fault(device, "sh", "-c", f"trap '' TERM HUP INT; sleep {LONG}", timeout_s=1) == "timeout"


def test_out_of_memory(board: Board) -> None:
    """A run that the kernel kills, as it does where memory ends: the answer's reader says so."""
    with contextlib.closing(connect("ssh:board")) as device:
        done = device.run(["sh", "-c", "kill -9 $$"], 20)
    with pytest.raises(DeviceError, match="SIGKILL: out of memory"):
        parse(done, "memory", where="board")


def test_garbage_for_an_answer(board: Board) -> None:
    """Bytes that are no text, where JSON was expected."""
    with contextlib.closing(connect("ssh:board")) as device:
        done = device.run(["head", "-c", "3000", "/dev/urandom"], 20)
    with pytest.raises(DeviceError, match=r"without a JSON answer|no answer"):
        parse(done, "memory", where="board")


def test_flood(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    """Output without end."""
    monkeypatch.setattr(base, "MAX_OUTPUT_BYTES", 1 << 20)
    with contextlib.closing(connect("ssh:board")) as device:
        assert fault(device, "yes") == "output"


def test_missing_interpreter(board: Board) -> None:
    """A command that is not installed there."""
    with contextlib.closing(connect("ssh:board")) as device:
        assert fault(device, "python9") == "cannot-start"


def test_folder_removed_in_mid_work(board: Board) -> None:
    """Somebody who tidies up on the device."""
    import shutil

    with contextlib.closing(connect("ssh:board")) as device:
        shutil.rmtree(board.home / ".edgekd")
        assert fault(device, "true") == "taken"


def test_greeting_in_front_of_answers(lab: Lab) -> None:
    """A login script that prints is no fault."""
    lab.board(extra=['ForceCommand echo "Welcome!"; eval "$SSH_ORIGINAL_COMMAND"'])
    with contextlib.closing(connect("ssh:board")) as device:
        assert device.run(["echo", "hello"], 20).stdout.endswith("hello\n")


def test_no_ssh_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without OpenSSH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert refused() == "cannot-start"


def test_a_flood_on_this_machine_is_stopped_early() -> None:
    """Output beyond the limit ends a process at once, not at its time limit."""
    started = time.monotonic()
    with pytest.raises(DeviceFault) as caught:
        run_bytes(["yes"], 60, where="here", limit_bytes=1000)
    assert caught.value.cause == "output"
    assert time.monotonic() - started < 20
