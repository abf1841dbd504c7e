"""A real sshd on loopback, with keys of its own, as one or more boards; and an `ssh` that reads the test's configuration.

OpenSSH finds ~/.ssh by the account, not by $HOME, so the tests put a two-line `ssh` first in PATH that names another
configuration: it stands for the user's own. Each board has its own home folder.
"""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

SSH = shutil.which("ssh")
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

needs_sshd = pytest.mark.skipif(SSH is None or SSHD is None, reason="needs ssh and sshd: apt install openssh-server")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def keygen(file: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)], check=True, stdin=subprocess.DEVNULL)


class Board:
    """One sshd and the home folder that its sessions see."""

    def __init__(self, name: str, folder: Path, user_key: Path) -> None:
        self.name, self.folder, self.port = name, folder, free_port()
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        keygen(folder / "host_key")
        shutil.copy(user_key.with_suffix(".pub"), folder / "authorized_keys")
        self.extra: list[str] = []
        """More lines of sshd_config, from the next start on."""
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd, as root, locks up its unprivileged half
        config = self.folder / "sshd_config"
        config.write_text("\n".join([*self.extra, *self._lines(), ""]))
        log = (self.folder / "sshd.log").open("ab")
        self.process = subprocess.Popen([str(SSHD), "-D", "-e", "-f", str(config)], stdin=subprocess.DEVNULL, stderr=log)
        log.close()
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        raise RuntimeError(f"sshd did not start: {(self.folder / 'sshd.log').read_text()}")

    def _lines(self) -> list[str]:
        return [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self.folder / 'host_key'}",
            f"AuthorizedKeysFile {self.folder / 'authorized_keys'}",
            "StrictModes no",
            "PermitRootLogin prohibit-password",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "UsePAM no",
            "PidFile none",
            "UseDNS no",
            "PrintMotd no",
            f"SetEnv HOME={self.home} PATH={Path(sys.executable).parent}:/usr/bin:/bin",
        ]

    def sessions(self) -> list[int]:
        """Processes of sshd that serve a connection."""
        import psutil

        if self.process is None:
            return []
        return [child.pid for child in psutil.Process(self.process.pid).children(recursive=True) if child.name() == "sshd"]

    def cut(self) -> None:
        """Break every connection, as a cable that is pulled; what runs goes on."""
        for pid in self.sessions():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)

    def stop(self) -> None:
        if self.process is not None:
            self.cut()
            self.process.kill()
            self.process.wait()
            self.process = None

    def left(self) -> list[str]:
        """What lies in edgekd's folder there."""
        return sorted(str(path.relative_to(self.home)) for path in (self.home / ".edgekd").rglob("*"))


class Lab:
    """Boards, the key that opens them, and the user's configuration of ssh."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.boards = folder, dict[str, Board]()
        self.key = folder / "id"
        keygen(self.key)
        self.bin = folder / "bin"
        self.bin.mkdir()
        wrapper = self.bin / "ssh"
        wrapper.write_text(f'#!/bin/sh\nexec {SSH} -F {folder / "config"} "$@"\n')
        wrapper.chmod(0o755)

    def board(self, name: str = "board", *, extra: list[str] | None = None, start: bool = True) -> Board:
        found = Board(name, self.folder / name, self.key)
        found.extra = extra or []
        self.boards[name] = found
        self.write()
        if start:
            found.start()
        return found

    def write(self, *lines: str) -> None:
        """The user's configuration, `lines` before the rest, and the known hosts."""
        entries = list(lines)
        known = []
        for board in self.boards.values():
            entries += [f"Host {board.name}", "  HostName 127.0.0.1", f"  Port {board.port}"]
            key = (board.folder / "host_key.pub").read_text().split()
            known.append(f"[127.0.0.1]:{board.port} {key[0]} {key[1]}")
        common = ["Host *", f"  User {pwd.getpwuid(os.geteuid()).pw_name}", f"  IdentityFile {self.key}", "  IdentitiesOnly yes"]
        common += [f"  UserKnownHostsFile {self.folder / 'known_hosts'}", "  GlobalKnownHostsFile none"]
        (self.folder / "config").write_text("\n".join([*entries, *common, ""]))
        (self.folder / "known_hosts").write_text("\n".join([*known, ""]))

    def enter(self, monkeypatch: pytest.MonkeyPatch, state: Path) -> None:
        """The test's own ssh, and its own folder for locks and settings."""
        monkeypatch.setenv("PATH", f"{self.bin}:{os.environ['PATH']}")
        for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
            monkeypatch.setenv(name, str(state / name.lower()))

    def python(self, script: str) -> int:
        """Exit code of a script in a process of its own."""
        return subprocess.run([sys.executable, "-c", script], stdin=subprocess.DEVNULL, check=False).returncode

    def stop(self) -> None:
        for board in self.boards.values():
            board.stop()
