"""What the machine was doing while it measured, and what in it makes a figure doubtful: each warning says what to do."""

import statistics
from collections.abc import Sequence

from edgekd.bench.reply import Reply, State
from edgekd.types import Scalar

TICKS_PER_S = 100  # USER_HZ, 100 on every Linux architecture in use (man 7 time)
STEAL_PERCENT = 1.0  # 1 of 100 moments stolen is enough to make a p99 of the thefts alone
OTHER_CORES = 0.2  # a fifth of a core elsewhere shows in shared caches and, on small machines, in waiting
DRIFT = 0.05  # the false-alarm level of common gates: a drift above it would pass for a regression
DISAGREEMENT = 0.10  # between processes: layout of memory alone gives a few per cent


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


def doubts(conditions: dict[str, Scalar], threads: int, cpus: int) -> list[str]:
    """Warnings about the machine."""
    found = []
    steal, other, governor = conditions.get("steal_percent", 0), conditions.get("other_cores", 0), conditions.get("governor")
    if float(steal) > STEAL_PERCENT:
        found.append(f"steal time {steal} %: the host gave this machine's processors to others; measure again, or on bare metal")
    if float(other) > OTHER_CORES:
        found.append(f"other programs kept {other} cores busy: stop them, or measure again when the machine is idle")
    if governor and governor != "performance":
        found.append(f"CPU governor is '{governor}': the clock may change while measuring; set it to 'performance'")
    if threads > cpus:
        found.append(f"{threads} threads on {cpus} processors: they wait for each other; use at most {cpus}")
    return found


def instability(runs: Sequence[Sequence[float]]) -> list[str]:
    """Warnings about latencies, one sequence a process, in the order taken."""
    found = []
    drifts = [_drift(run) for run in runs if len(run) >= 30]
    if drifts and abs(statistics.median(drifts)) > DRIFT:
        change = statistics.median(drifts)
        what = "slower: heat or a falling clock; let the device cool" if change > 0 else "faster: raise the warm-up queries"
        found.append(f"latency drifts: the last third is {abs(change):.0%} {what}")
    medians = [statistics.median(run) for run in runs]
    if len(medians) > 1 and max(medians) / min(medians) - 1 > DISAGREEMENT:
        spread = max(medians) / min(medians) - 1
        found.append(
            f"processes disagree: their medians differ by {spread:.0%}; raise the number of processes, or quieten the machine"
        )
    return found


def _drift(run: Sequence[float]) -> float:
    """Change of the median from the first third to the last, as a fraction."""
    third = len(run) // 3
    return statistics.median(run[-third:]) / statistics.median(run[:third]) - 1
