"""Searches with a device over a real ssh beside this machine: what is lost in mid-run delays only its own trials."""

import json
import os
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ssh_server import Board, Lab, needs_sshd

from edgekd import absence
from edgekd.bench.settings import Settings
from edgekd.console import Console
from edgekd.errors import DeviceError
from edgekd.pipeline import distill
from edgekd.project import Project, make_project
from edgekd.store import Store
from edgekd.workers.processes import Processes

pytestmark = needs_sshd
HERE = {"x86_64": "generic-x86-64", "aarch64": "generic-aarch64"}.get(os.uname().machine, "")
TORCH_TESTS = Path(__file__).parents[1] / "torch"
USERS = f"""
import sys
sys.path.insert(0, {str(TORCH_TESTS)!r})
import torch
from synthetic_data import LINEAR, SIDE, synthetic
def data():
    return synthetic()
class Teacher(torch.nn.Module):
    def forward(self, x):
        half = SIDE // 2
        return 4 * x.reshape(len(x), 2, half, 2, half).mean(dim=(2, 4)).reshape(len(x), 4)
"""
PROJECT = f"""
[data]
source = "users:data"
[teacher]
model = "users:Teacher"
[distill]
epochs = 4
learning_rate = 0.05
views = 2
threads = 1
batch_size = 64
[students]
family = "users:LINEAR"
[search]
trials = 2
rung_epochs = 1
finalists = 1
[[deploy]]
target = "null"
precisions = ["fp32"]
latency_ms = 500.0
[[deploy]]
device = "{HERE}"
connect = "ssh:board"
target = "null"
precisions = ["fp32"]
latency_ms = 500.0
"""


class Watched(Console):
    """Keeps what was said, and does something once when a line begins with a text."""

    def __init__(self, **acts: Callable[[], None]) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.acts = dict(acts)

    def say(self, text: str) -> None:
        self.lines.append(text)
        for begin in [begin for begin in self.acts if text.startswith(begin)]:
            self.acts.pop(begin)()

    def place(self, begin: str) -> int:
        return next(i for i, line in enumerate(self.lines) if line.startswith(begin))


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    (tmp_path / "lab").mkdir()
    lab = Lab(tmp_path / "lab")
    lab.enter(monkeypatch, tmp_path)
    monkeypatch.setattr(absence, "PAUSES_S", (0.1, 0.1))
    monkeypatch.setattr("edgekd.prepare_run.Settings", lambda seed: Settings.quick(seed))
    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "users.py").write_text(USERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "users", raising=False)
    yield lab
    lab.stop()


@pytest.fixture
def board(lab: Lab) -> Board:
    return lab.board()


def project(base: Path) -> Project:
    return make_project(tomllib.loads(PROJECT), base)


def report(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "report.json").read_text())
    return found


def test_a_lost_device_delays_only_its_own_trials(board: Board, tmp_path: Path) -> None:
    """Gone after the first trial, back after the last one of the other device: nothing is missing in the end."""
    console = Watched(**{"trial 1/": board.stop, "waiting ": board.start})
    found = distill(project(tmp_path), tmp_path / "run", console=console)
    lost, back = (
        console.place(f"{HERE} / null: device lost: ssh:board: no ssh server"),
        console.place(f"{HERE} / null: the device is"),
    )
    assert console.place("trial 1/") < lost < console.place("trial 2/") < back
    assert [entry["device"] for entry in found["selected"]] == ["local", HERE]
    assert {entry["latency_ms"]["provenance"] for entry in found["selected"]} == {"measured"}
    assert all({record["device"] for record in trial["screening"]} == {"local", HERE} for trial in found["trials"])
    assert found["lost"] == []
    assert board.left() == []


def test_a_device_that_stays_away_ends_its_deployment(board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other ships, the report names the loss, the exit code is 5; with the device back the same command goes on."""
    console = Watched(**{"trial 1/": board.stop})
    with pytest.raises(
        DeviceError, match=f"{HERE} / null: device lost: ssh:board: no ssh server.*; the same command goes on"
    ) as caught:
        distill(project(tmp_path), tmp_path / "run", console=console)
    assert caught.value.exit_code == 5
    first = report(tmp_path / "run")
    assert [entry["device"] for entry in first["selected"]] == ["local"]
    assert [(entry["device"], entry["cause"]) for entry in first["lost"]] == [(HERE, "connection-refused")]
    assert "device lost" in (tmp_path / "run" / "report.md").read_text()

    def never(*arguments: object) -> object:
        raise AssertionError("trained again")

    board.start()
    monkeypatch.setattr("edgekd.distill.training.Training._train", never)
    second = distill(project(tmp_path), tmp_path / "run")
    assert [entry["device"] for entry in second["selected"]] == ["local", HERE]
    assert second["selected"][0]["latency_ms"] == first["selected"][0]["latency_ms"]


def test_a_device_that_refuses_is_not_waited_for(board: Board, tmp_path: Path) -> None:
    """A key that is refused stays so: the deployment ends at once, by name, and the other ships."""

    def refuse() -> None:
        (board.folder / "authorized_keys").write_text("")

    console = Watched(**{"trial 1/": refuse})
    with pytest.raises(DeviceError, match="it refused the key"):
        distill(project(tmp_path), tmp_path / "run", console=console)
    assert not [line for line in console.lines if line.startswith("waiting ")]
    assert [entry["device"] for entry in report(tmp_path / "run")["selected"]] == ["local"]


def test_remote_devices_are_measured_at_the_same_time(lab: Lab, board: Board, tmp_path: Path) -> None:
    """With workers, two devices are each measured by a process of its own, and neither waits for the other."""
    lab.board("second")
    text = PROJECT.replace("[[deploy]]\ntarget", '[[deploy]]\ndevice = "x86-64-avx2"\nconnect = "ssh:second"\ntarget', 1)
    out = tmp_path / "run"
    found = distill(make_project(tomllib.loads(text), tmp_path), out, workers=Processes(1))
    assert [entry["device"] for entry in found["selected"]] == ["x86-64-avx2", HERE]
    store = Store(out)
    measured = [attempt for attempt in store.attempts() if attempt["worker"].startswith("process for ") and attempt["recorded"]]
    store.close()
    first = {attempt["worker"]: attempt for attempt in reversed(measured)}
    assert len(first) == 2
    one, other = first.values()
    assert one["started"] < other["started"] + other["seconds"]
    assert other["started"] < one["started"] + one["seconds"]
