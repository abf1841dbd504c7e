"""The record of an external power meter: a CSV file read into times and watts, and its clock set against this machine's.

Formats: a header line names the columns with their units, as the exports of common meters do, e.g. `Timestamp(ms),Current(uA)`
(Nordic Power Profiler: the voltage is set by hand), `time_s,voltage_v,current_a`, `time_s,power_w`; `#` begins a comment.
"""

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import InputError

HEADER = re.compile(r"\s*([A-Za-z][A-Za-z ]*?)[ _]*[(\[_ ]([A-Za-zµ]{1,2})[)\]]?\s*")
PREFIXES = {"": 1.0, "m": 1e-3, "u": 1e-6, "µ": 1e-6}
KINDS = {"s": ("time", "time"), "w": ("power", "power"), "v": ("voltage", "volt"), "a": ("current", "current")}
"""Unit without its prefix → what it measures, and what the column's name must hold."""
MAX_ROWS = 50_000_000
MIN_STEPS = 3
"""Changes of load that a clock can be aligned by: with fewer, another place may fit as well."""
MIN_CORRELATION = 0.7


@dataclass(frozen=True)
class Trace:
    """Readings in the order of their times: `seconds` by the meter's clock, `watts` at those moments. Shapes (N,)."""

    seconds: NDArray[np.float64]
    watts: NDArray[np.float64]

    def joules(self, begin: float, end: float) -> float:
        """Energy between two moments of the meter's clock. Raises InputError where the record does not hold them."""
        if not (self.seconds[0] <= begin < end <= self.seconds[-1]):
            raise InputError(
                f"the meter's record holds {self.seconds[0]:.3f} to {self.seconds[-1]:.3f} s, not {begin:.3f} to {end:.3f} s"
            )
        inside = (self.seconds > begin) & (self.seconds < end)
        moments = np.concatenate(([begin], self.seconds[inside], [end]))
        return float(np.trapezoid(np.interp(moments, self.seconds, self.watts), moments))


def read_trace(file: Path, volts: float | None = None) -> Trace:
    """Read a meter's CSV file.

    Args:
        volts: the supply's voltage, where the file has currents only.

    Raises:
        InputError: where it cannot be read, has no times or no power, or its times do not rise.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
            rows = csv.reader(line for line in stream if line.strip() and not line.startswith("#"))
            columns = _columns(next(rows, []), file)
            values = _values(rows, columns, file)
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from error
    except csv.Error as error:
        raise InputError(f"{file}: not a CSV file: {error}") from error
    if len(values["time"]) < 2 or not np.all(np.diff(values["time"]) > 0):
        raise InputError(f"{file}: expected two readings or more whose times rise")
    watts = values.get("power")
    if watts is None:
        pressure = values.get("voltage", volts)
        if pressure is None:
            raise InputError(f"{file}: has currents only: say the supply's voltage")
        watts = values["current"] * pressure
    return Trace(values["time"], watts)


def _columns(header: list[str], file: Path) -> dict[str, tuple[int, float]]:
    """Kind → place and factor to the unit without a prefix; the first column of a kind counts."""
    found: dict[str, tuple[int, float]] = {}
    for place, text in enumerate(header):
        match = HEADER.fullmatch(text)
        prefix, unit = (match[2].lower()[:-1], match[2].lower()[-1]) if match else ("", "")
        kind, word = KINDS.get(unit, ("", ""))
        if match and kind and word in match[1].lower() and prefix in PREFIXES:
            found.setdefault(kind, (place, PREFIXES[prefix]))
    if "time" not in found or not {"power", "current"} & found.keys():
        names = ", ".join(text[:20] for text in header[:8])
        raise InputError(f"{file}: expected columns like time_s and power_w, or time_s, voltage_v and current_a; found: {names}")
    return found


def _values(rows: Iterable[list[str]], columns: dict[str, tuple[int, float]], file: Path) -> dict[str, NDArray[np.float64]]:
    kept: dict[str, list[float]] = {kind: [] for kind in columns}
    for number, row in enumerate(rows, 2):
        if number > MAX_ROWS:
            raise InputError(f"{file}: more than {MAX_ROWS:,} readings: cut it to the measurement")
        try:
            for kind, (place, factor) in columns.items():
                kept[kind].append(float(row[place]) * factor)
        except (ValueError, IndexError):
            raise InputError(f"{file}: row {number} has no number in every column that is needed") from None
    found = {kind: np.array(values) for kind, values in kept.items()}
    if not all(np.isfinite(values).all() for values in found.values()):
        raise InputError(f"{file}: a reading is not a finite number")
    return found


def clock_offset(trace: Trace, edges: list[tuple[float, bool]], step_s: float = 0.002) -> float:
    """Seconds to add to this machine's clock to get the meter's, from a pattern of load that both saw.

    Args:
        edges: moments of this machine's clock at which the load began (True) or ended (False), the last one an end.
        step_s: what offsets are tried apart.

    Raises:
        InputError: where the pattern is too short, or is not found in the record.

    The offset is where the record correlates best with the pattern (Pearson's r): neither the watts nor the delay of the
    meter's filter, as long as it is that of both edges, change it by more than the delay.
    """
    if len(edges) <= MIN_STEPS:
        raise InputError(f"{len(edges)} changes of load are too few to align the meter's clock: make more than {MIN_STEPS}")
    times = np.arange(edges[0][0], edges[-1][0], step_s)
    moments, states = np.array([edge[0] for edge in edges]), np.array([float(edge[1]) for edge in edges])
    pattern = states[np.searchsorted(moments, times, side="right") - 1]
    grid = np.arange(trace.seconds[0], trace.seconds[-1], step_s)
    if len(grid) < len(pattern):
        raise InputError("the meter's record is shorter than the pattern of load that its clock is aligned by")
    scores = _correlations(np.interp(grid, trace.seconds, trace.watts), pattern)
    best = int(np.argmax(scores))
    if scores[best] < MIN_CORRELATION:
        raise InputError(f"the pattern of load is not in the meter's record (best r {scores[best]:.2f}): another device's?")
    return float(grid[best] - edges[0][0])


def _correlations(signal: NDArray[np.float64], pattern: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson's r of the pattern with each stretch of the signal as long as it. By FFT: records have millions of readings."""
    size, whole = len(pattern), len(signal)
    length = 1 << (whole + size).bit_length()
    centred, shape = signal - signal.mean(), pattern - pattern.mean()
    products = np.fft.irfft(np.fft.rfft(centred, length) * np.conj(np.fft.rfft(shape, length)), length)[: whole - size + 1]
    sums, squares = (np.concatenate(([0.0], np.cumsum(values))) for values in (centred, centred**2))
    spread = (squares[size:] - squares[:-size]) - (sums[size:] - sums[:-size]) ** 2 / size
    floor = 1e-9 * max(float(centred @ centred), 1e-30)  # a stretch without any change correlates with nothing
    return np.where(spread > floor, products / np.sqrt(np.maximum(spread, floor) * float(shape @ shape)), 0.0)
