"""Which meter sees a device: the first that does, finest first."""

from edgekd.bench.files import Files, Here
from edgekd.bench.meters.battery import AndroidBattery
from edgekd.bench.meters.hwmon import Hwmon
from edgekd.bench.meters.meter import Meter
from edgekd.bench.meters.odpm import Odpm
from edgekd.bench.meters.pmic import Pmic
from edgekd.bench.meters.powermetrics import Powermetrics
from edgekd.bench.meters.rapl import Rapl
from edgekd.device import Device


def find_meter(device: Device, files: Files | None = None) -> Meter | str:
    """The meter of a device, or why there is none, in one line.

    Args:
        files: where its sensors are read; None is this machine, which sees only the device `local`.
    """
    reasons = []
    for meter in meters_of(device, files or Here()):
        reason = meter.unavailable(device)
        if reason is None:
            return meter
        reasons.append(reason)
    return "; ".join(reasons) if reasons else f"no energy meter for {device.os}"


def meters_of(device: Device, files: Files) -> list[Meter]:
    """Those that may see a device of its kind, in the order that they are preferred."""
    if device.os == "android":
        return [Odpm(files), AndroidBattery(files)]
    if device.os == "macos":
        return [Powermetrics(files)]
    if device.os != "linux":
        return []
    if device.arch == "x86_64":
        return [Rapl(files=files), Hwmon(files)]
    return [Hwmon(files), Pmic(files)]
