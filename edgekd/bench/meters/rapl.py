"""Processor packages of a PC or server, through Linux's powercap tree.

Format: Linux Documentation/power/powercap/powercap.rst; ABI in Documentation/ABI/testing/sysfs-class-powercap.
"""

from pathlib import Path

from edgekd.bench.files import Files, Here, text_of
from edgekd.bench.meters.meter import Reading
from edgekd.bench.meters.polling import CounterTotal, reading_of
from edgekd.device import LOCAL, Device
from edgekd.types import Provenance

TREE = "/sys/class/powercap"
POLL_S = 10.0
"""The smallest range in use is 65.5 kJ (32 bits of 15.3 µJ): ten seconds of it would need 6.5 kW."""


class Rapl:
    """Only domains named `package-*` are added up: core, uncore and dram lie inside or beside them, and psys holds them all.

    `intel-rapl-mmio` shows the same packages a second time and is not read. A counter wraps at `max_energy_range_uj`
    (minutes at full power): it is polled more often than that. What is read is the whole socket, other processes included.
    Readable by root only since CVE-2020-8694.
    """

    name = "rapl"
    least_s = 2.0  # the register steps every millisecond: 0.1 % of this
    resolution_j = 6.1e-5  # a step of the counter, 2^-14 J, on Intel's clients

    def __init__(self, root: Path = Path(TREE), *, files: Files | None = None) -> None:
        """`root` is a powercap tree of this machine; `files` says where else to read one."""
        self._files, self._tree = (Here(), str(root)) if files is None else (files, TREE)
        self._local = files is None or files.here
        self._total: CounterTotal | None = None

    def unavailable(self, device: Device) -> str | None:
        if self._local and device.name != LOCAL:
            return f"no energy meter for {device.name}"
        packages = self._packages()
        if not packages:
            return "no energy sensor: this machine has no RAPL package domain (virtual machines hide it)"
        try:
            self._read(packages)
        except PermissionError:
            return f"{packages[0]}/energy_uj is readable by root only: run as root, or grant read access"
        except (OSError, ValueError):
            return f"{packages[0]} cannot be read as a RAPL domain"
        return None

    @property
    def provenance(self) -> Provenance:
        """Intel's counters measure since Haswell (Hackenberg et al. 2015, doi:10.1109/IPDPSW.2015.70), the first with AVX2;
        older ones and AMD's compute energy from activity (Schöne et al. 2021, arXiv:2108.00808)."""
        said = text_of(self._files, "/proc/cpuinfo")
        return Provenance.MEASURED if "GenuineIntel" in said and " avx2 " in said else Provenance.MODELLED

    def start(self) -> None:
        self._total = CounterTotal(lambda: self._read(self._packages()), 1e-6, POLL_S)

    def stop(self) -> Reading:
        total, self._total = self._total, None
        return reading_of(total)

    def _read(self, packages: list[str]) -> dict[str, tuple[int, int | None]]:
        found: dict[str, tuple[int, int | None]] = {}
        for package in packages:
            count, limit = (int(self._files.read(f"{package}/{name}")) for name in ("energy_uj", "max_energy_range_uj"))
            found[package] = (count, limit)
        return found

    def _packages(self) -> list[str]:
        domains = [f"{self._tree}/{name}" for name in self._files.names(self._tree) if name.startswith("intel-rapl:")]
        return [domain for domain in domains if text_of(self._files, f"{domain}/name").startswith("package")]
