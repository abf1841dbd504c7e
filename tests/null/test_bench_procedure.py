"""The whole procedure on the null target, and on scripted devices that misbehave."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.bench import energy
from edgekd.bench.files import Here
from edgekd.bench.meters import Reading, find_meter
from edgekd.bench.procedure import profile
from edgekd.bench.runs import DEVICE_FILES
from edgekd.bench.settings import Settings
from edgekd.bench.transports import Completed
from edgekd.device import Device, find_device
from edgekd.errors import DeviceError, InputError, StageError
from edgekd.null_target import LinearModule, NullTarget
from edgekd.target import Program
from edgekd.types import Artifact, Contract, Provenance

CONTRACT = Contract(classes=("a", "b"), mean=(0.0,), std=(1.0,), value_max=1.0, shape=(1, 4, 4))
SMALL = Settings(processes=2, warmup_queries=2, min_queries=20, min_seconds=0.0, queries=20)
LOCAL = find_device("local")
TARGET = NullTarget()


def build(folder: Path, features: int = 16) -> Artifact:
    folder.mkdir(exist_ok=True)
    module = LinearModule(np.ones((2, features), np.float32), np.zeros(2, np.float32))
    contract = replace(CONTRACT, shape=(1, 1, features))
    return TARGET.convert(Program(module=module, input_shape=(1, 1, features), contract=contract, parent="p"), folder)


class Scripted:
    """A device that answers by a function of the job, without running anything."""

    python = "python3"

    def __init__(self, **changes: Any) -> None:
        self.changes, self.pushed, self.job = changes, list[str](), dict[str, Any]()

    def push(self, local: Path, remote: str) -> None:
        self.pushed.append(remote)
        if remote == "job.json":
            self.job = json.loads(local.read_text())

    def pull(self, remote: str, local: Path) -> None:
        raise DeviceError(f"no {remote}")

    def run(self, argv: Sequence[str], timeout_s: float) -> Completed:
        if argv[0] != self.python:
            return Completed(rc=127, stdout="", stderr=f"{argv[0]}: not found")
        machine = {"system": "Linux", "arch": "aarch64", "python": "3.8.18", "cpus": 4, "cpu": "Raspberry Pi 5"}
        answer = {"schema": "edgekd.reply/1", "mode": self.job["mode"], "versions": {"numpy": "1.24.4"}, "machine": machine}
        if self.job["mode"] == "latency":
            state = {"clock_s": 0.0, "process_s": 0.0}
            answer.update(latency_ns=[2_000_000] * self.job["queries"], before=state, after=state)
        else:
            answer["memory"] = {"peak_rss_bytes": 10_000_000 if self.job["mode"] == "empty" else 13_000_000}
        changes = {key: change(self.job) for key, change in self.changes.items()}
        return Completed(rc=0, stdout=json.dumps({**answer, **changes}), stderr="")

    def close(self) -> None:
        pass


PI = find_device("raspberry-pi-5")


def test_measures_on_this_machine(tmp_path: Path) -> None:
    """Latency and memory are measured in fresh processes; raw values, counts and conditions are kept; no energy is made up."""
    artifact = build(tmp_path)
    found = profile(artifact, LOCAL, target=TARGET, settings=SMALL)
    latency, memory = found.latency_ms, found.peak_memory_bytes
    assert (latency.provenance, len(latency.values), len(memory.values)) == (Provenance.MEASURED, 20, 2)
    assert all(0 < value < 1000 for value in latency.values)
    assert found.size_bytes == artifact.size_bytes
    expected = {"device": "local", "target": "null", "threads": 1, "processes": 2, "runtime": f"numpy {np.__version__}"}
    assert expected.items() <= latency.conditions.items()
    assert int(memory.conditions["empty_peak_bytes"]) > 10_000_000
    assert any("20 queries are too few for a p90" in warning for warning in latency.warnings)
    if isinstance(find_meter(LOCAL, Here()), str):
        assert (found.energy_mj.provenance, found.energy_mj.values) == (Provenance.UNAVAILABLE, ())
        assert found.energy_mj.reason


def test_bigger_models_take_more_memory(tmp_path: Path) -> None:
    """A model with 40 MB more weights peaks at least 40 MB higher."""
    small, big = (build(tmp_path / str(n), n) for n in (16, 5_000_000))
    one = replace(SMALL, processes=1, queries=1, warmup_queries=0)
    peaks = [profile(a, LOCAL, target=TARGET, settings=one).peak_memory_bytes.values[0] for a in (small, big)]
    assert peaks[1] - peaks[0] >= 40_000_000


def test_quick_settings_allow_a_p90(tmp_path: Path) -> None:
    """Screening makes one round with at least 200 queries."""
    latency = profile(build(tmp_path), LOCAL, target=TARGET, settings=Settings.quick()).latency_ms
    assert len(latency.values) >= 200
    assert latency.conditions["processes"] == 1


def test_a_device_that_cannot_be_measured_has_no_figures(tmp_path: Path) -> None:
    """Where the target cannot measure the device all three are unavailable, with the target's reason; size is known."""
    artifact = build(tmp_path)
    found = profile(artifact, find_device("iphone-15"), target=TARGET)
    assert {m.provenance for m in (found.latency_ms, found.peak_memory_bytes, found.energy_mj)} == {Provenance.UNAVAILABLE}
    assert found.latency_ms.reason == TARGET.unmeasurable(find_device("iphone-15"))
    assert found.size_bytes == artifact.size_bytes


