"""What the machine did while it measured, and the warnings that follow from it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.bench import harness
from edgekd.bench.conditions import activity, doubts, instability, texts
from edgekd.bench.doubts import (
    Charging,
    Debugger,
    Disagreement,
    Doubt,
    FewSamples,
    FrequencyDrift,
    Governor,
    Hot,
    LatencyDrift,
    LowBattery,
    OtherPrograms,
    StealTime,
    Swapping,
    Throttled,
    TooManyThreads,
    TwoModes,
    UnderVoltage,
)
from edgekd.bench.files import Here, There
from edgekd.bench.reply import Reply, State
from edgekd.bench.surroundings import Surroundings, doubts_between, look
from edgekd.bench.transports import Completed


def reply(before: dict[str, float], after: dict[str, float], governor: str = "") -> Reply:
    states = tuple(State(values=values, governor=governor) for values in (before, after))
    return Reply(versions={}, machine={}, cpus=2, states=states)


def moment(clock: float, process: float, total: int, idle: int, steal: int, **more: float) -> dict[str, float]:
    return {"clock_s": clock, "process_s": process, "ticks_total": total, "ticks_idle": idle, "ticks_steal": steal, **more}


def test_stolen_and_other_time_are_summed_over_processes() -> None:
    """400 ticks in 2 s, 16 stolen and 120 idle, 1.5 s ours: 4 % stolen, 0.57 cores busy with others."""
    first = reply(moment(0, 0, 0, 0, 0, load_1m=0.5), moment(1, 0.75, 200, 60, 8, load_1m=0.7))
    second = reply(moment(5, 0, 1000, 0, 0), moment(6, 0.75, 1200, 60, 8, temperature_c=61.0), governor="ondemand")
    found = activity([first, second])
    assert found == {"steal_percent": 4.0, "other_cores": 0.57, "load_1m": 0.7, "temperature_c": 61.0, "governor": "ondemand"}


def test_what_a_machine_does_not_tell_is_absent() -> None:
    """No figure is made of counters that are missing or run backwards."""
    assert activity([reply({"clock_s": 0, "process_s": 0}, {"clock_s": 1, "process_s": 1})]) == {}
    assert activity([reply(moment(0, 0, 100, 0, 0), moment(1, 1, 50, 0, 0))]) == {}


@pytest.mark.parametrize(
    ("conditions", "doubt"),
    [
        ({"steal_percent": 4.0}, StealTime(4.0)),
        ({"other_cores": 0.6}, OtherPrograms(0.6)),
        ({"governor": "powersave"}, Governor("powersave")),
        ({"frequency_mhz": 1800.0, "frequency_low_mhz": 1500.0}, FrequencyDrift(1500.0, 1800.0)),
    ],
)
def test_a_disturbed_machine_is_told(conditions: dict[str, Any], doubt: Doubt) -> None:
    """Each disturbance is one doubt, with its figure."""
    assert doubts(conditions, threads=1, cpus=2) == [doubt]


def test_too_many_threads_are_told() -> None:
    """More threads than processors are a doubt; as many are not."""
    assert doubts({}, threads=2, cpus=2) == []
    assert doubts({}, threads=4, cpus=2) == [TooManyThreads(4, 2)]


def test_a_clock_that_moved_is_in_the_conditions() -> None:
    """The lowest clock is there only where it differs from the highest."""
    moved = reply({"clock_s": 0, "frequency_mhz": 2400.0}, {"clock_s": 1, "frequency_mhz": 1500.0})
    assert activity([moved]) == {"frequency_mhz": 2400.0, "frequency_low_mhz": 1500.0}
    fixed = reply({"clock_s": 0, "frequency_mhz": 2400.0}, {"clock_s": 1, "frequency_mhz": 2400.0})
    assert activity([fixed]) == {"frequency_mhz": 2400.0}


def quiet(seed: int, queries: int = 340) -> list[list[float]]:
    """Three processes of one model on a quiet machine: 2 % of noise, 1 % of outliers, levels a per cent apart."""
    rng = np.random.default_rng(seed)
    runs = []
    for _ in range(3):
        values = rng.normal(1.0, 0.02, queries) * rng.normal(1.0, 0.01)
        values[rng.random(queries) < 0.01] *= 1.5
        runs.append([float(value) for value in values])
    return runs


def test_quiet_runs_have_no_doubt() -> None:
    """Not one in 200 simulated quiet measurements, on a quiet machine."""
    assert doubts({"steal_percent": 0.4, "other_cores": 0.05, "governor": "performance"}, threads=1, cpus=2) == []
    assert [instability(quiet(seed)) for seed in range(200)] == [[]] * 200


def test_drift_has_its_direction() -> None:
    """Runs that end slower point to heat, runs that end faster to too short a warm-up."""
    rising = [1 + i / 300 for i in range(90)]
    (found,) = instability([rising])
    assert isinstance(found, LatencyDrift)
    assert found.change > 0.15
    (found,) = instability([rising[::-1]])
    assert isinstance(found, LatencyDrift)
    assert found.change < -0.15
    assert instability([rising[:20]]) == []


def test_processes_that_disagree_are_told() -> None:
    """Medians 30 % apart between processes are a doubt with that figure."""
    assert instability([[1.0] * 40, [1.3] * 40]) == [Disagreement(pytest.approx(0.3))]


@pytest.mark.parametrize(("share", "slower"), [(0.5, 1.3), (0.1, 1.5), (0.9, 1.2)])
def test_two_kinds_of_query_are_told(share: float, slower: float) -> None:
    """Queries on two kinds of core, or at two clocks, are one doubt with both levels and their shares."""
    rng = np.random.default_rng(3)
    runs = [[v * slower if rng.random() < share else v for v in run] for run in quiet(7, 1000)]
    (found,) = instability(runs)
    assert isinstance(found, TwoModes)
    assert found.high_ms / found.low_ms == pytest.approx(slower, rel=0.03)
    assert found.share == pytest.approx(share, abs=0.04)


ALL = [
    *(StealTime(4.0), OtherPrograms(0.6), Governor("powersave"), TooManyThreads(4, 2), FrequencyDrift(1500.0, 1800.0)),
    *(
        LatencyDrift(0.2),
        LatencyDrift(-0.2),
        Disagreement(0.3),
        TwoModes(1.0, 1.5, 0.1),
        FewSamples(20, 64),
        Throttled("cooling"),
    ),
    *(Hot(86.0, 85.0), UnderVoltage(), Debugger(7), Swapping(3.5), LowBattery(12.0), Charging()),
]


@pytest.mark.parametrize("doubt", ALL, ids=lambda doubt: type(doubt).__name__)
def test_each_doubt_says_what_to_do(doubt: Doubt) -> None:
    """A text is one line with a colon or semicolon before the next step, and holds the doubt's own figures."""
    (text,) = texts([doubt])
    assert "\n" not in text
    assert any(mark in text for mark in ":;")
    for value in vars(doubt).values():
        if isinstance(value, int) or (isinstance(value, float) and abs(value) >= 1):
            assert f"{value:g}" in text


