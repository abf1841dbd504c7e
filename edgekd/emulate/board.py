"""An emulated board: its folder made ready, started, stopped."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgekd.emulate import access, launch
from edgekd.emulate.boards import Arch, Board, find_board
from edgekd.emulate.faces import cpuinfo, write_faces
from edgekd.emulate.native import cache_folder, library
from edgekd.emulate.needs import require
from edgekd.emulate.qemu import GUESTS, Qemu, binfmt_line, find_qemu
from edgekd.emulate.root import ADBD, PACKAGES, PLUGINS, build_root, mirror
from edgekd.emulate.wheels import RUNTIMES, TFLITE, compile_python, install_runtimes
from edgekd.errors import DeviceError, InputError, StorageError, storage_errors
from edgekd.types import digest

START_SECONDS = 30.0
"""A server listens after 0.5 s where nothing else runs."""
RECIPE = 2
"""Raised when the same packages and wheels make another root."""
ADBD_PATH = "/usr/lib/android-sdk/platform-tools/adbd"
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Running:
    """A board that is up. `folder` holds its root, keys, `ssh_config` and logs."""

    folder: Path
    host: str
    """Its name in `ssh_config`."""
    ssh_port: int
    adb_port: int | None
    cpu: str
    process: subprocess.Popen[bytes]

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def ssh_config(self) -> Path:
        return self.folder / "ssh_config"

    @property
    def ssh(self) -> list[str]:
        """An ssh command line up to the remote command."""
        return ["ssh", "-F", str(self.ssh_config), self.host]

    @property
    def adb_serial(self) -> str | None:
        return None if self.adb_port is None else f"127.0.0.1:{self.adb_port}"

    def stop(self) -> None:
        """End it and wait until all of it is gone; the folder stays."""
        launch.end(self.folder)
        self.process.wait()


def prepared_root(arch: Arch, *, bare: bool = False, archive: str | None = None, say: Say = lambda text: None) -> Path:
    """The root that all boards of an architecture are copied from, built where the cache has none of this recipe."""
    parts = [RECIPE, PACKAGES, ADBD, None if bare else (RUNTIMES, TFLITE[arch])]
    root = cache_folder() / f"root-{arch}-{'bare' if bare else 'full'}-{digest(parts)[:12]}"
    if root.exists():
        return root
    require(arch)
    with storage_errors(str(root)):
        root.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=root.parent, prefix="draft-"))
    try:
        say(f"building a {arch} root (once, about a minute)")
        build_root(draft / "root", arch, archive or mirror())
        if not bare:
            say("fetching the runtimes' wheels")
            install_runtimes(draft / "root", arch)
        compile_python(draft / "root")
        shift_owners(draft / "root", launch.FIRST_ID)
        with contextlib.suppress(FileExistsError, OSError):
            os.rename(draft / "root", root)  # another process may have been first
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return root


def shift_owners(root: Path, first_id: int) -> None:
    """Give everything in a root to the host's ids that its users are."""
    for folder, _, files in os.walk(root):
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            seen = os.lstat(path)
            os.lchown(path, first_id + seen.st_uid, first_id + seen.st_gid)
            if not os.path.islink(path):
                os.chmod(path, seen.st_mode & 0o7777)  # chown takes the set-user-id bit away
    for folder, names, _ in os.walk(root):
        for path in (os.path.join(folder, name) for name in names):
            if os.path.islink(path):
                os.lchown(path, first_id, first_id)


def start_board(
    name: str,
    folder: Path,
    *,
    arch: Arch = "arm64",
    ssh_port: int | None = None,
    adb: bool = False,
    adb_port: int | None = None,
    bare: bool = False,
    archive: str | None = None,
    with_parent: bool = True,
    say: Say = lambda text: None,
) -> Running:
    """Make a board's folder ready and start it: its sshd, and adbd where asked for, listen on loopback when this returns.

    Args:
        folder: new, or a board's that was stopped, which then goes on with its files and keys.
        ssh_port, adb_port: None takes a free one. adb takes 5555 to 5585 for Android's own emulators: not those.
        bare: without the runtimes' wheels, as a board comes from the shop.
        archive: Debian archive to build from; None is the one of the host's apt.
        with_parent: the board ends with this process, however that ends.

    Raises:
        MissingExtraError, DeviceError, StorageError.
    """
    board = find_board(name)
    require(arch)
    folder = folder.resolve()
    if launch.running(folder):
        raise DeviceError(f"{folder}: its board runs already; end it with: edgekd devices emulate {name} --out {folder} --stop")
    ports = (ssh_port or free_port(), (adb_port or free_port()) if adb else None)
    port, bridge = ports
    with storage_errors(str(folder)):
        _make_root(folder, board, arch, lambda: prepared_root(arch, bare=bare, archive=archive, say=say))
        access.write_client(folder, f"edgekd-{name}", port)
    process = launch.launch(folder, _description(folder, arch, board, ports, os.getpid() if with_parent else 0))
    cpu = board.processors[arch].qemu
    running = Running(folder=folder, host=f"edgekd-{name}", ssh_port=port, adb_port=bridge, cpu=cpu, process=process)
    try:
        for one in (port, bridge):
            if one is not None:
                _wait(running, one)
    except BaseException:
        running.stop()
        raise
    return running


