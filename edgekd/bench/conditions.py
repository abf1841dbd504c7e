"""What the machine was doing while it measured, and what in it makes a figure doubtful: each warning says what to do."""

import statistics
from collections.abc import Sequence

from edgekd.bench.doubts import (
    Debugger,
    Disagreement,
    Doubt,
    FrequencyDrift,
    Governor,
    LatencyDrift,
    OtherPrograms,
    StealTime,
    TooManyThreads,
    TwoModes,
)
from edgekd.bench.reply import Reply, State
from edgekd.types import Scalar

TICKS_PER_S = 100  # USER_HZ, 100 on every Linux architecture in use (man 7 time)
STEAL_PERCENT = 1.0  # 1 of 100 moments stolen is enough to make a p99 of the thefts alone
OTHER_CORES = 0.2  # a fifth of a core elsewhere shows in shared caches and, on small machines, in waiting
DRIFT = 0.05  # the false-alarm level of common gates: a drift above it would pass for a regression
DISAGREEMENT = 0.10  # between processes: layout of memory alone gives a few per cent
CLOCK_DRIFT = 0.05  # as DRIFT: a clock that falls by so much slows a query by so much
MODE_GAP = 0.10  # between two kinds of query, of the lower one: less is lost in the noise of either
MODE_SHARE = 0.05  # of queries in the rarer kind: fewer are outliers, which percentiles show
MODE_SEPARATION = 0.02  # of queries in the middle third of the gap between the two: more is one broad kind


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
    """What in latencies (ms) makes them doubtful; one sequence a process, in the order taken."""
    found: list[Doubt] = []
    drifts = [_drift(run) for run in runs if len(run) >= 30]
    if drifts and abs(statistics.median(drifts)) > DRIFT:
        found.append(LatencyDrift(statistics.median(drifts)))
    medians = [statistics.median(run) for run in runs]
    if len(medians) > 1 and max(medians) / min(medians) - 1 > DISAGREEMENT:
        found.append(Disagreement(max(medians) / min(medians) - 1))
    modes = [mode for run in runs if len(run) >= 100 and (mode := two_modes(run)) is not None]
    if len(modes) * 2 > len(runs):
        found.append(max(modes, key=lambda mode: mode.share))
    return found


def texts(found: Sequence[Doubt]) -> list[str]:
    """As a record holds them."""
    return [str(doubt) for doubt in found]


def _drift(run: Sequence[float]) -> float:
    """Change of the median from the first third to the last, as a fraction."""
    third = len(run) // 3
    return statistics.median(run[-third:]) / statistics.median(run[:third]) - 1


def two_modes(run: Sequence[float]) -> TwoModes | None:
    """Two kinds of query in one run: the best split in two (Otsu 1979, doi:10.1109/TSMC.1979.4310076) with a gap between them.

    The slowest 1 % are left out: they are outliers, and would be a kind of their own. A split of one broad kind has many
    queries near its middle; two kinds have next to none in the middle third between their medians.
    """
    values = sorted(run)[: max(2, round(len(run) * 0.99))]
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    count, total = len(values), sums[-1]
    split = max(range(1, count), key=lambda k: (sums[k] / k - (total - sums[k]) / (count - k)) ** 2 * k * (count - k))
    low, high, share = statistics.median(values[:split]), statistics.median(values[split:]), 1 - split / count
    third = (high - low) / 3
    between = sum(low + third < value < high - third for value in values) / count
    if high / low - 1 < MODE_GAP or not MODE_SHARE <= share <= 1 - MODE_SHARE or between > MODE_SEPARATION:
        return None
    return TwoModes(low_ms=low, high_ms=high, share=share)