def tree(root: Path, files: dict[str, object]) -> Here:
    """A simulated /sys and /proc."""
    for path, text in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{text}\n")
    return Here(root)


ZONE, COOLING, CPU = "sys/class/thermal/thermal_zone0", "sys/class/thermal/cooling_device", "sys/devices/system/cpu"


def test_a_hot_zone_is_told(tmp_path: Path) -> None:
    """At or above the point where it begins to slow down; the critical point and a broken sensor are no matter."""
    zone = {f"{ZONE}/temp": 61_000, f"{ZONE}/trip_point_0_type": "passive", f"{ZONE}/trip_point_0_temp": 85_000}
    broken = {
        "sys/class/thermal/thermal_zone1/temp": -274_000,
        f"{ZONE}/trip_point_1_type": "critical",
        f"{ZONE}/trip_point_1_temp": 50_000,
    }
    files = tree(tmp_path, zone | broken)
    cool = look(files)
    assert cool.heat == (61.0, 85.0)
    assert doubts_between(cool, cool) == []
    hot = look(tree(tmp_path, {f"{ZONE}/temp": 86_500}))
    assert doubts_between(cool, hot) == [Hot(86.5, 85.0)]


def test_cooling_and_thermal_events_are_told(tmp_path: Path) -> None:
    """A processor's cooling device at work, and new events of x86's counters; a fan at full speed slows nothing down."""
    start = {
        f"{COOLING}0/type": "cpufreq-cpu0",
        f"{COOLING}0/cur_state": 0,
        f"{COOLING}1/type": "pwm-fan",
        f"{COOLING}1/cur_state": 4,
    }
    counts = {f"{CPU}/cpu{n}/thermal_throttle/{kind}_throttle_count": 5 for n in (0, 1) for kind in ("core", "package")}
    before = look(tree(tmp_path, start | counts))
    assert (before.cooling, before.throttle_events) == ((), 20)
    assert doubts_between(before, before) == []
    after = look(tree(tmp_path, {f"{COOLING}0/cur_state": 2, f"{CPU}/cpu1/thermal_throttle/core_throttle_count": 8}))
    assert doubts_between(before, after) == [Throttled("3 thermal events, cooling by cpufreq-cpu0")]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (0x0, 0x0, []),
        (0x50000, 0x50000, []),
        (0x0, 0x50005, [UnderVoltage(), Throttled("it throttled")]),
        (0x50000, 0xD0008, [Throttled("its soft temperature limit was reached")]),
        (0x0, 0x20000, [Throttled("its clock was capped")]),
    ],
)
def test_a_raspberry_pi_s_bits(before: int, after: int, expected: list[Doubt]) -> None:
    """What holds now, and what has newly occurred; what occurred before the measurement is not its matter."""
    looks = [Surroundings(throttled_bits=bits) for bits in (before, after)]
    assert doubts_between(*looks) == expected


