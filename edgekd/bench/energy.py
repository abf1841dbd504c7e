"""Energy of a query: passes that differ by a number of queries, read by the device's meter, less what the idle device takes."""

import statistics

from edgekd.bench.files import Files
from edgekd.bench.meters import Meter, Reading, above_idle, find_meter, idle_power
from edgekd.bench.runs import Runs
from edgekd.bench.settings import WARM, Settings
from edgekd.types import Measurement, Provenance, Scalar

IDLE_S = 5.0  # in five parts: each is long enough for the slowest sensor's three readings over a link


def energy(runs: Runs, files: Files, meter: Meter | None, latency: Measurement) -> Measurement:
    """Millijoules a query above idle: one value a round, and the 95 % interval of their mean (meters/idle.py).

    A value is (long pass - short pass) / queries, so that start-up cancels. A meter that computes energy from other events
    gives `modelled` figures.

    Args:
        files: where the device's sensors are read.
        meter: None for the first of the device's own that can be read.
        latency: as measured before: from its median comes how many queries the long pass takes.
    """
    found = _meter(runs, files, meter, latency)
    if isinstance(found, str):
        return Measurement.unavailable("energy_mj", found)
    extra = max(1, round(found.least_s * 1000 / statistics.median(latency.values)))
    idle = idle_power(found, max(IDLE_S, found.least_s))
    pairs = [(_read(runs, found, 1), _read(runs, found, 1 + extra)) for _ in runs.settings.shares()]
    taken = above_idle(pairs, extra, idle, found.resolution_j)
    low = "energy does not exceed the idle machine's: measure when nothing else runs"
    told: dict[str, Scalar] = {"meter": found.name, "energy_queries": extra, "idle_w": round(idle.watts, 3)}
    return Measurement(
        metric="energy_mj",
        values=taken.values,
        interval=(taken.low, taken.high),
        provenance=found.provenance,
        conditions={**latency.conditions, **told},
        warnings=(low,) if taken.low <= 0 else (),
    )


def _meter(runs: Runs, files: Files, meter: Meter | None, latency: Measurement) -> Meter | str:
    """The meter, or why energy cannot be measured."""
    if latency.provenance is Provenance.EMULATED:
        return "an emulator's energy is not the device's"
    if runs.use.mode != WARM.mode or runs.use.throughput:
        return "energy is measured of one stream of warm queries"
    found = find_meter(runs.device, files) if meter is None else meter.unavailable(runs.device) or meter
    if isinstance(found, str) or found.least_s <= runs.settings.max_seconds:
        return found
    return f"{found.name} needs runs of {found.least_s:g} s: allow them with --seconds {found.least_s:g}"


def _read(runs: Runs, meter: Meter, queries: int) -> Reading:
    """One latency pass of so many queries, its start-up included."""
    meter.start()
    runs.run("latency", Settings(processes=1, queries=queries).shares()[0])
    return meter.stop()
