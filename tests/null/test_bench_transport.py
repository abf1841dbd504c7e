"""The local transport: a private folder, no shell, and nothing that outlives a run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from edgekd.bench.transports import base, connect
from edgekd.bench.transports.local import Local
from edgekd.errors import DeviceError, InputError

SPAWN = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open("child", "w").write(str(child.pid))
open("ready", "w").close()
time.sleep(SECONDS)
"""


@pytest.fixture
def local() -> Iterator[Local]:
    place = Local()
    yield place
    place.close()


def is_gone(pid: int) -> bool:
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_runs_in_its_folder_and_tells_everything(local: Local, tmp_path: Path) -> None:
    """A pushed file is there under its remote name; exit code, stdout and stderr come back."""
    (tmp_path / "text").write_text("pushed")
    local.push(tmp_path / "text", "data.txt")
    done = local.run(
        [local.python, "-c", "import sys; print(open('data.txt').read()); print('no', file=sys.stderr); sys.exit(7)"], 30
    )
    assert (done.rc, done.stdout.strip(), done.stderr.strip()) == (7, "pushed", "no")


def test_pulls_what_a_run_wrote(local: Local, tmp_path: Path) -> None:
    """A file written by a run comes back byte for byte."""
    local.run([local.python, "-c", "open('made', 'wb').write(bytes(range(256)))"], 30)
    local.pull("made", tmp_path / "here")
    assert (tmp_path / "here").read_bytes() == bytes(range(256))


def test_arguments_meet_no_shell(local: Local) -> None:
    """Shell syntax in an argument is text."""
    done = local.run([local.python, "-c", "import sys; print(sys.argv[1])", "$(touch x); `id` && *"], 30)
    assert done.stdout.strip() == "$(touch x); `id` && *"


@pytest.mark.parametrize("remote", ["../escaped", "/tmp/escaped", "a/../../escaped"])
def test_nothing_leaves_the_folder(local: Local, tmp_path: Path, remote: str) -> None:
    """Remote names that point outside the working folder are refused in both directions."""
    (tmp_path / "x").write_text("x")
    with pytest.raises(DeviceError, match="outside the working folder"):
        local.push(tmp_path / "x", remote)
    with pytest.raises(DeviceError, match="outside the working folder"):
        local.pull(remote, tmp_path / "y")


def test_does_not_fetch_through_a_link(local: Local, tmp_path: Path) -> None:
    """A link that a run left behind, to a file outside, is not followed."""
    local.run([local.python, "-c", f"import os; os.symlink({str(Path(__file__))!r}, 'link')"], 30)
    with pytest.raises(DeviceError):
        local.pull("link", tmp_path / "y")


def test_timeout_ends_the_whole_group(local: Local, tmp_path: Path) -> None:
    """A run that takes too long is an error, and its children are killed with it."""
    with pytest.raises(DeviceError, match="no answer after 3 s"):
        local.run([local.python, "-c", SPAWN.replace("SECONDS", "60")], 3)
    local.pull("child", tmp_path / "child")
    assert is_gone(int((tmp_path / "child").read_text()))


def test_children_do_not_outlive_a_run_that_ended(local: Local, tmp_path: Path) -> None:
    """A process that a run left in the background is killed when the run ends."""
    assert local.run([local.python, "-c", SPAWN.replace("SECONDS", "0")], 30).rc == 0
    local.pull("child", tmp_path / "child")
    assert is_gone(int((tmp_path / "child").read_text()))


def test_interrupt_ends_the_whole_group(tmp_path: Path) -> None:
    """Ctrl-C in the caller kills the run and its children."""
    script = tmp_path / "script.py"
    script.write_text(f"import os; os.chdir({str(tmp_path)!r})\n" + SPAWN.replace("SECONDS", "60"))
    call = (
        "import contextlib, sys; from edgekd.bench.transports.local import Local\n"
        f"with contextlib.closing(Local()) as local: local.run([sys.executable, {str(script)!r}], 60)"
    )
    caller = subprocess.Popen([sys.executable, "-c", call], stderr=subprocess.DEVNULL)
    for _ in range(400):
        if (tmp_path / "ready").exists():
            break
        time.sleep(0.05)
    os.kill(caller.pid, signal.SIGINT)
    assert caller.wait(30) != 0
    assert is_gone(int((tmp_path / "child").read_text()))


def test_a_flood_of_output_is_refused(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    """More output than any answer has is an error, not memory."""
    monkeypatch.setattr(base, "MAX_OUTPUT_BYTES", 1 << 20)
    with pytest.raises(DeviceError, match="printed 3 MB"):
        local.run([local.python, "-c", "print('x' * (3 << 20))"], 30)


def test_says_what_cannot_start(local: Local) -> None:
    """A command that is not there is a device error with its name."""
    with pytest.raises(DeviceError, match="cannot start no-such-program"):
        local.run(["no-such-program"], 30)


def test_close_removes_the_folder(tmp_path: Path) -> None:
    """Nothing is left behind."""
    place = Local()
    folder = Path(place.run([place.python, "-c", "import os; print(os.getcwd())"], 30).stdout.strip())
    assert folder.is_dir()
    place.close()
    assert not folder.exists()


def test_unknown_address_suggests() -> None:
    """An address with a typing error is an input error that suggests what was meant."""
    with pytest.raises(InputError, match="did you mean 'local'"):
        connect("locl")
