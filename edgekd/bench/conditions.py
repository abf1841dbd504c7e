"""What the machine was doing while it measured, and what in it makes a figure doubtful: each warning says what to do."""

import statistics
from collections.abc import Sequence

from edgekd.bench import steady
from edgekd.bench.doubts import (
    Debugger,
    Disagreement,
    Doubt,
    FrequencyDrift,
    Governor,
    LatencyDrift,
    OtherPrograms,
    SlowedDown,
    StealTime,
    TooManyThreads,
)
from edgekd.bench.modes import two_modes
from edgekd.bench.reply import Reply, State
from edgekd.types import Scalar

TICKS_PER_S = 100  # USER_HZ, 100 on every Linux architecture in use (man 7 time)
STEAL_PERCENT = 1.0  # 1 of 100 moments stolen is enough to make a p99 of the thefts alone
OTHER_CORES = 0.2  # a fifth of a core elsewhere shows in shared caches and, on small machines, in waiting
DISAGREEMENT = 0.10  # between processes: layout of memory alone gives a few per cent
CLOCK_DRIFT = 0.05  # as steady.CHANGE: a clock that falls by so much slows a query by so much
LEAST_WINDOW = 5  # queries: the median of fewer follows every outlier
MOST_WINDOWS = 60  # of a run: with half of them Pettitt's test finds no step in noise that remembers


def activity(replies: Sequence[Reply]) -> dict[str, Scalar]:
    """Stolen time, cores busy with other work, load, governor, frequency and heat over all timed loops.

    What the machine does not tell is absent. `steal_percent` is of all processor time; `other_cores` is in cores.
    """
    found: dict[str, Scalar] = {}
    pairs = [reply.states for reply in replies if len(reply.states) == 2]
    total, idle, steal = (_change(pairs, key) for key in ("ticks_total", "ticks_idle", "ticks_steal"))
    seconds, own = _change(pairs, "clock_s"), _change(pairs, "process_s")
    if total and seconds and idle is not None and steal is not None and own is not None:
        found["steal_percent"] = round(100 * steal / total, 2)
        found["other_cores"] = round(max(0.0, (total - idle - steal) / TICKS_PER_S / seconds - own / seconds), 2)
    for key in ("load_1m", "temperature_c", "frequency_mhz"):
        values = [state.values[key] for pair in pairs for state in pair if key in state.values]
        if values:
            found[key] = round(max(values), 2)
        if values and key == "frequency_mhz" and min(values) < max(values):
            found["frequency_low_mhz"] = round(min(values), 2)
    tracers = [state.values["tracer_pid"] for pair in pairs for state in pair if "tracer_pid" in state.values]
    if tracers:
        found["tracer_pid"] = int(tracers[0])
    governors = sorted({state.governor for pair in pairs for state in pair if state.governor})
    if governors:
        found["governor"] = ", ".join(governors)
    return found


def _change(pairs: Sequence[tuple[State, ...]], key: str) -> float | None:
    """Sum over processes of the change of a counter; None where one of them lacks it or ran backwards."""
    changes = []
    for before, after in pairs:
        if key not in before.values or key not in after.values or after.values[key] < before.values[key]:
            return None
        changes.append(after.values[key] - before.values[key])
    return sum(changes) if changes else None


def doubts(conditions: dict[str, Scalar], threads: int, cpus: int) -> list[Doubt]:
    """What in the conditions makes a figure doubtful."""
    found: list[Doubt] = []
    steal, other = float(conditions.get("steal_percent", 0)), float(conditions.get("other_cores", 0))
    governor = str(conditions.get("governor", ""))
    high, low = float(conditions.get("frequency_mhz", 0)), float(conditions.get("frequency_low_mhz", 0))
    if steal > STEAL_PERCENT:
        found.append(StealTime(steal))
    if other > OTHER_CORES:
        found.append(OtherPrograms(other))
    if governor and governor != "performance":
        found.append(Governor(governor))
    if low and high / low - 1 > CLOCK_DRIFT:
        found.append(FrequencyDrift(low, high))
    if "tracer_pid" in conditions:
        found.append(Debugger(int(conditions["tracer_pid"])))
    if threads > cpus:
        found.append(TooManyThreads(threads, cpus))
    return found


def instability(runs: Sequence[Sequence[float]]) -> list[Doubt]:
    """What in latencies (ms) makes them doubtful; one sequence a process, in the order taken.

    A process without any drift is called drifting or slowed down by chance once in 500 where windows are independent, four times
    in 100 where neighbours correlate by 0.5 (steady.py), queries of one kind are said to be of two once in 1,000 (modes.py):
    each of those only where the noise alone makes a change of the least size that counts.
    """
    found = _drifts([levels for run in runs if (levels := levels_of(run))])
    medians = [statistics.median(run) for run in runs]
    if len(medians) > 1 and max(medians) / min(medians) - 1 > DISAGREEMENT:
        found.append(Disagreement(max(medians) / min(medians) - 1))
    modes = two_modes(runs)
    return found if modes is None else [*found, modes]


def levels_of(run: Sequence[float]) -> list[float]:
    """Medians of up to MOST_WINDOWS windows of a run; none where it is too short for ten of them."""
    size = max(LEAST_WINDOW, len(run) // MOST_WINDOWS)
    starts = range(0, len(run) - size + 1, size)
    return [statistics.median(run[start : start + size]) for start in starts] if len(starts) >= 10 else []


def _drifts(runs: Sequence[list[float]]) -> list[Doubt]:
    """A step to a slower level that lasts to the end, in any process, or else a drift that most processes have."""
    shapes = [steady.judge(levels) for levels in runs]
    for number, (levels, shape) in enumerate(zip(runs, shapes, strict=True)):
        if shape["shape"] == "step" and shape["change"] > 0:
            before = statistics.median(levels[: shape["at"]])
            if all(statistics.median(later) / before - 1 > steady.CHANGE / 2 for later in runs[number + 1 :]):
                return [SlowedDown(shape["change"], (number + shape["at"] / len(levels)) / len(runs))]
    changes = [shape["change"] for shape in shapes if shape["shape"] != "flat"]
    if len(changes) * 2 > len(runs) and (min(changes) > 0 or max(changes) < 0):
        return [LatencyDrift(statistics.median(changes))]
    return []


def texts(found: Sequence[Doubt]) -> list[str]:
    """As a record holds them."""
    return [str(doubt) for doubt in found]
