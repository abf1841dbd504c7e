"""What the machine did while it measured, and the warnings that follow from it."""

from typing import Any

import pytest

from edgekd.bench.conditions import activity, doubts, instability
from edgekd.bench.reply import Reply, State


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
    ("conditions", "warning"),
    [
        ({"steal_percent": 4.0}, "steal time 4.0 %"),
        ({"other_cores": 0.6}, "other programs kept 0.6 cores busy"),
        ({"governor": "powersave"}, "set it to 'performance'"),
    ],
)
def test_a_disturbed_machine_is_told_with_a_next_step(conditions: dict[str, Any], warning: str) -> None:
    """Each disturbance gives one warning with its figure."""
    (found,) = doubts(conditions, threads=1, cpus=2)
    assert warning in found


def test_too_many_threads_are_told() -> None:
    """More threads than processors are a warning; as many are not."""
    assert doubts({}, threads=2, cpus=2) == []
    assert "4 threads on 2 processors" in doubts({}, threads=4, cpus=2)[0]


def test_a_quiet_machine_has_no_warning() -> None:
    """Low steal, an idle machine and a fixed clock pass, and steady latencies too."""
    assert doubts({"steal_percent": 0.4, "other_cores": 0.05, "governor": "performance"}, threads=1, cpus=2) == []
    assert instability([[1.0, 1.01] * 50, [1.02, 1.0] * 50]) == []


def test_drift_is_told_with_its_direction() -> None:
    """Runs that end slower point to heat, runs that end faster to too short a warm-up."""
    rising = [1 + i / 300 for i in range(100)]
    assert "slower" in instability([rising])[0]
    assert "faster" in instability([rising[::-1]])[0]
    assert instability([rising[:20]]) == []


def test_processes_that_disagree_are_told() -> None:
    """Medians 30 % apart between processes are a warning with that figure."""
    assert "differ by 30%" in instability([[1.0] * 40, [1.3] * 40])[0]