def test_this_machine_never_stands_in_for_another(tmp_path: Path) -> None:
    """A device without a connection is unavailable: what is measured here is not said of it."""
    found = profile(build(tmp_path), find_device("pixel-8"), target=TARGET)
    assert "pixel-8 is not connected" in found.latency_ms.reason
    assert found.latency_ms.values == ()


def test_a_broken_artifact_fails_its_stage(tmp_path: Path) -> None:
    """A file that does not load is the failure of one stage, in one line."""
    artifact = build(tmp_path)
    artifact.path.write_bytes(b"not a model")
    with pytest.raises(StageError, match="profile: local: load failed"):
        profile(artifact, LOCAL, target=TARGET, settings=SMALL)


def test_a_remote_device_is_measured_by_the_same_files(tmp_path: Path) -> None:
    """Harness, runner and model are pushed once under fixed names, and a job for each of three passes a round."""
    device = Scripted()
    found = profile(build(tmp_path), PI, target=TARGET, transport=device, settings=SMALL)
    assert device.pushed == [*DEVICE_FILES, "runner.py", "model.npz"] + ["job.json"] * 6
    assert found.latency_ms.values == (2.0,) * 20
    assert found.peak_memory_bytes.values == (3_000_000.0,) * 2
    assert "no INA power monitor under /sys/class/hwmon; no energy sensor: vcgencmd" in found.energy_mj.reason


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"versions": lambda job: {"numpy": job["mode"]}}, "different versions"),
        (
            {"machine": lambda _: {"system": "Linux", "arch": "x86_64", "python": "3.8", "cpus": 1}},
            "connected machine has x86_64",
        ),
        ({"mode": lambda _: "memory"}, "answered another"),
        ({"memory": lambda _: {"peak_rss_bytes": -1}}, "peak_rss_bytes"),
    ],
)
def test_a_device_that_contradicts_itself_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    """Passes under different runtimes, on another architecture, or with nonsense in them give no figure at all."""
    with pytest.raises(DeviceError, match=message):
        profile(build(tmp_path), PI, target=TARGET, transport=Scripted(**changes), settings=SMALL)


def test_an_emulator_s_time_is_not_called_measured(tmp_path: Path) -> None:
    """A board whose processor line says that it is emulated gives emulated figures."""
    machine = {"system": "Linux", "arch": "aarch64", "python": "3.11", "cpus": 4, "cpu": "Raspberry Pi 5 (emulated, qemu-user)"}
    device = Scripted(machine=lambda _: machine)
    found = profile(build(tmp_path), PI, target=TARGET, transport=device, settings=SMALL)
    assert {found.latency_ms.provenance, found.peak_memory_bytes.provenance} == {Provenance.EMULATED}


IDLE = (0.0,) * 5


class Throttling(Scripted):
    """A Raspberry Pi that is 20 % slower from the middle of the first process on, and says that it throttled."""

    looks = 0

    def run(self, argv: Sequence[str], timeout_s: float) -> Completed:
        if argv[0] == "vcgencmd":
            self.looks += 1
            return Completed(rc=0, stdout=f"throttled=0x{0 if self.looks == 1 else 0x40004:x}", stderr="")
        done = super().run(argv, timeout_s)
        answer = json.loads(done.stdout) if done.rc == 0 else {}
        if "latency_ns" in answer:
            first = "before" not in vars(self)
            self.before = answer["latency_ns"]
            count = len(self.before)
            answer["latency_ns"] = [2_000_000 if first and i < count / 2 else 2_400_000 for i in range(count)]
        return replace(done, stdout=json.dumps(answer)) if answer else done


