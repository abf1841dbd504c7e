"""Workers on processes: a run with them ends as one without, whatever becomes of the workers."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from edgekd.bench.settings import Settings
from edgekd.errors import InputError
from edgekd.pipeline import distill
from edgekd.project import Project, make_project
from edgekd.store import Store
from edgekd.types import Candidate
from edgekd.workers.crew import summary
from edgekd.workers.processes import Processes
from edgekd.workers.setting import check_versions
from edgekd.workers.task import Task

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from kill_resume import compare

HERE = Path(__file__).parent
PROJECT = """
[data]
source = "users:data"
[teacher]
model = "users:Teacher"
[distill]
epochs = 3
views = 1
threads = 1
batch_size = 64
[students]
family = "users:FAMILY"
[search]
trials = 3
rung_epochs = 1
finalists = 3
[[deploy]]
target = "null"
precisions = ["fp32", "w8"]
[[deploy]]
target = "null"
device = "x86-64-avx2"
precisions = ["w8"]
"""
USERS = f"""
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {str(HERE)!r})
import torch
from synthetic_data import Linear, synthetic
PLACE = Path(__file__).parent
WORKER = "edgekd.workers.process" in sys.orig_argv
def data():
    return synthetic(seed=1 if WORKER and (PLACE / "other-data").exists() else 0)
class Teacher(torch.nn.Module):
    def forward(self, x):
        return 4 * x.reshape(len(x), 2, 4, 2, 4).mean(dim=(2, 4)).reshape(len(x), 4)
class Family:
    def space(self, shape):
        return {{"width": (1, 2, 3)}}
    def build(self, params, shape, classes):
        if WORKER:
            disturbed(params)
        network = Linear(shape[0] * shape[1] * shape[2], classes)
        network.weight.data *= params["width"]
        return network
def disturbed(params):
    if (PLACE / "fail").exists():
        from edgekd.errors import InputError
        raise InputError("not in a worker")
    if (PLACE / "crash").exists() and params["width"] == 3:
        print("about to crash", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if (PLACE / "crash-once").exists():
        (PLACE / "crash-once").unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    if (PLACE / "hang").exists():
        (PLACE / f"hanging-{{os.getpid()}}").touch()
        time.sleep(600)
FAMILY = Family()
"""


def project(base: Path) -> Project:
    (base / "users.py").write_text(USERS)
    (base / "project.toml").write_text(PROJECT)
    return make_project(tomllib.loads(PROJECT), base)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run without workers."""
    base = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("EDGEKD_CACHE", str(base / "cache"))
        patched.setattr("edgekd.prepare_run.Settings", lambda seed: Settings.quick(seed))
        distill(project(base), base / "run")
    return base / "run"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path / "cache"))


def account(run: Path) -> list[dict[str, Any]]:
    store = Store(run)
    try:
        return store.attempts()
    finally:
        store.close()


def children() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if "edgekd.workers.process" in p.cmdline()]


def test_workers_change_nothing_but_the_time(whole: Path, tmp_path: Path) -> None:
    """Two processes train and build, each unit once; selection, weights and report are those of a run without them."""
    distill(project(tmp_path), tmp_path / "run", replay=whole, workers=Processes(2))
    assert compare(whole, tmp_path / "run") == []
    found = summary(account(tmp_path / "run"))
    assert found["by_worker"].keys() == {"process 1", "process 2"}
    # Three trainings, of each two builds and two verifications; the second deployment shares them.
    assert found | {"by_worker": None} == {
        "attempts": 6,
        "done": 6,
        "left": 0,
        "lost": 0,
        "failed": 0,
        "units": 3 * (1 + 2 * 2),
        "done_twice": 0,
        "by_worker": None,
    }
    assert children() == []


def test_a_lost_workers_task_is_taken_up(whole: Path, tmp_path: Path) -> None:
    """One process is killed in the middle of a training: another does it, once."""
    (tmp_path / "crash-once").touch()
    distill(project(tmp_path), tmp_path / "run", replay=whole, workers=Processes(2))
    assert compare(whole, tmp_path / "run") == []
    attempts = account(tmp_path / "run")
    (lost,) = [attempt for attempt in attempts if attempt["outcome"] == "lost"]
    assert "signal 9" in lost["cause"]
    assert [a["number"] for a in attempts if a["task"] == lost["task"] and a["outcome"] == "done"] == [2]
    assert summary(attempts)["done_twice"] == 0


