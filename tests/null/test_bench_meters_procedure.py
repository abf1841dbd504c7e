"""Energy of a query by the whole procedure, on simulated devices whose load is known, in a time of their own.

The clock that the meters read goes on only when the device works or is waited for, so a busy machine changes nothing.
"""

import json
import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgekd.bench.meters import idle, polling
from edgekd.bench.procedure import profile_file
from edgekd.bench.settings import Settings
from edgekd.bench.transports import Completed
from edgekd.device import find_device
from edgekd.errors import DeviceError
from edgekd.null_target import NullTarget
from edgekd.types import Measurement, Provenance

START_S, QUERY_S = 0.43, 0.005
START_W, IDLE_W = 2.5, 3.0
SWAY_W, SWAY_S = 0.1, 0.73
PATIENCE_S = 60.0


class Clock:
    """Time that passes in `sleep` only; threads that wait for it are woken one by one, in its order."""

    def __init__(self) -> None:
        self.now, self._state = 0.0, threading.Condition()
        self._busy, self._due = 0, dict[Waiter, float]()

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            with self._state:
                assert self._state.wait_for(lambda: self._busy == 0, PATIENCE_S)
                due = [waiter for waiter, moment in self._due.items() if moment <= end]
                if not due:
                    self.now = end
                    return
                first = min(due, key=lambda waiter: self._due[waiter])
                self.now = max(self.now, self._due.pop(first))
                self._busy += 1
                self._state.notify_all()

    def event(self) -> "Waiter":
        with self._state:
            self._busy += 1  # the thread that will wait for it is about to start
        return Waiter(self)


class Waiter:
    """A threading.Event in the clock's time."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._set = clock, False

    def set(self) -> None:
        with self._clock._state:
            self._set = True
            self._clock._due.pop(self, None)
            self._clock._state.notify_all()

    def wait(self, seconds: float) -> bool:
        clock = self._clock
        with clock._state:
            clock._busy -= 1
            clock._due[self] = clock.now + seconds
            clock._state.notify_all()
            assert clock._state.wait_for(lambda: self._set or self not in clock._due, PATIENCE_S)
            return self._set


class Board:
    """A device at the end of a transport: its sensors are files, what it runs takes time and power.

    A query takes 4 W on average above idle, in a pattern of its own; starting a process takes 2.5 W; the idle power sways.
    `sensors` gives the files' texts from the energy in J and the power in W at this moment.
    """

    python = "python3"

    def __init__(self, clock: Clock, arch: str, sensors: Callable[[float, float], dict[str, str]]) -> None:
        self.clock, self.arch, self.sensors = clock, arch, sensors
        self.job: dict[str, Any] = {}
        self.joules, self.watts, self.begun = 0.0, 0.0, 0.0
        self.load: Callable[[float], float] = lambda _: 0.0
        self.true: list[tuple[float, int]] = []
        self.lock = threading.Lock()

    def push(self, local: Path, remote: str) -> None:
        if remote == "job.json":
            self.job = json.loads(local.read_text())

    def pull(self, remote: str, local: Path) -> None:
        raise DeviceError(f"no {remote}")

    def close(self) -> None:
        pass

    def run(self, argv: Sequence[str], timeout_s: float) -> Completed:
        if argv[0] == self.python:
            return Completed(rc=0, stdout=json.dumps(self._harness()), stderr="")
        with self.lock:
            files = self.sensors(self._energy(), IDLE_W + self.idle_sway() + self.load(self.clock.now - self.begun))
        if argv[0] == "cat" and all(path in files for path in argv[1:]):
            return Completed(rc=0, stdout="".join(f"{files[path]}\n" for path in argv[1:]), stderr="")
        if argv[0] == "ls":
            inside = {PurePosixPath(path).relative_to(argv[2]).parts[0] for path in files if path.startswith(f"{argv[2]}/")}
            return Completed(rc=0 if inside else 2, stdout="".join(f"{name}\n" for name in inside), stderr="")
        return Completed(rc=127, stdout="", stderr=f"{argv[0]}: not found")

    def idle_sway(self) -> float:
        return SWAY_W * math.sin(2 * math.pi * self.clock.now / SWAY_S)

    def _energy(self) -> float:
        """J since the start; what the load took in the phase that lasts is its integral to now."""
        now, sway = self.clock.now, SWAY_W * SWAY_S / (2 * math.pi) * (1 - math.cos(2 * math.pi * self.clock.now / SWAY_S))
        return IDLE_W * now + sway + self.joules + self.taken(now - self.begun)

    def taken(self, seconds: float) -> float:
        return START_W * seconds if self.load is starting else queries_j(seconds) if self.load is queries_w else 0.0

    def _phase(self, load: Callable[[float], float], seconds: float) -> float:
        """J above idle of a stretch of time under a load."""
        with self.lock:
            self.load, self.begun = load, self.clock.now
        self.clock.sleep(seconds)
        with self.lock:
            joules = self.taken(self.clock.now - self.begun)
            self.joules += joules
            self.load, self.begun = nothing, self.clock.now
        return joules

    def _harness(self) -> dict[str, Any]:
        job = self.job
        machine = {"system": "Linux", "arch": self.arch, "python": "3.11.2", "cpus": 4}
        answer = {"schema": "edgekd.reply/1", "mode": job["mode"], "versions": {"numpy": "2.0"}, "machine": machine}
        self._phase(starting, START_S)
        if job["mode"] != "latency":
            return {**answer, "memory": {"peak_rss_bytes": 10_000_000 + 3_000_000 * (job["mode"] == "memory")}}
        self._phase(queries_w, job["warmup_queries"] * QUERY_S)
        before = {"clock_s": self.clock.now, "process_s": self.clock.now}
        count = job["queries"]
        self.true.append((self._phase(queries_w, count * QUERY_S), count))
        after = {"clock_s": self.clock.now, "process_s": self.clock.now}
        return {**answer, "latency_ns": [round(QUERY_S * 1e9)] * count, "before": before, "after": after}

    def true_mj(self) -> float:
        """Of a query, over the longest passes: those that energy is measured by."""
        longest = max(count for _, count in self.true)
        taken = [joules for joules, count in self.true if count == longest]
        return sum(taken) / (longest * len(taken)) * 1000


def nothing(seconds: float) -> float:
    return 0.0


def starting(seconds: float) -> float:
    return START_W


def queries_w(seconds: float) -> float:
    """W above idle, so many seconds after queries began: between 2.2 and 5.8, fast and slow."""
    return 4.0 + 1.2 * math.sin(2 * math.pi * seconds / 1.31) + 0.6 * math.sin(2 * math.pi * seconds / 0.177)


def queries_j(seconds: float) -> float:
    """Its integral."""
    parts = ((1.2, 1.31), (0.6, 0.177))
    return 4.0 * seconds + sum(a * p / (2 * math.pi) * (1 - math.cos(2 * math.pi * seconds / p)) for a, p in parts)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(polling, "time", found)
    monkeypatch.setattr(idle, "time", found)
    monkeypatch.setattr(polling, "threading", SimpleNamespace(Event=found.event, Thread=threading.Thread))
    return found


def measured(tmp_path: Path, board: Board, device: str) -> Measurement:
    file = tmp_path / "m.npz"
    weight = np.ones((2, 4), np.float32)
    np.savez(file, weight=weight, bias=weight[:, 0], scale=np.float32(1), shape=(1, 4), zero_point=0, dtype="float32")
    settings = Settings(processes=3, queries=90)
    return profile_file(file, find_device(device), target=NullTarget(), transport=board, settings=settings).energy_mj


RAPL = "/sys/class/powercap/intel-rapl:"
DOMAINS = [("0", "package-0", 1.0), ("0:0", "core", 0.7), ("0:1", "uncore", 0.1), ("0:2", "dram", 0.4), ("1", "psys", 2.0)]


@pytest.mark.parametrize("range_j", [262_143.3, 20.0], ids=["plain", "wraps several times a run"])
@pytest.mark.parametrize("vendor", ["GenuineIntel", "AuthenticAMD"])
def test_rapl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock, range_j: float, vendor: str) -> None:
    """Within 2 % though counters wrap; core, uncore, dram and psys are not added; what AMD's counters model is so called."""
    monkeypatch.setattr("edgekd.bench.meters.rapl.POLL_S", 1.0)  # at most 10 J apart, of a range of 20

    def sensors(joules: float, watts: float) -> dict[str, str]:
        found = {"/proc/cpuinfo": f"vendor_id\t: {vendor}\nflags\t\t: fpu avx2 fma"}
        for folder, name, share in DOMAINS:
            place, limit = f"{RAPL}{folder}", round(range_j * 1e6)
            count = (round(share * joules * 1e6) + limit - 1_000_000) % limit
            found |= {f"{place}/name": name, f"{place}/energy_uj": str(count), f"{place}/max_energy_range_uj": str(limit)}
        return found

    board = Board(clock, "x86_64", sensors)
    found = measured(tmp_path, board, "intel-n100")
    check(found, board, "rapl", Provenance.MEASURED if vendor == "GenuineIntel" else Provenance.MODELLED)


