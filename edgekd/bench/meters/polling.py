"""Reading a sensor again and again beside a measurement: watts into joules, and counters that wrap."""

import threading
import time
from collections.abc import Callable

from edgekd.bench.meters.meter import Reading
from edgekd.errors import DeviceError

MIN_READINGS = 3
"""Of an integral: the two at its ends say nothing about what lay between."""


class Polling:
    """Calls `take` at once, every `interval_s`, and once more at `stop`, one call at a time.

    Readings are a thread's, so a slow sensor or link makes them rarer, not the measurement longer.
    """

    def __init__(self, take: Callable[[], None], interval_s: float) -> None:
        self._take, self._interval = take, interval_s
        self._end = threading.Event()
        self._failed: Exception | None = None
        self._take_now()
        self._thread = threading.Thread(target=self._loop, daemon=True, name="edgekd-meter")
        self._thread.start()

    def stop(self) -> None:
        """Raises DeviceError where a reading failed since the start."""
        self._end.set()
        self._thread.join()
        if self._failed is None:
            self._take_now()
        if self._failed is not None:
            raise DeviceError(f"the energy sensor was lost: {self._failed}") from self._failed

    def _loop(self) -> None:
        while not self._end.wait(self._interval):
            try:
                self._take()
            except (OSError, ValueError, DeviceError) as error:
                self._failed = error
                return

    def _take_now(self) -> None:
        try:
            self._take()
        except (OSError, ValueError) as error:
            raise DeviceError(f"the energy sensor was lost: {error}") from error


class PowerIntegral:
    """Energy of a sensor of power: the trapezoid under its readings, each at the middle of the time that it took."""

    def __init__(self, watts: Callable[[], float], interval_s: float) -> None:
        self._watts, self.readings, self.joules, self.seconds = watts, 0, 0.0, 0.0
        self._last: tuple[float, float] | None = None
        self._polling = Polling(self._take, interval_s)

    def _take(self) -> None:
        before = time.perf_counter()
        watts = self._watts()
        moment = (before + time.perf_counter()) / 2
        if self._last is not None:
            self.joules += (self._last[1] + watts) / 2 * (moment - self._last[0])
            self.seconds += moment - self._last[0]
        self._last = (moment, watts)
        self.readings += 1

    def stop(self) -> Reading:
        self._polling.stop()
        if self.readings < MIN_READINGS:
            raise DeviceError(f"the energy sensor gave {self.readings} readings while measuring: measure for longer")
        return Reading(joules=self.joules, seconds=self.seconds)


class CounterTotal:
    """Energy of a sensor that counts: the sum of its steps, in J, with counters that start over at their limit.

    `counts` gives each counter's value and the value that it wraps at (None: never), in units of `unit_j` joules. A
    counter may wrap once between two readings, so `interval_s` must be shorter than it takes to go round.
    """

    def __init__(self, counts: Callable[[], dict[str, tuple[int, int | None]]], unit_j: float, interval_s: float) -> None:
        self._counts, self._unit, self._total, self._seconds = counts, unit_j, 0, 0.0
        self._moment = 0.0
        self._last: dict[str, tuple[int, int | None]] | None = None
        self._polling = Polling(self._take, interval_s)

    def _take(self) -> None:
        before = time.perf_counter()
        now = self._counts()
        moment = (before + time.perf_counter()) / 2
        if self._last is not None:
            if now.keys() != self._last.keys():
                raise DeviceError("an energy counter appeared or vanished while measuring")
            self._total += sum(_step(name, self._last[name][0], *now[name]) for name in now)
            self._seconds += moment - self._moment
        self._last, self._moment = now, moment

    def stop(self) -> Reading:
        self._polling.stop()
        return Reading(joules=self._total * self._unit, seconds=self._seconds)


def reading_of(running: PowerIntegral | CounterTotal | None) -> Reading:
    """End what `start` began; DeviceError where nothing was."""
    if running is None:
        raise DeviceError("the energy meter was stopped before it was started")
    return running.stop()


def _step(name: str, before: int, now: int, limit: int | None) -> int:
    if now >= before:
        return now - before
    if limit is None:
        raise DeviceError(f"the energy counter {name} ran backwards: was the device restarted?")
    return now + limit - before
