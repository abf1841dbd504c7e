"""The twelve rails of a Raspberry Pi 5, through its firmware's `vcgencmd pmic_read_adc`.

Format: one line a reading, `NAME_A current(N)=…A` or `NAME_V volt(N)=…V`; N differs between the two of a rail, so they are
paired by name. EXT5V (the supply) and BATT (the clock's cell) have a voltage only. Source: the Raspberry Pi documentation,
https://www.raspberrypi.com/documentation/computers/os.html#pmic_read_adc. A Raspberry Pi 4 or older has no such sensor.
"""

import re

from edgekd.bench.files import Files, Here
from edgekd.bench.meters.meter import Reading
from edgekd.bench.meters.polling import PowerIntegral, reading_of
from edgekd.device import LOCAL, Device
from edgekd.types import Provenance

COMMAND = ("vcgencmd", "pmic_read_adc")
LINE = re.compile(r"\s*([A-Z0-9_]{1,32})_([AV]) (current|volt)\(([0-9]{1,3})\)=([0-9]{1,4}\.[0-9]{1,12})([AV])\s*")
INTERVAL_S = 0.1  # each reading starts a process; the rails are read one after the other, which takes milliseconds


class Pmic:
    """The sum of volts times amperes over all rails.

    Less than what the supply gives: the PMIC's own losses and what hangs on 5 V (USB, fan, HATs) are not seen. Public fits
    of the difference disagree (×1.1327 + 0.64 W, ×1.1451 + 0.59 W), so none is applied: differences of runs are comparable.
    """

    name = "pmic"
    resolution_j = 0.0
    least_s = 20.0  # 100 to 200 readings, as of the INA3221
    provenance = Provenance.MEASURED

    def __init__(self, files: Files | None = None, interval_s: float = INTERVAL_S) -> None:
        self._files: Files = files or Here()
        self._interval = interval_s
        self._integral: PowerIntegral | None = None

    def unavailable(self, device: Device) -> str | None:
        if self._files.here and device.name != LOCAL:
            return f"no energy meter for {device.name}"
        try:
            self._watts()
        except PermissionError:
            return "vcgencmd may not be run: add the user to the group video"
        except (OSError, ValueError) as error:
            return f"no energy sensor: vcgencmd pmic_read_adc does not answer ({error}); a Raspberry Pi 5 is needed"
        return None

    def start(self) -> None:
        self._integral = PowerIntegral(self._watts, self._interval)

    def stop(self) -> Reading:
        integral, self._integral = self._integral, None
        return reading_of(integral)

    def _watts(self) -> float:
        return sum(rails(self._files.output(COMMAND)).values())


def rails(text: str) -> dict[str, float]:
    """Watts of each rail that has both a current and a voltage. Raises ValueError where there is none."""
    amperes: dict[str, float] = {}
    volts: dict[str, float] = {}
    for line in text.splitlines():
        found = LINE.fullmatch(line)
        if found is None or found[2] != found[6]:
            continue
        (amperes if found[2] == "A" else volts)[found[1]] = float(found[5])
    pairs = {name: amperes[name] * volts[name] for name in amperes if name in volts}
    if not pairs:
        raise ValueError("no rail with a current and a voltage")
    return pairs
