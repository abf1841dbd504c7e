"""A power meter of your own, by the CSV file that its program writes while, or after, it records."""

import time
from collections.abc import Callable
from pathlib import Path

from edgekd.bench.meters.meter import Reading
from edgekd.bench.meters.trace import clock_offset, read_trace
from edgekd.device import Device
from edgekd.errors import DeviceError, InputError
from edgekd.types import Provenance

PATTERN_S = (0.6, 0.3, 0.3, 0.5, 0.9, 0.4, 0.4, 0.7)
"""Load and rest in turn, uneven, so that it fits in one place only; some ten readings a step of a 30 Hz meter."""
WAIT_S = 30.0


class External:
    """Energy from a record whose clock is aligned by a pattern of load, or whose offset is known.

    `synchronise` makes the pattern; it must be in the record, before or after what is measured. The meter may write late:
    `stop` waits for the file to reach the end of the interval.
    """

    name = "external"
    resolution_j = 0.0
    least_s = 2.0
    provenance = Provenance.MEASURED

    def __init__(self, file: Path, *, volts: float | None = None, offset_s: float | None = None, wait_s: float = WAIT_S) -> None:
        """`offset_s` is what to add to this machine's clock (seconds since 1970) to get the meter's; None: by the pattern."""
        self._file, self._volts, self._offset, self._wait = file, volts, offset_s, wait_s
        self._edges: list[tuple[float, bool]] = []
        self._begun: float | None = None

    def unavailable(self, device: Device) -> str | None:
        if not self._file.is_file():
            return f"{self._file}: the external meter's file is not there"
        if self._offset is None and not self._edges:
            return "the external meter's clock is not aligned: make a pattern of load, or say offset_s"
        return None

    def synchronise(self, load: Callable[[float], None], pattern_s: tuple[float, ...] = PATTERN_S) -> None:
        """Have `load` keep the measured device busy for so many seconds, and let it rest, in turn."""
        edges: list[tuple[float, bool]] = []
        for number, seconds in enumerate(pattern_s):
            edges.append((time.time(), number % 2 == 0))
            (load if number % 2 == 0 else time.sleep)(seconds)
        edges.append((time.time(), False))
        self._edges = edges

    def start(self) -> None:
        self._begun = time.time()

    def stop(self) -> Reading:
        if self._begun is None:
            raise DeviceError("the energy meter was stopped before it was started")
        begin, end, self._begun = self._begun, time.time(), None
        deadline = time.monotonic() + self._wait
        while True:
            try:
                trace = read_trace(self._file, self._volts)
                shift = self._offset if self._offset is not None else clock_offset(trace, self._edges)
                return Reading(joules=trace.joules(begin + shift, end + shift), seconds=end - begin)
            except InputError as error:
                if time.monotonic() > deadline:
                    raise DeviceError(f"external meter: {error}") from error
                time.sleep(min(0.5, self._wait / 10))