def test_throttling_is_in_the_record(tmp_path: Path) -> None:
    """What the device says of itself between the two looks, and what its latencies say, are warnings of the measurement."""
    settings = replace(SMALL, queries=400)
    found = profile(build(tmp_path), PI, target=TARGET, transport=Throttling(), settings=settings).latency_ms
    assert "the device throttled itself (it throttled): cool it, and measure again" in found.warnings
    assert any(text.startswith("queries slowed down by 20% after 25% of the measurement") for text in found.warnings)


class Joules:
    """A meter that reads one value after the other: idle, then short and long run of each round."""

    name = "scripted"
    resolution_j, least_s = 0.0, 0.02

    def __init__(self, *values: float, provenance: Provenance = Provenance.MEASURED) -> None:
        self.values, self.provenance = list(values), provenance

    def unavailable(self, device: Device) -> str | None:
        return None

    def start(self) -> None:
        pass

    def stop(self) -> Reading:
        return Reading(joules=self.values.pop(0), seconds=1.0)


def test_energy_is_the_difference_of_a_long_and_a_short_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """10 more queries that take 1 J more are 100 mJ each, whatever start-up took; one value a round."""
    monkeypatch.setattr(energy, "IDLE_S", 0.001)
    meter = Joules(*IDLE, 5.0, 6.0, 7.0, 9.0)
    found = profile(build(tmp_path), PI, target=TARGET, transport=Scripted(), settings=SMALL, meter=meter).energy_mj
    assert found.values == pytest.approx((100.0, 200.0))
    told = (found.conditions["meter"], found.conditions["energy_queries"], found.provenance)
    assert told == ("scripted", 10, Provenance.MEASURED)
    assert found.interval is not None
    assert found.interval[0] < 100.0 < 200.0 < found.interval[1]


def test_what_a_meter_computes_is_not_called_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sensor that models energy gives modelled figures."""
    monkeypatch.setattr(energy, "IDLE_S", 0.001)
    meter = Joules(*IDLE, 5.0, 6.0, 7.0, 9.0, provenance=Provenance.MODELLED)
    found = profile(build(tmp_path), PI, target=TARGET, transport=Scripted(), settings=SMALL, meter=meter)
    assert (found.energy_mj.provenance, found.latency_ms.provenance) == (Provenance.MODELLED, Provenance.MEASURED)


def test_a_meter_too_coarse_for_the_time_allowed_says_so(tmp_path: Path) -> None:
    """A counter that needs minutes is not read for seconds: the reason says how to allow it."""
    meter = Joules()
    meter.least_s = 300.0
    found = profile(build(tmp_path), PI, target=TARGET, transport=Scripted(), settings=SMALL, meter=meter).energy_mj
    assert found.reason == "scripted needs runs of 300 s: allow them with --seconds 300"


def test_energy_below_idle_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long run that took less than a short one is kept as it was read, with a warning."""
    monkeypatch.setattr(energy, "IDLE_S", 0.001)
    found = profile(
        build(tmp_path), PI, target=TARGET, transport=Scripted(), settings=SMALL, meter=Joules(*IDLE, 5, 4, 1, 2)
    ).energy_mj
    assert found.values[0] < 0
    assert "does not exceed the idle machine's" in found.warnings[0]


@pytest.mark.parametrize(("queries", "processes", "shares"), [(200, 3, [67, 67, 66]), (2, 3, [1, 1]), (1, 1, [1])])
def test_queries_are_shared_out_exactly(queries: int, processes: int, shares: list[int]) -> None:
    """The shares add up to what was asked for, and no process gets none."""
    assert [share["queries"] for share in Settings(processes=processes, queries=queries).shares()] == shares


@pytest.mark.parametrize(
    "wrong",
    [
        {"processes": 0},
        {"queries": 0},
        {"queries": -3},
        {"min_seconds": 9, "max_seconds": 2},
        {"min_queries": 0},
        {"queries": 10**9},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    """Settings that cannot be carried out are an input error."""
    with pytest.raises(InputError):
        Settings(**wrong)


def test_no_threads_are_refused(tmp_path: Path) -> None:
    """A run needs a thread."""
    with pytest.raises(InputError, match="0 threads"):
        profile(build(tmp_path), LOCAL, target=TARGET, threads=0)


def test_a_link_in_a_package_is_refused(tmp_path: Path) -> None:
    """A model folder with a link in it is not copied anywhere."""
    package = tmp_path / "m.mlpackage"
    package.mkdir()
    (package / "secret").symlink_to(shutil.which("python") or "/bin/sh")
    with pytest.raises(InputError, match="must not contain links"):
        profile(replace(build(tmp_path), path=package), LOCAL, target=TARGET)
