"""Energy sensors. One that is not there, or cannot be read, says why: energy is never guessed.

| meter | what it reads | of what |
|---|---|---|
| `rapl` | energy counters of /sys/class/powercap | processor packages of a PC or server |
| `ina3221` | volts and amperes, or watts, of /sys/class/hwmon | power rails of a Jetson, or of any board with such a sensor |
| `pmic` | `vcgencmd pmic_read_adc` | the twelve rails of a Raspberry Pi 5 |
| `odpm` | energy counters of /sys/bus/iio | power rails of a Pixel phone |
| `battery` | `dumpsys battery` | a whole Android device, coarsely |
| `powermetrics` | `powermetrics -f plist` | the chip of a Mac |
| `external` | the CSV file of a meter of your own, clocks aligned | whatever it is connected to |
"""

from edgekd.bench.meters.choose import find_meter
from edgekd.bench.meters.idle import Idle, Interval, above_idle, idle_power
from edgekd.bench.meters.meter import Meter, Reading
from edgekd.bench.meters.rapl import Rapl

__all__ = ["Idle", "Interval", "Meter", "Rapl", "Reading", "above_idle", "find_meter", "idle_power"]
