"""Faults put into real connections and pushes: each has its name, none hangs past its limit, nothing is left, the next goes on.

What goes wrong in a run, or in its answer, is in `test_run_faults.py`.
"""

import contextlib
import os
import shutil
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_lab import Faced, cause_of, impatient, refused, tools, when
from ssh_server import Board, Lab, free_port, keygen, needs_sshd

from edgekd.bench.transports import base, connect
from edgekd.bench.transports import remote as remote_module
from edgekd.bench.transports import ssh as ssh_module
from edgekd.bench.transports.address import read_address
from edgekd.bench.transports.locks import DeviceLock
from edgekd.bench.transports.remote import Remote
from edgekd.bench.transports.ssh import Ssh

pytestmark = needs_sshd
Patch = pytest.MonkeyPatch
Connecting = Callable[[Lab, Patch], object]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: Patch) -> Iterator[Lab]:
    (tmp_path / "lab").mkdir()
    made = Lab(tmp_path / "lab")
    made.enter(monkeypatch, tmp_path)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Another lab, whose board has no fault."""
    made = Lab(tmp_path_factory.mktemp("calm"))
    made.board("calm")
    yield made
    made.stop()


# Connecting ------------------------------------------------------------------------------------------------------------


def sshd(*lines: str) -> Connecting:
    """A server with these lines in its configuration."""
    return lambda lab, patch: lab.board(extra=list(lines))


def client(*lines: str, server: tuple[str, ...] = ()) -> Connecting:
    """A user's configuration of ssh with these lines for every host."""

    def inject(lab: Lab, patch: Patch) -> None:
        lab.board(extra=list(server))
        lab.write("Host *", *(f"  {line}" for line in lines))

    return inject


def keys(text: Callable[[Lab, Board], str]) -> Connecting:
    """A device that knows other keys."""

    def inject(lab: Lab, patch: Patch) -> None:
        board = lab.board()
        (board.folder / "authorized_keys").write_text(text(lab, board))

    return inject


def stranger(lab: Lab, board: Board) -> str:
    keygen(lab.folder / "strange_key")
    return (lab.folder / "strange_key.pub").read_text()


def open_key(lab: Lab, patch: Patch) -> None:
    lab.board()
    lab.key.chmod(0o644)


def known_hosts(text: Callable[[Lab, Board, str], str]) -> Connecting:
    """What the user has noted of the device's host key; the text gets another host's key."""

    def inject(lab: Lab, patch: Patch) -> None:
        board = lab.board()
        keygen(lab.folder / "host")
        other = " ".join((lab.folder / "host.pub").read_text().split()[:2])
        (lab.folder / "known_hosts").write_text(text(lab, board, other))

    return inject


def nobody(lab: Lab, patch: Patch) -> None:
    lab.board(start=False)


def jump(*lines: str) -> Connecting:
    def inject(lab: Lab, patch: Patch) -> None:
        lab.board(start=False)
        lab.write("Host board", "  ProxyJump jump", "Host jump", *(f"  {line.format(port=free_port())}" for line in lines))

    return inject


def listener(says: bytes | None) -> Connecting:
    """Something that listens and is no sshd: it says this and hangs up, or, with None, never speaks."""

    def inject(lab: Lab, patch: Patch) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                if says is None:
                    time.sleep(20)
                else:
                    self.request.recv(100)
                    self.request.sendall(says)

        patch.setitem(ssh_module.OPTIONS, "ConnectTimeout", "2")
        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        lab.write("Host board", "  HostName 127.0.0.1", f"  Port {server.server_address[1]}")

    return inject


def unknown_name(lab: Lab, patch: Patch) -> None:
    lab.write("Host board", "  HostName no-such-host.invalid")


def unreachable(lab: Lab, patch: Patch) -> None:
    """To the address of everybody no connection can be made."""
    lab.write("Host board", "  HostName 255.255.255.255")


def without_timeout(lab: Lab, patch: Patch) -> None:
    names = ("sh", "mkdir", "cat", "readlink", "ln", "rm", "cut", "date", "uname", "mv")
    place = tools(lab.folder / "tools", *names)
    lab.board(extra=[f'ForceCommand env PATH={place} {place}/sh -c "$SSH_ORIGINAL_COMMAND"'])


def home(make: Callable[[Path], object]) -> Connecting:
    def inject(lab: Lab, patch: Patch) -> None:
        make(lab.board().home / ".edgekd")

    return inject


def hanging(lab: Lab, patch: Patch) -> None:
    impatient(patch)
    lab.board(extra=["ForceCommand sleep 60"])


def flooding(lab: Lab, patch: Patch) -> None:
    patch.setattr(base, "MAX_OUTPUT_BYTES", 1 << 20)
    lab.board(extra=["ForceCommand yes"])


