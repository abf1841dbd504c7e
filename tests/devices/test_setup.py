"""`edgekd devices setup` over a real ssh: a bare device gets a private environment, its runs use it, and it can be removed."""

import contextlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ssh_server import Board, Lab, needs_sshd
from typer.testing import CliRunner

from edgekd.bench import setup_board, setup_device
from edgekd.bench.setup_board import remove_setup, setup_device_at
from edgekd.bench.transports import connect
from edgekd.bench.wheels import fetch_wheels
from edgekd.cli import app
from edgekd.errors import DeviceError, InputError

pytestmark = needs_sshd
WORD = setup_board.Runtime(module="edgekd_word", packages=("edgekd-word",))


def wheel(folder: Path, version: str, said: str, tag: str = "py3-none-any") -> None:
    """A wheel of one module, as an index has it."""
    info = f"edgekd_word-{version}.dist-info"
    with zipfile.ZipFile(folder / f"edgekd_word-{version}-{tag}.whl", "w") as stream:
        stream.writestr("edgekd_word.py", f"__version__ = {version!r}\n{said}\n")
        stream.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: edgekd-word\nVersion: {version}\n")
        stream.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n")
        stream.writestr(f"{info}/RECORD", "")


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that stands for the package index, for pip here."""
    found = tmp_path / "shelf"
    found.mkdir()
    wheel(found, "1.0", "")
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(found), "PIP_CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    for machine in setup_board.RUNTIMES:
        monkeypatch.setitem(setup_board.RUNTIMES[machine], "word", WORD)
    return found


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    (tmp_path / "lab").mkdir()
    lab = Lab(tmp_path / "lab")
    lab.enter(monkeypatch, tmp_path)
    yield lab.board()
    lab.stop()


def imported() -> tuple[int, str]:
    with contextlib.closing(connect("ssh:board")) as device:
        done = device.run([device.python, "-c", "import edgekd_word as m; print(m.__version__, m.__file__)"], 60)
        return done.rc, done.stdout


def test_runs_use_what_setup_made_until_it_is_removed(board: Board, shelf: Path) -> None:
    """Made, found by the next runs without being told, left alone the second time, gone after --remove."""
    assert imported()[0] != 0
    made = setup_device_at("ssh:board", ["word"])
    assert (made["state"], made["versions"]["edgekd_word"]) == ("made", "1.0")
    code, said = imported()
    assert (code, said) == (0, f"1.0 {board.home}/.edgekd/site/edgekd_word.py\n")
    before = (board.home / ".edgekd/site").stat().st_ino
    assert setup_device_at("ssh:board", ["word"])["state"] == "unchanged"
    assert (board.home / ".edgekd/site").stat().st_ino == before
    assert remove_setup("ssh:board")["state"] == "removed"
    assert remove_setup("ssh:board")["state"] == "unchanged"
    assert (imported()[0] != 0, board.left()) == (True, [])


def test_what_cannot_be_imported_replaces_nothing(board: Board, shelf: Path) -> None:
    """A newer wheel that does not load there is told in one line; the environment of before stays."""
    setup_device_at("ssh:board", ["word"])
    wheel(shelf, "2.0", "raise OSError('wrong ELF class')")
    with contextlib.closing(connect("ssh:board")) as device:
        device.run(["sh", "-c", "echo changed > ../site/edgekd-setup.json"], 20)
    with pytest.raises(DeviceError, match=r"step 'check' failed there: OSError: wrong ELF class") as caught:
        setup_device_at("ssh:board", ["word"])
    assert "\n" not in str(caught.value)
    assert imported()[1].startswith("1.0 ")
    assert not [name for name in board.left() if "job-" in name]


def test_the_devices_own_pip_takes_an_index(board: Board, shelf: Path) -> None:
    """With --index-url nothing is fetched here: the device's pip reads the index, and a refusal of it is one line."""
    index = shelf / "simple" / "edgekd-word"
    index.mkdir(parents=True)
    (shelf / "edgekd_word-1.0-py3-none-any.whl").rename(index / "edgekd_word-1.0-py3-none-any.whl")
    (index / "index.html").write_text('<a href="edgekd_word-1.0-py3-none-any.whl">edgekd_word-1.0-py3-none-any.whl</a>')
    said = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False)
    if said.returncode:
        pytest.skip("this machine's Python, which stands for the device's, has no pip")
    assert setup_device_at("ssh:board", ["word"], index_url=f"file://{shelf}/simple")["state"] == "made"
    assert imported()[0] == 0
    with pytest.raises(DeviceError, match="step 'fetch' failed there: OSError: ERROR") as caught:
        setup_device_at("ssh:board", ["word"], index_url=f"file://{shelf}/nowhere")
    assert "\n" not in str(caught.value)


