"""A daemon that speaks adb's protocol to the real adb client, with the faults of real devices on demand. Loopback only, no keys.

The protocol: packets of six little-endian words (command, two arguments, length, checksum, command inverted) and a payload;
CNXN greets, OPEN starts a service on a stream, WRTE carries data and is answered by OKAY, CLSE ends it. Services here: `exec:`
and `shell:` run a command, `shell,v2` frames its streams and exit code, `sync:` writes pushed files.
Source: packages/modules/adb, protocol.txt, SERVICES.TXT, SYNC.TXT and shell_protocol.h of the Android Open Source Project.

Commands run in this machine's shell; /data/local/tmp in them, and in pushed files' names, is a folder of the test.
"""

import contextlib
import os
import queue
import re
import shutil
import socket
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

ADB = shutil.which("adb")
needs_adb = pytest.mark.skipif(ADB is None, reason="needs the adb client: apt install adb")

CNXN, OPEN, OKAY, CLSE, WRTE, AUTH = (
    int.from_bytes(word, "little") for word in (b"CNXN", b"OPEN", b"OKAY", b"CLSE", b"WRTE", b"AUTH")
)
VERSION = 0x01000001  # from here on checksums are not looked at
MAX_DATA = 1 << 18
PHONE = "/data/local/tmp"
STDOUT, STDERR, EXIT = 1, 2, 3


class Gone(Exception):
    """The other end has closed the stream."""


class Stream:
    """One service's connection: a packet goes out when the one before was acknowledged."""

    def __init__(self, link: "Link", own: int, other: int) -> None:
        self.link, self.own, self.other = link, own, other
        self.inbox: queue.Queue[bytes | None] = queue.Queue()
        self.acknowledged = threading.Semaphore(0)
        self.open, self.rest = True, b""

    def write(self, data: bytes) -> None:
        for start in range(0, len(data), self.link.max_data):
            part = self.link.daemon.sent(data[start : start + self.link.max_data])
            if not self.open:
                raise Gone
            self.link.send(WRTE, self.own, self.other, part)
            self.acknowledged.acquire()
        if not self.open:
            raise Gone

    def read(self, size: int) -> bytes:
        while len(self.rest) < size:
            data = self.inbox.get()
            if data is None:
                self.inbox.put(None)
                raise Gone
            self.link.send(OKAY, self.own, self.other)
            self.rest += data
        data, self.rest = self.rest[:size], self.rest[size:]
        return data

    def close(self, *, tell: bool = True) -> None:
        if self.open:
            self.open = False
            if tell:
                self.link.send(CLSE, self.own, self.other)
        self.acknowledged.release()
        self.inbox.put(None)


