"""A device over the real OpenSSH client and a real sshd: the same behaviour as this machine, and nothing left behind."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from ssh_server import Board, Lab, needs_sshd

from edgekd.bench.measure import measure_model
from edgekd.bench.settings import Settings
from edgekd.bench.transports import DeviceFault, base, connect
from edgekd.bench.transports.address import read_address
from edgekd.bench.transports.remote import Remote
from edgekd.bench.transports.ssh import Ssh
from edgekd.device import Device
from edgekd.errors import DeviceError
from edgekd.null_target import NullTarget

pytestmark = needs_sshd

SPAWN = """
import subprocess, sys, time
child = subprocess.Popen(["setsid", "sleep", "612"])
open("child", "w").write(str(child.pid))
time.sleep(SECONDS)
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab(tmp_path_factory.mktemp("lab"))
    made.board()
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def _ways(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.enter(monkeypatch, tmp_path)


@pytest.fixture
def board(lab: Lab) -> Board:
    return lab.boards["board"]


@pytest.fixture
def device() -> Iterator[Remote]:
    found = connect("ssh:board")
    assert isinstance(found, Remote)
    yield found
    found.close()


def is_gone(pid: int) -> bool:
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_runs_in_its_folder_and_tells_everything(device: Remote, tmp_path: Path) -> None:
    """A pushed file is there under its remote name; exit code, stdout and stderr come back, apart."""
    (tmp_path / "text").write_text("pushed")
    device.push(tmp_path / "text", "data.txt")
    code = "import sys; print(open('data.txt').read()); print('no', file=sys.stderr); sys.exit(7)"
    done = device.run([device.python, "-c", code], 30)
    assert (done.rc, done.stdout.strip(), done.stderr.strip()) == (7, "pushed", "no")


def test_arguments_are_text(device: Remote) -> None:
    """Nothing in an argument means anything to the shells on the way."""
    words = ["$(touch x)", "`id`", "a 'b' \"c\"", "*", "-n", "", "line\nline", "!!", "\\", "é ü", "; exit 3", "~", "%h"]
    done = device.run([device.python, "-c", "import sys; print(sys.argv[1:])", *words], 30)
    assert done.stdout == f"{words}\n"


def test_output_comes_back_as_it_was(device: Remote) -> None:
    """Output without a line end, with lines that look like the end of an answer, is not cut or mended."""
    done = device.run(["printf", "%s", "\nedgekd-x 0\nno end"], 30)
    assert done.stdout == "\nedgekd-x 0\nno end"


def test_pulls_what_a_run_wrote(device: Remote, tmp_path: Path) -> None:
    """A file written by a run comes back byte for byte, one of no bytes too."""
    device.run([device.python, "-c", "open('made', 'wb').write(bytes(range(256)) * 5000); open('empty', 'wb')"], 30)
    device.pull("made", tmp_path / "here")
    device.pull("empty", tmp_path / "nothing")
    assert ((tmp_path / "here").read_bytes(), (tmp_path / "nothing").read_bytes()) == (bytes(range(256)) * 5000, b"")


def test_pushes_a_folder_again_and_again(device: Remote, tmp_path: Path) -> None:
    """A folder arrives with what is in it, and a second push replaces its files."""
    inner = tmp_path / "model.mlpackage" / "Data" / "a b"
    inner.mkdir(parents=True)
    for text in ("first", "second and longer", "3"):
        (inner / "weights.bin").write_text(text)
        device.push(tmp_path / "model.mlpackage", "model.mlpackage")
        assert device.run(["cat", "model.mlpackage/Data/a b/weights.bin"], 30).stdout == text


@pytest.mark.parametrize("remote", ["../escaped", "/tmp/escaped", "a/../../escaped", "", ".", "a\nb"])
def test_nothing_leaves_the_folder(device: Remote, tmp_path: Path, remote: str) -> None:
    """Remote names that point outside the working folder are refused in both directions."""
    (tmp_path / "x").write_text("x")
    with pytest.raises(DeviceError, match="outside the working folder"):
        device.push(tmp_path / "x", remote)
    with pytest.raises(DeviceError, match="outside the working folder"):
        device.pull(remote, tmp_path / "y")


def test_does_not_fetch_through_a_link(device: Remote, tmp_path: Path) -> None:
    """A link that a run left behind is not followed."""
    device.run(["ln", "-s", "/etc/passwd", "link"], 30)
    with pytest.raises(DeviceError, match="no file link"):
        device.pull("link", tmp_path / "y")


def test_timeout_ends_what_runs_there(device: Remote, tmp_path: Path) -> None:
    """A run that takes too long is a named fault, and what it started in a session of its own is gone too."""
    with pytest.raises(DeviceFault, match="no answer after 2 s") as caught:
        device.run([device.python, "-c", SPAWN.replace("SECONDS", "60")], 2)
    assert caught.value.cause == "timeout"
    device.pull("child", tmp_path / "child")
    assert is_gone(int((tmp_path / "child").read_text()))


def test_children_do_not_outlive_a_run(device: Remote, tmp_path: Path) -> None:
    """A process left in the background, which holds the output open, neither delays the answer nor stays."""
    started = time.monotonic()
    assert device.run([device.python, "-c", SPAWN.replace("SECONDS", "0")], 60).rc == 0
    assert time.monotonic() - started < 30
    device.pull("child", tmp_path / "child")
    assert is_gone(int((tmp_path / "child").read_text()))


def test_a_flood_of_output_is_refused(device: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    """More output than any answer has is a named fault, and the flood ends at its source."""
    monkeypatch.setattr(base, "MAX_OUTPUT_BYTES", 1 << 20)
    with pytest.raises(DeviceFault) as caught:
        device.run(["yes"], 60)
    assert caught.value.cause == "output"


def test_a_signal_is_told_as_one(device: Remote) -> None:
    """A run that a signal ends has that signal's number, negative, as on this machine."""
    assert device.run(["sh", "-c", "kill -9 $$"], 30).rc == -9


def test_says_what_cannot_start(device: Remote) -> None:
    """A command that is not there is a named fault."""
    with pytest.raises(DeviceFault, match="cannot start no-such-program"):
        device.run(["no-such-program"], 30)


def test_one_connection_carries_everything(device: Remote, board: Board, tmp_path: Path) -> None:
    """Pushes and runs log in no second time."""
    before = (board.folder / "sshd.log").read_text().count("Accepted publickey")
    (tmp_path / "x").write_text("x")
    for _ in range(3):
        device.push(tmp_path / "x", "x")
        device.run(["cat", "x"], 30)
    assert (board.folder / "sshd.log").read_text().count("Accepted publickey") == before


def test_close_leaves_nothing(board: Board) -> None:
    """Folder, lock and connection are gone."""
    found = connect("ssh:board")
    assert any(name.startswith(".edgekd/job-") for name in board.left())
    found.close()
    assert board.left() == []
    assert not Path(found._channel._folder).exists()  # type: ignore[attr-defined]


def test_one_job_at_a_time(device: Remote, lab: Lab) -> None:
    """A second user of this machine waits its time and is then told who has the device."""
    with pytest.raises(DeviceFault, match="in use by process") as caught:
        Remote(Ssh(read_address("ssh:board")), wait_s=0.2)
    assert caught.value.cause == "busy"


def test_one_job_at_a_time_for_all_names_of_a_device(device: Remote, lab: Lab) -> None:
    """The device's own lock keeps out who comes by another name of it, or from another machine."""
    lab.write("Host alias", "  HostName 127.0.0.1", f"  Port {lab.boards['board'].port}")
    with pytest.raises(DeviceFault, match="another machine or account") as caught:
        Remote(Ssh(read_address("ssh:alias")), wait_s=0.2)
    assert caught.value.cause == "busy"


def test_takes_over_from_a_process_that_died(board: Board, lab: Lab) -> None:
    """A lock, a folder and a run that a killed edgekd left behind are cleared by the next one at once."""
    script = (
        "import os, threading, time\n"
        "from edgekd.bench.transports import connect\n"
        "found = connect('ssh:board')\n"
        "threading.Thread(target=found.run, args=(['sleep', '613'], 700)).start()\n"
        "time.sleep(1)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    assert lab.python(script) == -9
    left = [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "613"]]
    assert left
    found = connect("ssh:board")
    assert found.run(["true"], 30).rc == 0
    assert all(is_gone(process.pid) for process in left)
    found.close()
    assert board.left() == []


def test_a_second_one_waits_its_turn(lab: Lab) -> None:
    """Two at once both get their answers, one after the other."""
    found: list[str] = []

    def work(word: str) -> None:
        device = connect("ssh:board")
        found.append(device.run(["sh", "-c", f"sleep 0.3; echo {word}"], 30).stdout.strip())
        device.close()

    threads = [threading.Thread(target=work, args=(word,)) for word in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(found) == ["one", "two"]


def test_several_devices_at_once(lab: Lab) -> None:
    """Devices do not wait for each other."""
    lab.board("second")
    both = [connect("ssh:board"), connect("ssh:second")]
    homes = {device.run(["pwd"], 30).stdout for device in both}
    for device in both:
        device.close()
    assert len(homes) == 2


def test_measures_a_model(lab: Lab, board: Board, tmp_path: Path) -> None:
    """A model file goes there, is run by its runner, and comes back as a record; nothing stays."""
    model = tmp_path / "model.npz"
    weight = np.ones((2, 16), np.float32)
    arrays = {"weight": weight, "bias": np.zeros(2, np.float32), "scale": np.float32(1), "zero_point": 0}
    np.savez(model, **arrays, shape=(1, 1, 16), dtype="float32")
    here = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}[os.uname().machine]
    device = Device(name="board", os="linux", arch=here, targets=("null",))  # type: ignore[arg-type]
    record = measure_model(model, device=device, connect="ssh:board", settings=Settings.quick().exactly(70), target=NullTarget())
    assert record["latency_ms"]["n"] == 70
    assert record["latency_ms"]["provenance"] == "measured"
    assert record["conditions"]["device"] == "board"
    assert board.left() == []