def _make_root(folder: Path, board: Board, arch: Arch, prepared: Callable[[], Path]) -> None:
    """The root of a new board. Of a board that ran, nothing is written there: its links may lead anywhere on the host."""
    kind, root = f"{board.name} {arch}", folder / "root"
    if root.exists():
        made = (folder / "kind").read_text() if (folder / "kind").is_file() else "something else"
        if made != kind:
            raise InputError(f"{folder} holds {made}, not {kind}: choose another --out")
        return
    source, draft = prepared(), folder / "root-draft"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(draft, ignore_errors=True)
    argv = ["cp", "-a", "--reflink=auto", str(source), str(draft)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StorageError(f"cannot copy the root to {draft}: {done.stderr.strip()[-200:]}")
    write_faces(draft, board)
    access.write_server(folder, draft, board.processors[arch].qemu)
    (folder / "cpuinfo").write_text(cpuinfo(board, board.processors[arch]))
    (folder / "kind").write_text(kind)
    draft.rename(root)


def _description(folder: Path, arch: Arch, board: Board, ports: tuple[int, int | None], parent: int) -> launch.Description:
    """What runs on the board, and what of the host it sees: its QEMU's libraries and the plugins."""
    qemu, cpu = find_qemu(GUESTS[arch]), board.processors[arch].qemu
    binds = [*qemu.binds, (str(folder / "cpuinfo"), "proc/cpuinfo")]
    if qemu.plugins:
        binds += [(str(library(name)), f"plugin/{name}.so") for name in PLUGINS]
    sshd = ("/usr/sbin/sshd", "-D", "-e", "-f", f"/{access.SERVER_FILE}", "-p", str(ports[0]))
    services = [launch.Service(argv=sshd, env=launch.environment(cpu), log=str(folder / "sshd.log"))]
    if ports[1] is not None:
        services.append(_adbd(folder, qemu, cpu, ports[1]))
    return launch.Description(
        root=str(folder / "root"),
        binfmt=(binfmt_line(arch, qemu),),
        binds=tuple(binds),
        services=tuple(services),
        with_parent=parent,
    )


def _adbd(folder: Path, qemu: Qemu, cpu: str, port: int) -> launch.Service:
    if not qemu.plugins:
        raise DeviceError(
            "adbd asks for no key, and is kept to loopback by a library that a static QEMU cannot load: leave --adb"
        )
    env = launch.environment(cpu, ADBD_PORT=str(port), SHELL="/bin/sh", OMP_NUM_THREADS="1")
    # For QEMU, which makes the guest's system calls; the guest's own programs are not to see it.
    env |= {"LD_PRELOAD": "/plugin/loopback.so", "QEMU_UNSET_ENV": "LD_PRELOAD"}
    return launch.Service(argv=(ADBD_PATH,), env=env, log=str(folder / "adbd.log"))


def _wait(running: Running, port: int) -> None:
    """Until something listens there. Raises DeviceError where the board ended, or did not listen in time."""
    until = time.monotonic() + START_SECONDS
    logs = [running.folder / name for name in ("board.log", "sshd.log", "adbd.log")]
    while True:
        if running.process.poll() is not None:
            raise DeviceError(f"{running.host} did not start: {launch.tail(logs)}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if time.monotonic() > until:
            raise DeviceError(f"{running.host} did not listen on port {port} within {START_SECONDS:.0f} s: {launch.tail(logs)}")
        time.sleep(0.05)


def free_port() -> int:
    """A port of loopback that is free now; from the range for that, so never one that adb takes for an emulator."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
