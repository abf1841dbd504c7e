"""Power rails through Linux's hardware monitoring tree: the INA3221 of Jetson boards, and any sensor of power.

Formats: Linux Documentation/hwmon/ina3221.rst (in[123]_label; in[123]_input in mV; curr[123]_input in mA) and
Documentation/hwmon/sysfs-interface.rst (power[1-*]_input in µW). Rails: NVIDIA's device trees, e.g. tegra234-p3767.dtsi,
where input@0 of the sensor at 0x40 is VDD_IN, the whole module, and the others are parts of it.
"""

import re

from edgekd.bench.files import Files, Here, number_of, text_of
from edgekd.bench.meters.meter import Reading
from edgekd.bench.meters.polling import PowerIntegral, reading_of
from edgekd.device import LOCAL, Device
from edgekd.errors import DeviceError
from edgekd.types import Provenance

TREE = "/sys/class/hwmon"
CHIPS = ("ina3221", "ina2xx", "ina219", "ina226", "ina230", "ina238")
"""Sensors of power; others under hwmon (amdgpu, nvme) have power inputs that are no whole board's."""
WHOLE = ("VDD_IN", "POM_5V_IN")
"""Labels of rails that hold the others (Jetson Orin Nano and NX, TX2: VDD_IN; Nano: POM_5V_IN)."""
HERE_S, THERE_S = 0.02, 0.2
LEAST_HERE_S, LEAST_THERE_S = 4.0, 20.0
"""200 and 100 readings: each end of the load falls somewhere between two, and the four ends of a pair of runs add up."""


class Hwmon:
    """The rail that feeds the board where there is one, else all rails; none is added twice.

    A Jetson's rails are those of the module: the carrier board's own are not seen. The sensor averages by itself.
    """

    name = "ina3221"
    resolution_j = 0.0
    provenance = Provenance.MEASURED

    def __init__(self, files: Files | None = None, interval_s: float | None = None) -> None:
        self._files: Files = files or Here()
        self._interval = interval_s or (HERE_S if self._files.here else THERE_S)
        self.least_s = LEAST_HERE_S if self._files.here else LEAST_THERE_S
        self._integral: PowerIntegral | None = None

    def unavailable(self, device: Device) -> str | None:
        if self._files.here and device.name != LOCAL:
            return f"no energy meter for {device.name}"
        rails = self.rails()
        if not rails:
            return "no energy sensor: no INA power monitor under /sys/class/hwmon"
        try:
            self._watts(rails)
        except PermissionError:
            return f"{next(iter(rails.values()))[0]} may not be read: run as root, or grant read access"
        except (OSError, ValueError) as error:
            return f"the INA power monitor cannot be read: {error}"
        return None

    def rails(self) -> dict[str, tuple[str, ...]]:
        """Label → the file of its watts, or those of its volts and amperes: what is added up."""
        found: dict[str, tuple[str, ...]] = {}
        for chip in self._files.names(TREE):
            place = f"{TREE}/{chip}"
            if text_of(self._files, f"{place}/name") in CHIPS:
                found.update(self._rails_of(place))
        whole = [label for label in found if label in WHOLE]
        return {label: found[label] for label in whole[:1]} or found

    def _rails_of(self, place: str) -> dict[str, tuple[str, ...]]:
        names = set(self._files.names(place))
        found: dict[str, tuple[str, ...]] = {}
        for name in sorted(names):
            label, kind = name, re.fullmatch(r"(power|curr)([0-9]{1,2})_input", name)
            if kind is None:
                continue
            number = kind[2]
            if kind[1] == "power":
                files: tuple[str, ...] = (f"{place}/{name}",)
            elif f"in{number}_input" in names and f"power{number}_input" not in names:
                files = (f"{place}/in{number}_input", f"{place}/{name}")
            else:  # curr4 of an INA3221 is the sum of the others and has no voltage of its own
                continue
            if number_of(self._files, f"{place}/in{number}_enable") == 0:
                continue
            labels = (text_of(self._files, f"{place}/{prefix}{number}_label") for prefix in ("in", "power", "curr"))
            label = next((text for text in labels if text), f"{place.rpartition('/')[2]}/{number}")
            found[label] = files
        return found

    def start(self) -> None:
        rails = self.rails()
        if not rails:
            raise DeviceError("no energy sensor: no INA power monitor under /sys/class/hwmon")
        self._integral = PowerIntegral(lambda: self._watts(rails), self._interval)

    def stop(self) -> Reading:
        integral, self._integral = self._integral, None
        return reading_of(integral)

    def _watts(self, rails: dict[str, tuple[str, ...]]) -> float:
        values = iter(int(text) for text in self._files.read_many([file for files in rails.values() for file in files]))
        watts = 0.0
        for files in rails.values():
            watts += next(values) / 1e6 if len(files) == 1 else next(values) * next(values) / 1e6
        return watts
