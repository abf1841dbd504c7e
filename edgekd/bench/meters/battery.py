"""The battery of an Android device, through `dumpsys battery`: the whole device, coarsely.

Format: `name: value` lines; `Charge counter` in µAh, `voltage` in mV, `temperature` in tenths of a °C, `status` 2 charging,
3 discharging, 4 not charging, 5 full. Sources: AOSP frameworks/base/services/core/java/com/android/server/BatteryService.java
(dumpInternal); https://developer.android.com/reference/android/os/BatteryManager.
"""

import re
import time
from dataclasses import dataclass

from edgekd.bench.files import Files, Here
from edgekd.bench.meters.meter import Reading
from edgekd.device import Device
from edgekd.errors import DeviceError
from edgekd.types import Provenance

COMMAND = ("dumpsys", "battery")
DISCHARGING = 3
LINE = re.compile(r"\s*([A-Za-z][A-Za-z ]{0,40}): (true|false|-?[0-9]{1,18})\s*")


@dataclass(frozen=True, kw_only=True)
class Battery:
    """One reading. None is what the device does not tell; a counter of 0 or below is no counter."""

    charge_uah: int | None
    millivolts: int | None
    level_percent: float | None
    temperature_c: float | None
    charging: bool
    """Whether any supply is connected: its current is not the battery's."""
    frozen: bool
    """Whether updates were stopped by `dumpsys battery unplug` or `set`: the values are not the battery's."""


def parse(text: str) -> Battery:
    """Raises ValueError where this is no answer of `dumpsys battery`."""
    if "Battery Service state" not in text:
        raise ValueError("no battery service answered")
    values: dict[str, int] = {}
    for line in text.splitlines():
        found = LINE.fullmatch(line)
        if found:  # vendors repeat names in lower case below the standard ones: the first one counts
            values.setdefault(
                found[1].lower(), {"true": 1, "false": 0}.get(found[2], -1) if found[2][0] in "tf" else int(found[2])
            )
    level, scale = values.get("level"), values.get("scale", 100)
    supplied = any(value == 1 for name, value in values.items() if name.endswith(" powered"))
    return Battery(
        charge_uah=_above_zero(values.get("charge counter")),
        millivolts=_above_zero(values.get("voltage")),
        level_percent=100 * level / scale if level is not None and scale > 0 else None,
        temperature_c=values["temperature"] / 10 if "temperature" in values else None,
        charging=supplied or values.get("status", DISCHARGING) != DISCHARGING,
        frozen="UPDATES STOPPED" in text,
    )


def _above_zero(value: int | None) -> int | None:
    return value if value is not None and value > 0 else None


class AndroidBattery:
    """Charge taken from the battery times its voltage, which is that of the two ends' mean.

    Fuel gauges count in steps of about a mAh (14 J at 3.8 V) and update every few seconds: measure for minutes. Over USB the
    phone charges: connect by adb over Wi-Fi, and unplug it.
    """

    name = "battery"
    resolution_j = 14.0
    least_s = 300.0  # 14 J are 1 % of what a phone takes in five minutes at 5 W
    provenance = Provenance.MEASURED

    def __init__(self, files: Files | None = None) -> None:
        self._files: Files = files or Here()
        self._begun: tuple[float, int, int] | None = None

    def unavailable(self, device: Device) -> str | None:
        if device.os != "android":
            return f"{device.name} is no Android device: its battery is not read"
        try:
            found = parse(self._files.output(COMMAND))
        except (OSError, ValueError) as error:
            return f"the battery cannot be read: {error}"
        return _unusable(found)

    def start(self) -> None:
        self._begun = self._read()

    def stop(self) -> Reading:
        if self._begun is None:
            raise DeviceError("the energy meter was stopped before it was started")
        (begin, charge, millivolts), (end, left, now) = self._begun, self._read()
        joules = (charge - left) * 3600e-6 * (millivolts + now) / 2000
        return Reading(joules=joules, seconds=end - begin)

    def _read(self) -> tuple[float, int, int]:
        try:
            found = parse(self._files.output(COMMAND))
        except (OSError, ValueError) as error:
            raise DeviceError(f"the energy sensor was lost: {error}") from error
        reason = _unusable(found)
        if reason or found.charge_uah is None or found.millivolts is None:
            raise DeviceError(f"the energy sensor was lost: {reason}")
        return time.perf_counter(), found.charge_uah, found.millivolts


def _unusable(found: Battery) -> str | None:
    if found.frozen:
        return "the battery's values are frozen: adb shell dumpsys battery reset"
    if found.charging:
        return "the battery is being charged: unplug the device and connect it by adb over Wi-Fi"
    if found.charge_uah is None or found.millivolts is None:
        return "the battery tells no charge counter"
    return None
