"""What every meter offers."""

from dataclasses import dataclass
from typing import Protocol

from edgekd.device import Device
from edgekd.types import Provenance


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Energy in J between a meter's first and last reading, and the seconds between them: what idle power is taken off for."""

    joules: float
    seconds: float


class Meter(Protocol):
    name: str
    resolution_j: float
    """What two readings of the same energy may differ by, in J: the step of a counter; 0 for a sensor of power."""
    least_s: float
    """How long a run must last, in s, for its energy to be told to about 1 %."""

    @property
    def provenance(self) -> Provenance:
        """`measured`, or `modelled` where the sensor itself computes energy from other events."""
        ...

    def unavailable(self, device: Device) -> str | None:
        """Why this meter cannot measure the device, or None where it can."""
        ...

    def start(self) -> None:
        """Begin an interval. Raises DeviceError where the sensor cannot be read."""
        ...

    def stop(self) -> Reading:
        """Energy since `start`. Raises DeviceError where the sensor is lost."""
        ...
