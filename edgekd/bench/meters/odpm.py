"""Energy counters of a Pixel phone's power rails (on-device power monitor), through /sys/bus/iio.

Format: `enabled_rails` has lines `CH0[S10M_VDD_TPU]:Tensor`, `energy_value` a line `t=MS` and lines
`CH0(T=MS)[S10M_VDD_TPU], µWs`. Sources: AOSP hardware/google/pixel/powerstats/dataproviders/IioEnergyMeterDataProvider.cpp;
https://source.android.com/docs/core/power/power-stats-hal. Pixel 6 and later; readable by root, and by adb's shell on
development builds. `dumpsys powerstats` names the rails but prints no energy, so it is no way round.
"""

import re

from edgekd.bench.files import Files, Here, text_of
from edgekd.bench.meters.meter import Reading
from edgekd.bench.meters.polling import CounterTotal, reading_of
from edgekd.device import LOCAL, Device
from edgekd.types import Provenance

TREE = "/sys/bus/iio/devices"
RAIL = re.compile(r"CH([0-9]{1,3})\[([A-Za-z0-9_]{1,60})\]:([A-Za-z0-9_() /-]{1,40})")
ENERGY = re.compile(r"CH([0-9]{1,3})\(T=([0-9]{1,19})\)\[([A-Za-z0-9_]{1,60})\], ([0-9]{1,19})")
COMPUTE = ("cpu", "gpu", "tpu", "tensor", "soc", "memory", "ddr", "infrastructure", "multimedia")
"""Subsystems that inference uses. Radio, display, camera and audio are left out: they are not the model's."""
POLL_S = 5.0


class Odpm:
    """The sum of the compute rails. Rails whose name begins with L are regulators fed by one of the others, so not added."""

    name = "odpm"
    least_s = 2.0
    provenance = Provenance.MEASURED
    resolution_j = 1e-3  # counters are updated every few milliseconds: at 1 W that is so much

    def __init__(self, files: Files | None = None) -> None:
        self._files: Files = files or Here()
        self._total: CounterTotal | None = None

    def unavailable(self, device: Device) -> str | None:
        if self._files.here and device.name != LOCAL:
            return f"no energy meter for {device.name}"
        places = self._places()
        if not places:
            return "no energy sensor: no power monitor under /sys/bus/iio (Pixel 6 and later have one)"
        try:
            found = self._read()
        except PermissionError:
            return f"{places[0]}/energy_value is not readable: adb root, on a development build"
        except (OSError, ValueError) as error:
            return f"the power monitor cannot be read: {error}"
        return None if found else "the power monitor has no rail of a processor or memory enabled"

    def start(self) -> None:
        self._total = CounterTotal(self._read, 1e-6, POLL_S)

    def stop(self) -> Reading:
        total, self._total = self._total, None
        return reading_of(total)

    def _places(self) -> list[str]:
        """Only devices that call themselves a power monitor: iio has other sensors too."""
        places = [f"{TREE}/{name}" for name in self._files.names(TREE) if name.startswith("iio:device")]
        return [place for place in places if text_of(self._files, f"{place}/name").endswith("-odpm")]

    def _read(self) -> dict[str, tuple[int, int | None]]:
        found: dict[str, tuple[int, int | None]] = {}
        for place in self._places():
            kinds = subsystems(text_of(self._files, f"{place}/enabled_rails"))
            counts = energies(self._files.read(f"{place}/energy_value"))
            found.update({name: (count, None) for name, count in counts.items() if _counted(name, kinds.get(name, name))})
        return found


def subsystems(text: str) -> dict[str, str]:
    """Rail → subsystem, of an `enabled_rails` file."""
    return {found[2]: found[3].strip() for line in text.splitlines() if (found := RAIL.fullmatch(line.strip()))}


def energies(text: str) -> dict[str, int]:
    """Rail → µWs since the start, of an `energy_value` file. Raises ValueError where a line is of another form."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or not re.fullmatch(r"t=[0-9]{1,19}", lines[0]):
        raise ValueError("energy_value does not begin with a time stamp")
    found: dict[str, int] = {}
    for line in lines[1:]:
        match = ENERGY.fullmatch(line)
        if match is None:
            raise ValueError(f"energy_value has a line {line[:60]!r}")
        found[match[3]] = int(match[4])
    return found


def _counted(rail: str, subsystem: str) -> bool:
    return not rail.startswith("L") and any(word in subsystem.lower() for word in COMPUTE)
