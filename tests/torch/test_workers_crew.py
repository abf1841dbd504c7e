"""Who gets which task: devices measure, machines without one do the rest, and nothing waits for what cannot come."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from test_workers_processes import PROJECT, USERS

from edgekd.bench.settings import Settings
from edgekd.pipeline import distill
from edgekd.project import make_project
from edgekd.stages import Run
from edgekd.workers.crew import Dispatch, Ended, Seat
from edgekd.workers.packet import Packet
from edgekd.workers.task import Task
from edgekd.workers.worker import Worker


class InThisProcess:
    """Real workers, one a seat, that do their job when they are waited for: the last one started first."""

    def __init__(self, folder: Path, *devices: str | None) -> None:
        self._folder = folder
        self._seats = [Seat(where=f"seat {index}", index=index, device=device) for index, device in enumerate(devices)]
        self._workers: dict[Seat, Worker] = {}
        self._jobs: dict[Seat, Packet] = {}
        self.attempts: list[dict[str, Any]] = []
        self.at_once = 0

    def warm(self, run: Run, tasks: Sequence[Task]) -> None:
        Dispatch(run, tasks, self).work()
        self.attempts = run.store.attempts()

    def close(self) -> None:
        assert not self._jobs

    def free(self, device: str | None) -> Seat | None:
        return next((seat for seat in self._seats if seat.device == device and seat not in self._jobs), None)

    def start(self, seat: Seat, job: Packet, run: Run) -> None:
        self._jobs[seat] = Packet.from_bytes(job.to_bytes())
        self.at_once = max(self.at_once, len(self._jobs))

    def wait(self) -> list[Ended]:
        seat, job = self._jobs.popitem()
        if seat not in self._workers:
            self._workers[seat] = Worker(job.note["setup"], self._folder / seat.where)
        answer = self._workers[seat].perform(job, Path(job.note["state"]["cache_root"]))
        return [Ended(seat=seat, answer=Packet.from_bytes(answer.to_bytes()))]

    def stop(self) -> None:
        self._jobs.clear()


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("edgekd.prepare_run.Settings", lambda seed: Settings.quick(seed))
    (tmp_path / "users.py").write_text(USERS)
    return tmp_path


def run_with(base: Path, *devices: str | None) -> InThisProcess:
    crew = InThisProcess(base, *devices)
    distill(make_project(tomllib.loads(PROJECT), base), base / "run", workers=crew)
    assert sum(attempt["repeated"] for attempt in crew.attempts) == 0
    return crew


def test_devices_measure_and_others_do_the_rest(base: Path) -> None:
    """Of three students: trainings and builds on the CPUs; each precision measured on the seat of its own device."""
    crew = run_with(base, None, None, "local", "x86-64-avx2")
    by_seat = {seat: {a["unit"][0] for a in crew.attempts if a["worker"] == seat} for seat in ("seat 0", "seat 2", "seat 3")}
    assert by_seat == {"seat 0": {"distil", "build"}, "seat 2": {"profile"}, "seat 3": {"profile"}}
    assert len([a for a in crew.attempts if a["worker"] == "seat 2"]) == 3 * 2
    assert len([a for a in crew.attempts if a["worker"] == "seat 3"]) == 3
    assert crew.at_once > 2


def test_devices_alone_do_everything(base: Path) -> None:
    """Where no machine offers a CPU, those at the devices train and build too: a result measured elsewhere is none of theirs."""
    crew = run_with(base, "local", "x86-64-avx2")
    assert {attempt["unit"][0] for attempt in crew.attempts} >= {"distil", "profile"}
    assert sum(attempt["recorded"] for attempt in crew.attempts) == 3 * (1 + 2 * 2 + 3)


def test_a_device_that_nobody_offers_is_the_flows(base: Path) -> None:
    """Its measurements are left; nobody waits for it, and the run is whole."""
    crew = run_with(base, None, "local")
    assert {attempt["unit"][0] for attempt in crew.attempts} == {"distil", "build", "profile"}
    assert {a["task"].split(" deployment ")[1][0] for a in crew.attempts if a["unit"][0] == "profile"} == {"0"}
    assert (base / "run" / "report.json").is_file()


def test_nobody_at_all_leaves_everything(base: Path) -> None:
    """A crew without seats changes nothing."""
    assert run_with(base).attempts == []