def test_ina3221(tmp_path: Path, clock: Clock) -> None:
    """A Jetson's rails, read five times a second over the transport in steps of 5 mW: the whole module's is taken, once."""
    place = "/sys/class/hwmon/hwmon3"

    def sensors(joules: float, watts: float) -> dict[str, str]:
        found = {f"{place}/name": "ina3221", "/sys/class/hwmon/hwmon0/name": "nvme"}
        for number, (label, share) in enumerate((("VDD_IN", 1.0), ("VDD_CPU_GPU_CV", 0.5), ("VDD_SOC", 0.2)), 1):
            found |= {f"{place}/in{number}_label": label, f"{place}/in{number}_input": "5000"}
            found[f"{place}/curr{number}_input"] = str(round(share * watts / 5 * 1000))
        return found

    board = Board(clock, "aarch64", sensors)
    check(measured(tmp_path, board, "jetson-orin-nano"), board, "ina3221", Provenance.MEASURED)


def check(found: Measurement, board: Board, meter: str, provenance: Provenance) -> None:
    """The figure is within 2 % of what the load took; its interval holds that, and is told with the idle power."""
    value, true = sum(found.values) / len(found.values), board.true_mj()
    assert true == pytest.approx(20.0, rel=0.1)
    assert value == pytest.approx(true, rel=0.02)
    assert (len(found.values), found.provenance, found.conditions["meter"]) == (3, provenance, meter)
    assert float(found.conditions["idle_w"]) == pytest.approx(IDLE_W, rel=0.05)
    assert found.interval is not None
    assert found.interval[0] <= true <= found.interval[1]