class Link:
    """One connection of an adb server."""

    def __init__(self, daemon: "Daemon", connection: socket.socket) -> None:
        self.daemon, self.socket = daemon, connection
        self.lock, self.streams, self.max_data = threading.Lock(), dict[int, Stream](), 4096

    def send(self, command: int, first: int, second: int, data: bytes = b"") -> None:
        head = struct.pack("<6I", command, first, second, len(data), sum(data) & 0xFFFFFFFF, command ^ 0xFFFFFFFF)
        with contextlib.suppress(OSError), self.lock:
            self.socket.sendall(head + data)

    def receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def serve(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            while True:
                command, first, second, length, _, _ = struct.unpack("<6I", self.receive(24))
                self.take(command, first, second, self.receive(length))
        for stream in list(self.streams.values()):
            stream.close(tell=False)
        self.socket.close()

    def take(self, command: int, first: int, second: int, data: bytes) -> None:
        stream = self.streams.get(second)
        if command == CNXN and self.daemon.refuses_key:
            self.send(AUTH, 1, 0, os.urandom(20))
        elif command == AUTH:
            self.send(AUTH, 1, 0, os.urandom(20))  # no key is good enough; the client waits for its user to be accepted
        elif command == CNXN:
            self.max_data = min(second, MAX_DATA)
            self.send(CNXN, VERSION, MAX_DATA, f"device::features={','.join(self.daemon.features)}".encode())
        elif command == OPEN:
            stream = self.streams[len(self.streams) + 1] = Stream(self, len(self.streams) + 1, first)
            self.send(OKAY, stream.own, stream.other)
            threading.Thread(target=self.service, args=(stream, data.rstrip(b"\0").decode()), daemon=True).start()
        elif command == WRTE and stream:
            stream.inbox.put(data)
        elif command == OKAY and stream:
            stream.acknowledged.release()
        elif command == CLSE and stream:
            stream.close(tell=False)

    def service(self, stream: Stream, name: str) -> None:
        kind, _, rest = name.partition(":")
        try:
            if kind == "sync":
                sync(self.daemon, stream)
            elif kind == "exec" or kind.split(",")[0] == "shell":
                self.daemon.run(stream, rest, framed="v2" in kind.split(","))
        except Gone:
            pass
        finally:
            stream.close()


class Daemon:
    """A phone. Its faults are attributes, to be set at any time.

    refuses_key: no key is accepted. cut_after: bytes written by the phone, or pushed to it, after which the connection breaks
    (`reboots`: and the boot id is another one then). truncate: a function of what is sent. silent: it accepts, and says nothing.
    """

    def __init__(self, folder: Path, *, shell_v2: bool = True) -> None:
        self.folder = folder
        (folder / PHONE[1:]).mkdir(parents=True)
        self.features = ["shell_v2", "cmd", "stat_v2", "fixed_push_mkdir"] if shell_v2 else ["cmd"]
        self.refuses_key = self.silent = self.reboots = False
        self.cut_after: int | None = None
        self.cut_push_after: int | None = None
        self.change: Callable[[bytes], bytes] = lambda data: data
        self.boot = "00000000-0000-0000-0000-000000000001"
        self.env: dict[str, str] = {}
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.links: list[Link] = []
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.port}"

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self.silent:
                    self.links.append(Link(self, connection))
                    continue
                self.links.append(Link(self, connection))
                threading.Thread(target=self.links[-1].serve, daemon=True).start()

    def cut(self) -> None:
        """Break all connections; what runs goes on, as on a real phone."""
        for link in self.links:
            with contextlib.suppress(OSError):
                link.socket.shutdown(socket.SHUT_RDWR)
        self.links.clear()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut()

    def sent(self, data: bytes) -> bytes:
        """What goes out in place of `data`; the place of the faults."""
        if self.cut_after is not None:
            self.cut_after -= len(data)
            if self.cut_after < 0:
                self.cut_after = None
                if self.reboots:
                    self.boot = "00000000-0000-0000-0000-000000000002"
                self.cut()
                raise Gone
        return self.change(data)

    def here(self, text: str) -> str:
        """Paths of the phone in a text as paths of this machine; one that is of this machine already stays."""
        return re.sub(rf"(?<!\w){PHONE}", str(self.folder / PHONE[1:]), text).replace(
            "/proc/sys/kernel/random/boot_id", str(self._boot_file())
        )

    def _boot_file(self) -> Path:
        file = self.folder / "boot_id"
        file.write_text(self.boot + "\n")
        return file

    def left(self) -> list[str]:
        """What lies in edgekd's folder."""
        place = self.folder / PHONE[1:]
        return sorted(str(path.relative_to(place)) for path in (place / "edgekd").rglob("*"))

    def run(self, stream: Stream, command: str, *, framed: bool) -> None:
        """A command's output into the stream; framed with its exit code, or raw with stderr mixed in."""
        process = subprocess.Popen(
            ["/bin/sh", "-c", self.here(command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if framed else subprocess.STDOUT,
            cwd=self.folder,
            env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", **self.env},
            start_new_session=True,
        )
        sources = [(process.stdout, STDOUT), (process.stderr, STDERR)] if framed else [(process.stdout, 0)]
        pumps = [threading.Thread(target=pump, args=(source, kind, stream), daemon=True) for source, kind in sources]
        for thread in pumps:
            thread.start()
        for thread in pumps:
            thread.join()
        code = process.wait()
        if framed:
            stream.write(struct.pack("<BIB", EXIT, 1, (code if code >= 0 else 128 - code) & 255))


def pump(source: "subprocess.IO[bytes]", kind: int, stream: Stream) -> None:  # type: ignore[name-defined]
    """From a process to the stream, until either ends."""
    with contextlib.suppress(Gone, OSError), source:
        while data := os.read(source.fileno(), 32768):
            stream.write(struct.pack("<BI", kind, len(data)) + data if kind else data)


def sync(daemon: Daemon, stream: Stream) -> None:
    """Requests of a sync connection, until it quits."""
    while True:
        request, size = struct.unpack("<4sI", stream.read(8))
        if request == b"QUIT":
            return
        path = stream.read(size).decode()
        if request in (b"STAT", b"STA2", b"LST2"):
            stream.write(status(request, daemon.here(path)))
        elif request == b"SEND":
            error = received(daemon, stream, daemon.here(path.rpartition(",")[0]))
            stream.write(b"FAIL" + struct.pack("<I", len(error)) + error if error else b"OKAY" + bytes(4))
        else:
            stream.write(b"FAIL" + struct.pack("<I", 15) + b"unknown command")


def status(request: bytes, path: str) -> bytes:
    try:
        found = os.stat(path)
    except OSError as error:
        return request + (bytes(12) if request == b"STAT" else struct.pack("<I", error.errno or 2) + bytes(64))
    if request == b"STAT":
        return request + struct.pack("<III", found.st_mode, found.st_size, int(found.st_mtime))
    times = (int(found.st_atime), int(found.st_mtime), int(found.st_ctime))
    owner = (found.st_mode, found.st_nlink, found.st_uid, found.st_gid)
    return request + struct.pack("<IQQIIIIQqqq", 0, found.st_dev, found.st_ino, *owner, found.st_size, *times)


def received(daemon: Daemon, stream: Stream, path: str) -> bytes:
    """A pushed file, written as it comes; what went wrong. The client sends all of it before it reads: so all is taken."""
    error = b""
    with contextlib.ExitStack() as stack:
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            file = stack.enter_context(open(path, "wb"))
        except OSError as problem:
            error = f"couldn't create file: {os.strerror(problem.errno or 0)}".encode()
        while True:
            kind, size = struct.unpack("<4sI", stream.read(8))
            if kind == b"DONE":
                break
            data = stream.read(size)
            if daemon.cut_push_after is not None:
                daemon.cut_push_after -= size
                if daemon.cut_push_after < 0:
                    daemon.cut_push_after = None
                    daemon.cut()
                    raise Gone
            try:
                if not error:
                    file.write(data)
                    file.flush()
            except OSError as problem:
                error = f"couldn't write: {os.strerror(problem.errno or 0)}".encode()
    if not error:
        os.chmod(path, stat.S_IRUSR | stat.S_IWUSR)
    return error


class Server:
    """A private adb server: its own port and home, ended with the test."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.env = {"ANDROID_ADB_SERVER_PORT": str(probe.getsockname()[1]), "HOME": str(folder), "TMPDIR": str(folder)}
        self.env |= {"ADB_MDNS": "0", "ANDROID_SERIAL": ""}

    def enter(self, monkeypatch: pytest.MonkeyPatch, state: Path) -> None:
        for name, value in self.env.items():
            monkeypatch.setenv(name, value)
        for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
            monkeypatch.setenv(name, str(state / name.lower()))

    def stop(self) -> None:
        subprocess.run([str(ADB), "kill-server"], env={**os.environ, **self.env}, check=False, capture_output=True, timeout=20)