def used_by_another_machine(lab: Lab, patch: Patch) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    place = lab.board().home / ".edgekd"
    place.mkdir()
    (place / "lock").symlink_to(f"0a1b2c3d.77.1700000000.0123456789abcdef:{boot}:9999999999")
    patch.setattr(remote_module.Remote.__init__, "__defaults__", (0.3, None))


def used_by_this_machine(lab: Lab, patch: Patch) -> None:
    lab.board()
    held = DeviceLock("ssh:board")
    held.take(5)
    patch.setattr(remote_module.Remote.__init__, "__defaults__", (0.3, None))
    patch.setattr(lab, "stop", lambda stop=lab.stop: (held.release(), stop()))


def without_ssh(lab: Lab, patch: Patch) -> None:
    patch.setenv("PATH", str(lab.folder / "nothing"))


ANY = ("lost", "connection-refused")
CONNECTING: dict[str, tuple[Connecting, str | tuple[str, ...]]] = {
    "no key is known there": (keys(lambda lab, board: ""), "key-refused"),
    "another key is known there": (keys(stranger), "key-refused"),
    "its list of keys is garbage": (keys(lambda lab, board: "\0\xff" * 500), "key-refused"),
    "keys are not accepted": (sshd("PubkeyAuthentication no"), "key-refused"),
    "the account may not log in": (sshd("DenyUsers *"), "key-refused"),
    "the private key is open to all": (open_key, "key-unprotected"),
    "the host key changed": (known_hosts(lambda lab, b, other: f"[127.0.0.1]:{b.port} {other}\n"), "host-key-changed"),
    "the host key is revoked": (known_hosts(lambda lab, b, o: f"@revoked * {_own(b)}\n"), "host-key-revoked"),
    "the host key is unknown": (known_hosts(lambda lab, board, other: ""), "host-key-unknown"),
    "nothing listens": (nobody, "connection-refused"),
    "nothing listens at the jump host": (jump("HostName 127.0.0.1", "Port {port}"), ANY),
    "the jump host's name is unknown": (jump("HostName no-such-host.invalid"), ("host-unknown", "lost")),
    "its name is unknown": (unknown_name, "host-unknown"),
    "there is no route": (unreachable, "unreachable"),
    "what listens never speaks": (listener(None), "connect-timeout"),
    "what listens hangs up": (listener(b""), "lost"),
    "what listens is a web server": (listener(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "lost"),
    "ssh's configuration has an unknown option": (client("NoSuchOption yes"), "ssh-config"),
    "ssh's configuration lacks a value": (client("ServerAliveInterval"), "ssh-config"),
    "no cipher in common": (client("Ciphers aes256-ctr", server=("Ciphers aes128-ctr",)), "no-common-algorithm"),
    "no key exchange in common": (
        client("KexAlgorithms ecdh-sha2-nistp256", server=("KexAlgorithms curve25519-sha256",)),
        "no-common-algorithm",
    ),
    "no host key in common": (client("HostKeyAlgorithms rsa-sha2-512"), "no-common-algorithm"),
    "no command is allowed": (sshd("MaxSessions 0"), "session-refused"),
    "the account has no shell": (sshd("ForceCommand echo This account is currently not available.; exit 1"), "truncated"),
    "the shell prints garbage": (sshd("ForceCommand head -c 3000 /dev/urandom"), "truncated"),
    "the shell hangs": (hanging, "timeout"),
    "the shell prints without end": (flooding, "output"),
    "it has no command 'timeout'": (without_timeout, "no-timeout"),
    "its memory is used up": (sshd('ForceCommand ulimit -v 3000; /bin/sh -c "$SSH_ORIGINAL_COMMAND"'), "out-of-memory"),
    "edgekd's folder leads into /proc": (home(lambda place: place.symlink_to("/proc/self")), "not-writable"),
    "edgekd's folder is a file": (home(lambda place: place.write_text("")), "not-writable"),
    "another machine has it": (used_by_another_machine, "busy"),
    "another process has it": (used_by_this_machine, "busy"),
    "there is no ssh here": (without_ssh, "cannot-start"),
}


def _own(board: Board) -> str:
    return " ".join((board.folder / "host_key.pub").read_text().split()[:2])


@pytest.mark.parametrize("what", CONNECTING)
def test_in_connecting(what: str, lab: Lab, calm: Lab, tmp_path: Path, monkeypatch: Patch) -> None:
    """Named in time, and another device is used meanwhile as if nothing was."""
    inject, cause = CONNECTING[what]
    with monkeypatch.context() as patch:
        inject(lab, patch)
        assert refused() in ((cause,) if isinstance(cause, str) else cause)
    place = lab.folder / "board" / "home" / ".edgekd"
    assert place.is_symlink() or not place.is_dir() or {path.name for path in place.iterdir()} <= {"lock"}
    calm.enter(monkeypatch, tmp_path)
    with contextlib.closing(connect("ssh:calm")) as device:
        assert device.run(["echo", "next"], 60).stdout == "next\n"


def test_a_greeting_is_no_fault(lab: Lab) -> None:
    """A login script that prints in front of answers changes nothing."""
    lab.board(extra=['ForceCommand echo "Welcome!"; eval "$SSH_ORIGINAL_COMMAND"'])
    with contextlib.closing(connect("ssh:board")) as device:
        assert device.run(["echo", "hello"], 60).stdout.endswith("hello\n")


# Pushing ---------------------------------------------------------------------------------------------------------------

Pushing = Callable[[Faced, Patch], contextlib.AbstractContextManager[object]]


def habit(name: str) -> Pushing:
    def inject(faced: Faced, patch: Patch) -> contextlib.AbstractContextManager[object]:
        faced.habit(name)
        return contextlib.nullcontext()

    return inject


def stalled(act: Callable[[Faced], object]) -> Pushing:
    """The push stalls in the middle of the file, and then something happens."""

    def inject(faced: Faced, patch: Patch) -> contextlib.AbstractContextManager[object]:
        faced.habit("stall")
        impatient(patch)
        patch.setattr(remote_module, "SLOWEST_BYTES_S", 1 << 30)
        return when(lambda: faced.folder / "now", lambda: act(faced))

    return inject


def at_once(act: Callable[[Faced], object]) -> Pushing:
    def inject(faced: Faced, patch: Patch) -> contextlib.AbstractContextManager[object]:
        act(faced)
        return contextlib.nullcontext()

    return inject


def stolen(faced: Faced) -> None:
    lock = faced.board.home / ".edgekd" / "lock"
    lock.unlink()


PUSHING: dict[str, tuple[str, Pushing, str]] = {
    "the disk is full": ("size=256k", habit(""), "disk-full"),
    "no file can be made any more": ("size=8m,nr_inodes=6", habit(""), "disk-full"),
    "its file system turns read-only": ("size=8m", at_once(lambda faced: faced.remount("ro")), "read-only"),
    "files may not be so large": ("", habit("small-files"), "not-copied"),
    "the connection is cut": ("", stalled(lambda faced: faced.board.cut()), "lost"),
    "it hangs": ("", stalled(lambda faced: None), "timeout"),
    "all of it freezes": ("", stalled(Faced.freeze), "timeout"),
    "it takes a part and says nothing": ("", habit("swallow"), "truncated"),
    "the answer is cut off": ("", habit("cut-end"), "truncated"),
    "another job is answered for": ("", habit("other-token"), "another-job"),
    "its folder is removed": ("", at_once(lambda faced: shutil.rmtree(faced.board.home / ".edgekd")), "taken"),
    "its lock is removed": ("", at_once(stolen), "taken"),
}


@pytest.mark.parametrize("what", PUSHING)
def test_in_a_push(what: str, lab: Lab, tmp_path: Path, monkeypatch: Patch) -> None:
    """A folder of files that does not arrive whole is named, and nothing of it stays."""
    mount, inject, cause = PUSHING[what]
    inner = tmp_path / "model"
    inner.mkdir()
    for index in range(3):
        (inner / f"part{index}").write_bytes(os.urandom(300_000))
    faced = Faced(lab)
    with faced.mounted(mount) if mount else contextlib.nullcontext(), monkeypatch.context() as patch:
        device = connect("ssh:board")
        with inject(faced, patch):
            assert cause_of(lambda: device.push(inner, "model"), 60) == cause
        faced.habit("")
        if cause == "read-only":
            faced.remount("rw")
        device.close()
        faced.check_clean()


def test_there_are_enough() -> None:
    """Faults of connections, pushes, runs and answers: as many, and as many causes, as the lists claim."""
    from test_run_faults import ANSWERS, RUNNING

    causes = [cause for _, cause in CONNECTING.values()] + [cause for _, _, cause in PUSHING.values()]
    causes += [cause for _, _, cause in RUNNING.values()] + [cause for _, cause in ANSWERS.values()]
    assert len(causes) >= 80
    assert len({cause for cause in causes if isinstance(cause, str)}) >= 25


def test_waiting_for_a_device_has_an_end(lab: Lab) -> None:
    """A device that is in use is waited for as long as was said, and not longer."""
    lab.board()
    with contextlib.closing(connect("ssh:board")):
        assert cause_of(lambda: Remote(Ssh(read_address("ssh:board")), wait_s=0.2), 60) == "busy"


def test_a_silent_port_is_closed_again(lab: Lab) -> None:
    """What a refused connection opened here is gone."""
    lab.board(start=False)
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    for _ in range(3):
        refused()
    after = len(os.listdir("/proc/self/fd")) if before else 0
    assert after <= before