def test_a_task_that_takes_workers_down_is_left_to_the_flow(whole: Path, tmp_path: Path) -> None:
    """After four lost workers nobody tries again, nor what builds on it; the run does it itself. The log's last line is told."""
    (tmp_path / "crash").touch()
    distill(project(tmp_path), tmp_path / "run", replay=whole, workers=Processes(1))
    assert compare(whole, tmp_path / "run") == []
    attempts = account(tmp_path / "run")
    lost = [attempt for attempt in attempts if attempt["outcome"] == "lost"]
    assert [attempt["number"] for attempt in lost] == [1, 2, 3, 4]
    assert len({attempt["task"] for attempt in lost}) == 1
    assert all("about to crash" in attempt["cause"] for attempt in lost)
    assert summary(attempts)["done"] == 2 * 2


def test_an_expected_error_is_left_to_the_flow(whole: Path, tmp_path: Path) -> None:
    """What a worker cannot do for a reason is tried once; the flow would raise it if it met it too."""
    (tmp_path / "fail").touch()
    distill(project(tmp_path), tmp_path / "run", replay=whole, workers=Processes(1))
    assert compare(whole, tmp_path / "run") == []
    attempts = account(tmp_path / "run")
    assert {(attempt["outcome"], attempt["cause"], attempt["number"]) for attempt in attempts} == {("left", "not in a worker", 1)}


def test_other_data_end_the_run(whole: Path, tmp_path: Path) -> None:
    """A worker that reads other data than the driver is no worker of this run."""
    (tmp_path / "other-data").touch()
    with pytest.raises(InputError, match="not the same on every machine"):
        distill(project(tmp_path), tmp_path / "run", replay=whole, workers=Processes(1))
    assert children() == []


def driver(base: Path, whole: Path) -> subprocess.Popen[bytes]:
    """`edgekd distill` with two workers that hang in their first task; returns once they do."""
    project(base)
    (base / "hang").touch()
    command = [sys.executable, "-m", "edgekd", "distill", str(base / "project.toml"), "--out", str(base / "run")]
    log = (base / "log").open("wb")
    started = subprocess.Popen(
        [*command, "--replay", str(whole), "--workers", "2"], stdout=log, stderr=log, start_new_session=True
    )
    while started.poll() is None and len(list(base.glob("hanging-*"))) < 2:
        time.sleep(0.05)
    assert started.poll() is None, (base / "log").read_text()
    (base / "hang").unlink()
    return started


def gone(base: Path) -> bool:
    """Whether the workers that hung end, within ten seconds."""
    pids = [int(file.name.removeprefix("hanging-")) for file in base.glob("hanging-*")]
    deadline = time.monotonic() + 10
    while any(psutil.pid_exists(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    return len(pids) == 2 and not any(psutil.pid_exists(pid) for pid in pids)


def test_a_killed_driver_takes_its_workers_with_it(whole: Path, tmp_path: Path) -> None:
    """SIGKILL to the driver alone ends its workers too; the same command goes on to the same end."""
    started = driver(tmp_path, whole)
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    assert gone(tmp_path)
    distill(project(tmp_path), tmp_path / "run", replay=whole, workers=Processes(2))
    assert compare(whole, tmp_path / "run") == []


def test_ctrl_c_ends_workers(whole: Path, tmp_path: Path) -> None:
    """An interrupted run says so and leaves no process behind."""
    started = driver(tmp_path, whole)
    os.kill(started.pid, signal.SIGINT)
    assert started.wait(30) == 130
    assert "the same command goes on" in (tmp_path / "log").read_text()
    assert gone(tmp_path)


@pytest.mark.parametrize("count", [0, -1, 257])
def test_a_strange_number_of_workers_is_refused(count: int) -> None:
    """Before anything is started."""
    with pytest.raises(InputError, match="--workers is"):
        Processes(count)


def test_another_version_is_refused() -> None:
    """Builds of one version do not matter, versions do."""
    check_versions({"torch": torch.__version__.split("+")[0] + "+cu130"})
    with pytest.raises(InputError, match=r"a worker has torch .*, expected 1\.0"):
        check_versions({"torch": "1.0"})
    with pytest.raises(InputError, match="not installed"):
        check_versions({"no-such-package": "1.0"})


def test_a_task_travels_as_json() -> None:
    """A task comes back equal; one that nobody can do is refused with what there is."""
    candidate = Candidate.of("resnet", {"width": 8, "skip": True, "bottleneck": 0.5})
    task = Task(what="build", candidate=candidate, deployment=1, precisions=("fp32", "w8"), epochs=3)
    assert Task.from_json(json.loads(json.dumps(task.to_json()))) == task
    with pytest.raises(InputError, match="did you mean 'train'"):
        Task(what="trian", candidate=candidate)
