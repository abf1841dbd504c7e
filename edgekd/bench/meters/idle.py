"""What a run takes above the idle machine, with an interval: noise of the runs, of the idle power, and steps of the counter."""

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from edgekd.bench.meters.meter import Meter, Reading
from edgekd.errors import InputError

CONFIDENCE = 0.95
PARTS = 5


@dataclass(frozen=True, kw_only=True)
class Idle:
    """Power of the machine with nothing of ours running, in W, and the half width of its 95 % interval."""

    watts: float
    half_width_w: float


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A figure and its 95 % interval, in the unit that its maker says. `value` always lies inside; it is the mean of `values`."""

    values: tuple[float, ...]
    value: float
    low: float
    high: float


def idle_power(meter: Meter, seconds: float, parts: int = PARTS) -> Idle:
    """What is taken off a run: over `seconds` in several parts, from whose differences its interval comes (Student's t)."""
    if parts < 2:
        raise InputError(f"{parts} parts of an idle measurement tell no interval: make 2 or more")
    powers = [_watts(meter, seconds / parts) for _ in range(parts)]
    step = meter.resolution_j / seconds
    return Idle(watts=statistics.mean(powers), half_width_w=_half_width(powers) + step)


def _watts(meter: Meter, seconds: float) -> float:
    meter.start()
    time.sleep(seconds)
    found = meter.stop()
    return found.joules / found.seconds


def above_idle(pairs: Sequence[tuple[Reading, Reading]], queries: int, idle: Idle, step_j: float = 0.0) -> Interval:
    """Millijoules a query above idle, from pairs of a short and a long run that differ by so many queries.

    The difference cancels start-up. `step_j` is the counter's resolution, which each of the two readings may be off by. The
    three uncertainties are added: the idle power's is the same in all pairs, and a counter's steps are not random. With one
    pair the runs' own noise is unknown, and the interval is of the other two alone.
    """
    if not pairs or queries < 1:
        raise InputError("energy a query needs a pair of runs that differ by a query at least")
    extra = [(long.joules - short.joules, long.seconds - short.seconds) for short, long in pairs]
    values = [(joules - idle.watts * seconds) / queries * 1000 for joules, seconds in extra]
    value = statistics.mean(values)
    shared = (idle.half_width_w * abs(statistics.mean(seconds for _, seconds in extra)) + 2 * step_j) / queries * 1000
    half = _half_width(values) + shared
    return Interval(values=tuple(values), value=value, low=value - half, high=value + half)


def _half_width(values: Sequence[float]) -> float:
    """Of the 95 % t-interval of the mean; 0 for one value, which tells nothing about it."""
    if len(values) < 2:
        return 0.0
    from scipy.stats import t

    quantile = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    return quantile * statistics.stdev(values) / math.sqrt(len(values))
