"""Energy sensors. One that is not there, or cannot be read, says why: energy is never guessed."""

import time
from pathlib import Path
from typing import Protocol

from edgekd.device import Device
from edgekd.errors import DeviceError


class Meter(Protocol):
    name: str

    def unavailable(self, device: Device) -> str | None:
        """Why this meter cannot measure the device, or None where it can."""
        ...

    def start(self) -> None: ...

    def stop(self) -> float:
        """Joules since `start`. Raises DeviceError where the sensor is lost."""
        ...


class Rapl:
    """Processor packages of this machine, through Linux's powercap tree.

    Only domains named `package-*` are added up: core, uncore and dram lie inside or beside them, and psys holds them all.
    A counter wraps at `max_energy_range_uj` (262 kJ on common parts: minutes at full power), which one interval may do
    once. What is read is the whole socket, other processes included.

    Source: Linux Documentation/power/powercap/powercap.rst; readable by root only since CVE-2020-8694.
    """

    name = "rapl"

    def __init__(self, root: Path = Path("/sys/class/powercap")) -> None:
        self._root = root
        self._begun: dict[Path, int] = {}

    def unavailable(self, device: Device) -> str | None:
        if device.name != "local":
            return f"no energy meter for {device.name}"
        packages = self._packages()
        if not packages:
            return "no energy sensor: this machine has no RAPL package domain (virtual machines hide it)"
        try:
            for package in packages:
                _counter(package / "energy_uj"), _counter(package / "max_energy_range_uj")
        except PermissionError:
            return f"{packages[0] / 'energy_uj'} is readable by root only: run as root, or grant read access"
        except (OSError, ValueError):
            return f"{packages[0]} cannot be read as a RAPL domain"
        return None

    def start(self) -> None:
        self._begun = self._read()

    def stop(self) -> float:
        now = self._read()
        if now.keys() != self._begun.keys():
            raise DeviceError("local: a RAPL domain appeared or vanished while measuring")
        return sum(self._used(package, now[package]) for package in now) / 1e6

    def _used(self, package: Path, now: int) -> int:
        used = now - self._begun[package]
        return used if used >= 0 else used + _counter(package / "max_energy_range_uj")

    def _read(self) -> dict[Path, int]:
        try:
            return {package: _counter(package / "energy_uj") for package in self._packages()}
        except (OSError, ValueError) as error:
            raise DeviceError(f"local: the energy sensor was lost: {error}") from error

    def _packages(self) -> list[Path]:
        return sorted(p for p in self._root.glob("intel-rapl:*") if _name(p).startswith("package"))


def _name(domain: Path) -> str:
    try:
        return (domain / "name").read_text().strip()
    except OSError:
        return ""


def _counter(file: Path) -> int:
    return int(file.read_text())


def idle_watts(meter: Meter, seconds: float) -> float:
    """Power of the machine with nothing of ours running, in W: what is subtracted from a run."""
    begin = time.perf_counter()
    meter.start()
    time.sleep(seconds)
    joules = meter.stop()
    return joules / (time.perf_counter() - begin)
