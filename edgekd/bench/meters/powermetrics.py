"""The chip of a Mac, through its own `powermetrics` (root only).

Format: property lists, separated by NUL, with `elapsed_ns` and in `processor` `combined_power` in mW, or `cpu_energy`,
`gpu_energy` and `ane_energy` in mJ (Apple silicon), or `package_watts` (Intel). Source: powermetrics(1) of macOS. Apple says
that the figures are estimates, comparable only between runs on the same Mac.
"""

import plistlib
import time
from typing import Any

from edgekd.bench.files import Files, Here
from edgekd.bench.meters.meter import Reading
from edgekd.bench.meters.polling import Polling
from edgekd.device import LOCAL, Device
from edgekd.errors import DeviceError
from edgekd.types import Provenance

WINDOW_MS = 200  # shorter windows are stretched by 16 to 29 %
COMMAND = ("sudo", "-n", "powermetrics", "--samplers", "cpu_power,gpu_power", "-n", "1", "-f", "plist", "-i", str(WINDOW_MS))


class Powermetrics:
    """The mean power of the windows that were seen, times the time that passed: starting the program leaves gaps between them."""

    name = "powermetrics"
    resolution_j = 1e-3  # energies are whole mJ
    least_s = 20.0  # up to 100 windows, as of the INA3221
    provenance = Provenance.MODELLED  # Apple's own word is `estimated` power

    def __init__(self, files: Files | None = None) -> None:
        self._files: Files = files or Here()
        self._seen: list[tuple[float, float]] = []
        self._polling: Polling | None = None
        self._begin = 0.0

    def unavailable(self, device: Device) -> str | None:
        if device.os != "macos":
            return f"{device.name} is no Mac: powermetrics is not there"
        if self._files.here and device.name != LOCAL:
            return f"no energy meter for {device.name}"
        try:
            windows(self._files.output(COMMAND))
        except (OSError, ValueError) as error:
            return f"powermetrics does not answer ({error}): let the user run it by sudo without a password"
        return None

    def start(self) -> None:
        self._seen, self._begin = [], time.perf_counter()
        self._polling = Polling(self._take, 0.0)

    def stop(self) -> Reading:
        if self._polling is None:
            raise DeviceError("the energy meter was stopped before it was started")
        elapsed = time.perf_counter() - self._begin
        self._polling.stop()
        self._polling = None
        joules, seconds = (sum(values) for values in zip(*self._seen, strict=True))
        return Reading(joules=joules / seconds * elapsed, seconds=elapsed)

    def _take(self) -> None:
        self._seen += windows(self._files.output(COMMAND))


def windows(text: str) -> list[tuple[float, float]]:
    """Joules and seconds of each window. Raises ValueError where there is none."""
    found = []
    for part in text.split("\0"):
        if part.strip():
            found.append(_window(part))
    if not found:
        raise ValueError("no property list")
    return found


def _window(text: str) -> tuple[float, float]:
    try:
        document: Any = plistlib.loads(text.strip().encode(), fmt=plistlib.FMT_XML)
    except Exception as error:  # expat's and plistlib's own errors have no common base
        raise ValueError(f"not a property list: {str(error)[:80]}") from error
    document = document if isinstance(document, dict) else {}
    seconds, processor = _number(document.get("elapsed_ns")), document.get("processor")
    if seconds is None or not 1e6 < seconds < 3.6e12 or not isinstance(processor, dict):
        raise ValueError("a window without elapsed_ns and processor")
    seconds /= 1e9
    milliwatts, watts = _number(processor.get("combined_power")), _number(processor.get("package_watts"))
    parts = [_number(processor.get(name)) for name in ("cpu_energy", "gpu_energy", "ane_energy")]
    if milliwatts is not None:
        return milliwatts / 1000 * seconds, seconds
    if watts is not None:
        return watts * seconds, seconds
    if parts[0] is not None:
        return sum(part for part in parts if part is not None) / 1000, seconds
    raise ValueError("a window without combined_power, package_watts or cpu_energy")


def _number(value: Any) -> float | None:
    """A number that can be one of power or time: finite and not negative."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if plain and 0 <= value < 1e15 else None
