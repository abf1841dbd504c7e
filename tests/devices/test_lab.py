"""A shared lab: processes wait for a device in the order they came, everybody sees who has it, and results meet in one store."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ssh_server import Lab, needs_sshd
from typer.testing import CliRunner

from edgekd.bench.transports import DeviceFault, connect
from edgekd.bench.transports.book import book_file
from edgekd.bench.transports.locks import DeviceLock, known_locks
from edgekd.cli import app
from edgekd.emulate.command import note_board
from edgekd.errors import StorageError
from edgekd.lab.queue import read_note
from edgekd.lab.results import keep, results
from edgekd.lab.status import lines, status

ADDRESS = "ssh:somewhere"
WAITER = """
import sys
from edgekd.bench.transports.locks import DeviceLock
lock = DeviceLock(sys.argv[1])
print("asks", flush=True)
lock.take(60)
print("has it", flush=True)
sys.stdin.readline()
lock.release()
"""


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.delenv("EDGEKD_LAB", raising=False)


class Job:
    """Another edgekd process that waits for a device and keeps it until it is told to let go."""

    def __init__(self, name: str, ahead: int) -> None:
        argv = [sys.executable, "-c", WAITER, ADDRESS, name]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.name = name
        assert self.line() == "asks"
        until(lambda: len(DeviceLock(ADDRESS).queue.waiting()) + (DeviceLock(ADDRESS).holder() is not None) == ahead + 1)

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def let_go(self) -> None:
        self.process.communicate("\n")


def until(true: Any) -> None:
    for _ in range(600):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come about")


@pytest.fixture
def jobs() -> Iterator[list[Job]]:
    found: list[Job] = []
    yield found
    for job in found:
        job.process.kill()
        job.process.communicate()


def test_processes_wait_in_the_order_they_came(jobs: list[Job]) -> None:
    """Three jobs of three processes have the device one after the other, in order; who waits is seen meanwhile."""
    for ahead, name in enumerate(("first", "second", "third")):
        jobs.append(Job(name, ahead))
    first, second, third = jobs
    assert first.line() == "has it"
    (record,) = status()
    assert (record["address"], record["state"], record["holder"]["pid"]) == (ADDRESS, "busy", first.process.pid)
    assert [note["pid"] for note in record["waiting"]] == [second.process.pid, third.process.pid]
    assert [note["job"].split()[-1] for note in record["waiting"]] == ["second", "third"]
    shown = lines([record], time.time())
    assert [line.split()[0] for line in shown[1:]] == ["1.", "2."]
    with pytest.raises(DeviceFault, match=f"in use by process {first.process.pid} of this machine"):
        DeviceLock(ADDRESS).take(0.2)
    first.let_go()
    assert second.line() == "has it"
    second.let_go()
    assert third.line() == "has it"
    third.let_go()
    assert (DeviceLock(ADDRESS).holder(), known_locks()) == (None, [])


def test_a_process_that_dies_loses_its_place(jobs: list[Job]) -> None:
    """The holder and the next in line are killed: the third has the device, and no ticket is left."""
    for ahead, name in enumerate(("first", "second", "third")):
        jobs.append(Job(name, ahead))
    for job in jobs[1::-1]:
        os.kill(job.process.pid, signal.SIGKILL)
    assert jobs[2].line() == "has it"
    jobs[2].let_go()
    assert list(DeviceLock(ADDRESS).queue.folder.iterdir()) == []


def test_threads_wait_as_processes_do() -> None:
    """A second job of the same process waits its turn."""
    held, got = DeviceLock(ADDRESS), threading.Event()
    held.take(5)

    def other() -> None:
        lock = DeviceLock(ADDRESS)
        lock.take(60)
        got.set()
        lock.release()

    thread = threading.Thread(target=other)
    thread.start()
    until(lambda: len(held.queue.waiting()) == 1)
    assert not got.is_set()
    held.release()
    assert got.wait(60)
    thread.join()


@needs_sshd
def test_status_of_every_kind_of_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that answers, one that does not, one in use, an emulated board that was stopped: each says so, also as JSON."""
    (tmp_path / "lab").mkdir()
    lab = Lab(tmp_path / "lab")
    lab.enter(monkeypatch, tmp_path)
    try:
        lab.board("board")
        lab.board("used")
        lab.board("dead", start=False)
        book_file().parent.mkdir(parents=True)
        book_file().write_text("".join(f'[{name}]\nconnect = "ssh:{name}"\n' for name in ("board", "used", "dead")))
        (tmp_path / "pi5").mkdir()
        note_board({"folder": str(tmp_path / "pi5"), "host": "edgekd-pi5"})
        with contextlib.closing(connect("ssh:used")):
            done = CliRunner().invoke(app, ["devices", "status", "--json", str(tmp_path / "status.json")])
        assert done.exit_code == 0, done.exception
        found = {record["name"]: record for record in json.loads((tmp_path / "status.json").read_text())}
        states = {name: record["state"] for name, record in found.items()}
        assert states == {"board": "reachable", "used": "busy", "dead": "unreachable", "edgekd-pi5": "stopped"}
        assert found["used"]["holder"]["pid"] == os.getpid()
        assert "no ssh server listens there" in found["dead"]["reason"]
        assert [found[name]["last_seen"] is None for name in ("board", "used", "dead")] == [False, False, True]
        assert lab.boards["board"].left() == []
    finally:
        lab.stop()