class Answers:
    """A transport to a device that answers some programs, and has no others."""

    def __init__(self, said: dict[str, str]) -> None:
        self.said = said

    def run(self, argv: Sequence[str], timeout_s: float) -> Completed:
        text = self.said.get(" ".join(argv))
        return Completed(rc=127, stdout="", stderr="not found") if text is None else Completed(rc=0, stdout=text, stderr="")


@pytest.mark.parametrize(
    ("said", "bits"), [("throttled=0x50005\n", 0x50005), ("throttled=0x0", 0), ("error=1", None), ("throttled=0xfffffffff", None)]
)
def test_get_throttled_is_read(said: str, bits: int | None) -> None:
    """The firmware's hexadecimal answer, and nothing else."""
    assert look(There(Answers({"vcgencmd get_throttled": said}))).throttled_bits == bits


def test_swap_counts_pages_of_both_ways(tmp_path: Path) -> None:
    """700 pages in and 200 out are 3.5 MiB; a few pages are no doubt."""
    before = look(tree(tmp_path, {"proc/vmstat": "nr_free_pages 5\npswpin 100\npswpout 50"}))
    few = look(tree(tmp_path, {"proc/vmstat": "nr_free_pages 5\npswpin 110\npswpout 60"}))
    many = look(tree(tmp_path, {"proc/vmstat": "nr_free_pages 5\npswpin 800\npswpout 250"}))
    assert doubts_between(before, few) == []
    assert doubts_between(before, many) == [Swapping(3.5)]


def test_a_battery_that_is_low_or_charging(tmp_path: Path) -> None:
    """The machine's own battery; that of a mouse is not."""
    place = "sys/class/power_supply"
    mouse = {
        f"{place}/hid0/type": "Battery",
        f"{place}/hid0/scope": "Device",
        f"{place}/hid0/capacity": 3,
        f"{place}/hid0/status": "Charging",
    }
    own = {f"{place}/zBAT0/type": "Battery", f"{place}/zBAT0/capacity": 71, f"{place}/zBAT0/status": "Discharging"}
    fine = look(tree(tmp_path, mouse | own))
    assert (fine.battery_percent, fine.charging) == (71.0, False)
    assert doubts_between(fine, fine) == []
    low = look(tree(tmp_path, {f"{place}/zBAT0/capacity": 12, f"{place}/zBAT0/status": "Charging"}))
    assert doubts_between(fine, low) == [LowBattery(12.0), Charging()]


def test_a_phone_s_battery() -> None:
    """An Android device is asked by dumpsys: a real recording of one on USB."""
    said = (Path(__file__).parent / "fixtures/meters/battery_samsung.txt").read_text()
    found = look(There(Answers({"dumpsys battery": said})), android=True)
    assert doubts_between(found, found) == [Charging()]


def test_a_debugger_is_told(tmp_path: Path) -> None:
    """The harness itself says whether a process traces it."""
    for pid, expected in ((0, []), (4242, [Debugger(4242)])):
        tree(tmp_path, {"proc/self/status": f"Name:\tpython\nTracerPid:\t{pid}"})
        facts = harness.dynamic_facts(str(tmp_path))
        facts.pop("governor", None)
        assert doubts(activity([reply(facts, facts)]), threads=1, cpus=2) == expected


def test_a_device_that_tells_nothing_has_no_doubt(tmp_path: Path) -> None:
    """Neither an empty /sys nor a device without any of the programs is a doubt, or an error."""
    for files in (Here(tmp_path), There(Answers({}))):
        found = look(files)
        assert found == Surroundings()
        assert doubts_between(found, found) == []


@given(st.binary(max_size=60))
def test_nonsense_in_sysfs_is_absent(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    """Whatever a driver or a device writes, looking never fails."""
    root = tmp_path_factory.getbasetemp() / "junk"
    for path in (
        f"{ZONE}/temp",
        f"{ZONE}/trip_point_0_temp",
        "proc/vmstat",
        "sys/class/power_supply/B/capacity",
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(junk)
    tree(root, {f"{ZONE}/trip_point_0_type": "passive", "sys/class/power_supply/B/type": "Battery"})
    found = look(Here(root))
    doubts_between(found, found)