def test_no_wheel_fits(shelf: Path, tmp_path: Path) -> None:
    """Only wheels of the device's processor, Python and C library are taken."""
    (shelf / "edgekd_word-1.0-py3-none-any.whl").unlink()
    wheel(shelf, "1.0", "", "cp311-cp311-manylinux_2_28_aarch64")
    fetch_wheels(tmp_path / "fits", ["edgekd-word"], machine="aarch64", python=(3, 11), glibc=36)
    assert (tmp_path / "fits/edgekd_word.py").is_file()
    for machine, python, glibc in (("armv7l", (3, 11), 36), ("aarch64", (3, 9), 36), ("aarch64", (3, 11), 27)):
        with pytest.raises(DeviceError, match="pip could not fetch edgekd-word for Python 3"):
            fetch_wheels(tmp_path / "not", ["edgekd-word"], machine=machine, python=python, glibc=glibc)  # type: ignore[arg-type]


FINE: dict[str, Any] = {
    "python": [3, 11], "bits": 64, "libc": ["glibc", "2.36"], "system": "Linux", "machine": "aarch64", "note": "",
    "free": 1 << 30,
}  # fmt: skip
FACTS = [
    ({"libc": ["libc", ""]}, "wheels for Linux with glibc"), ({"libc": []}, "wheels for Linux with glibc"),
    ({"libc": ["glibc", "2.12"]}, "wheels for Linux"), ({"libc": ["glibc", "2.36; id"]}, "wheels for Linux"),
    ({"system": "Darwin"}, "Darwin on aarch64"), ({"machine": "riscv64"}, "Linux on riscv64"),
    ({"machine": ["x"]}, "wheels for Linux"), ({"python": [3, 7]}, "older than 3.8"), ({"python": "3.11"}, "its facts"),
    ({"python": [3, True]}, "its facts"), ({"python": [3, -1]}, "its facts"), ({"python": [3, 11, 2]}, "its facts"),
    ({"note": 5}, "its facts"), ({"libc": "glibc"}, "its facts"), ({"free": "much"}, "its facts"), ({"free": -1}, "its facts"),
    ({"more": 1}, "unknown key"), ({"machine": "x\x1b[31m\ny"}, "wheels for Linux"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), FACTS, ids=[str(change)[:40] for change, _ in FACTS])
def test_facts_are_not_taken_on_trust(board: Board, change: dict[str, Any], message: str, tmp_path: Path) -> None:
    """A device that lies, or that no wheel fits, is told in one printable line."""

    class Liar:
        python = "python3"

        def push(self, local: Path, remote: str) -> None:
            return

        def run(self, argv: list[str], timeout_s: float) -> Any:
            return subprocess.CompletedProcess(argv, 0, json.dumps({**FINE, **change}), "")

    with pytest.raises(DeviceError, match=message) as caught:
        setup_board.read_facts(Liar(), "ssh:board")  # type: ignore[arg-type]
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["local"], "local is this machine"),
        (["ssh:-oX"], "is none that ssh takes"),
        (["ssh:board", "--index-url", "-r/etc/passwd"], "is no address of a package index"),
        (["ssh:board", "--index-url", "https://a b"], "is no address of a package index"),
        (["ssh:board", "--runtime", "hailo"], "no wheels of a runtime 'hailo'"),
        (["ssh:board", "--runtime", "../../x"], "no wheels of a runtime"),
    ],
)
def test_what_is_asked_for_is_checked(board: Board, words: list[str], message: str) -> None:
    """Addresses, runtimes and indexes that are none are input errors that say what there is."""
    done = CliRunner().invoke(app, ["devices", "setup", *words])
    assert isinstance(done.exception, InputError)
    assert message in str(done.exception)


def test_an_archive_stays_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device's half unpacks plain files inside its folder and nothing else."""
    import tarfile

    monkeypatch.chdir(tmp_path)
    for name, kind in (("../out", tarfile.REGTYPE), ("/tmp/out", tarfile.REGTYPE), ("link", tarfile.SYMTYPE)):
        with tarfile.open("a.tar", "w") as stream:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            stream.addfile(member)
        with pytest.raises(ValueError, match="more than plain files"):
            setup_device.unpack("a.tar", "")
