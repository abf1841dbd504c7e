"""What every meter offers."""

from typing import Protocol

from edgekd.device import Device


class Meter(Protocol):
    name: str

    def unavailable(self, device: Device) -> str | None:
        """Why this meter cannot measure the device, or None where it can."""
        ...

    def start(self) -> None:
        """Begin an interval. Raises DeviceError where the sensor cannot be read."""
        ...

    def stop(self) -> float:
        """Joules since `start`. Raises DeviceError where the sensor is lost."""
        ...


def resolution_j(meter: Meter) -> float:
    """What two readings of the same energy may differ by, in J: the step of a counter. 0 where the meter does not say."""
    return float(getattr(meter, "resolution_j", 0.0))