def test_results_of_all_users_meet_in_one_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept where a shared folder is named, from several processes at once, the newest first; nothing is kept elsewhere."""
    keep({"a": 1}, device="pi", target="null", sha256="0", address=None)
    assert results() == []
    monkeypatch.setenv("EDGEKD_LAB", str(tmp_path / "lab"))
    keeps = "keep({'i': i}, device=sys.argv[1], target='null', sha256='0', address='ssh:pi')"
    script = f"import sys\nfrom edgekd.lab.results import keep\nfor i in range(20): {keeps}"
    writers = [subprocess.Popen([sys.executable, "-c", script, name]) for name in ("pi", "jetson")]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    assert len(results()) == 40
    assert [result["record"]["i"] for result in results("pi")] == list(range(19, -1, -1))
    assert {result["address"] for result in results("jetson")} == {"ssh:pi"}
    done = CliRunner().invoke(app, ["devices", "results", "--device", "pi", "--json", str(tmp_path / "results.json")])
    assert (done.exit_code, len(json.loads((tmp_path / "results.json").read_text()))) == (0, 20)


def test_a_lab_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is no store is a storage error that names it."""
    monkeypatch.setenv("EDGEKD_LAB", str(tmp_path))
    (tmp_path / "results.sqlite").write_text("no database, but long enough to be taken for one by its first bytes" * 20)
    with pytest.raises(StorageError, match=r"results\.sqlite"):
        keep({}, device="pi", target="null", sha256="0", address=None)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{}", "[]", "null", "5", '"x"', "{", "\x00", '{"since": 1}', '{"pid": 1, "since": "x"}', "[" * 5000),
        *('{"address": "a", "user": "u", "job": "j", "pid": 1, "since": -1}',),
        *('{"address": "a", "user": "u", "job": "j", "pid": true, "since": 1}',),
        *('{"address": "a", "user": "u", "job": "j", "pid": 1, "since": 1e400}',),
    ],
    ids=lambda text: ascii(text)[:30],
)
def test_notes_of_others_are_not_taken_on_trust(text: str) -> None:
    """A lock's or a ticket's text that is no note is none."""
    assert read_note(text) is None


def test_notes_reach_no_terminal_raw() -> None:
    """What a note says is shortened, and without control characters."""
    note = read_note(json.dumps({"address": "a\x1b[2J", "user": "u\n", "job": "j" * 9000, "pid": 1, "since": 1}))
    assert note is None or all(str(value).isprintable() and len(str(value)) <= 120 for value in note.values())
    short = read_note(json.dumps({"address": "a\x1b[2J", "user": "u\n", "job": "j" * 900, "pid": 1, "since": 1}))
    assert short is not None
    assert all(str(value).isprintable() and len(str(value)) <= 120 for value in short.values())
