"""Keys and settings of ssh for a board: keys of its own, its own known_hosts, loopback only, no passwords."""

import os
import shutil
import subprocess
from pathlib import Path

from edgekd.emulate.launch import FIRST_ID
from edgekd.errors import MissingExtraError, first_line

SERVER = """\
ListenAddress 127.0.0.1
HostKey /etc/ssh/board_key
AuthorizedKeysFile /root/.ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PidFile none
UseDNS no
PrintMotd no
SetEnv QEMU_CPU={cpu} OMP_NUM_THREADS=1
AcceptEnv PYTHON* QEMU_PLUGIN
Subsystem sftp /usr/lib/openssh/sftp-server
"""
CLIENT = """\
Host {host}
    HostName 127.0.0.1
    Port {port}
    User root
    IdentityFile "{folder}/id"
    IdentitiesOnly yes
    UserKnownHostsFile "{folder}/known_hosts"
    GlobalKnownHostsFile none
    StrictHostKeyChecking yes
"""
SERVER_FILE = "etc/ssh/sshd_board"


def make_key(file: Path) -> None:
    """A new key without a passphrase. Raises MissingExtraError without OpenSSH."""
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "edgekd emulated board", "-f", str(file)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    except OSError:
        raise MissingExtraError("ssh needs OpenSSH's client, which is not installed: apt-get install openssh-client") from None
    if done.returncode:
        raise MissingExtraError(f"ssh-keygen cannot make {file}: {first_line(RuntimeError(done.stderr))}")


def write_server(folder: Path, root: Path, cpu: str) -> None:
    """Keys of user and board in the folder, and what a new root's sshd needs of them."""
    for name in ("id", "board_key"):
        if not (folder / name).exists():
            make_key(folder / name)
    (root / SERVER_FILE).write_text(SERVER.format(cpu=cpu))
    (root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
    shutil.copyfile(folder / "board_key", root / "etc/ssh/board_key")
    shutil.copyfile(folder / "id.pub", root / "root/.ssh/authorized_keys")
    for name in ("etc/ssh/board_key", "root/.ssh", "root/.ssh/authorized_keys"):
        (root / name).chmod(0o700 if name == "root/.ssh" else 0o600)
        os.chown(root / name, FIRST_ID, FIRST_ID)


def write_client(folder: Path, host: str, port: int) -> None:
    """`ssh_config` and `known_hosts`."""
    kind, key = (folder / "board_key.pub").read_text().split()[:2]
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {key}\n")
    (folder / "ssh_config").write_text(CLIENT.format(host=host, port=port, folder=folder))
