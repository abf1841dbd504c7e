"""RAPL from a fixture tree: this machine may have no sensor, and then says so."""

from pathlib import Path

import pytest

from edgekd.bench.files import Here
from edgekd.bench.meters import Rapl
from edgekd.device import Device, probe
from edgekd.errors import DeviceError

LOCAL_DEVICE = probe()


def domain(root: Path, folder: str, name: str, energy_uj: int, limit: int = 262_143_328_850) -> Path:
    """A powercap domain, as the kernel shows it."""
    place = root / folder
    place.mkdir(parents=True, exist_ok=True)
    (place / "name").write_text(name + "\n")
    (place / "max_energy_range_uj").write_text(f"{limit}\n")
    return set_energy(place, energy_uj)


def set_energy(place: Path, energy_uj: int) -> Path:
    (place / "energy_uj").write_text(f"{energy_uj}\n")
    return place


def test_adds_up_packages_only(tmp_path: Path) -> None:
    """Two sockets are added; cores inside a package, dram and psys, which overlap them, are not."""
    first = domain(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    second = domain(tmp_path, "intel-rapl:1", "package-1", 5_000_000)
    others = [domain(tmp_path, f"intel-rapl:{n}", name, 0) for n, name in (("2", "psys"), ("0:0", "core"), ("0:1", "dram"))]
    meter = Rapl(tmp_path)
    assert meter.unavailable(LOCAL_DEVICE) is None
    meter.start()
    set_energy(first, 3_500_000)
    set_energy(second, 6_000_000)
    for other in others:
        set_energy(other, 90_000_000)
    assert meter.stop().joules == pytest.approx(3.5)


def test_a_counter_may_wrap(tmp_path: Path) -> None:
    """A counter that starts over at its range counts on."""
    place = domain(tmp_path, "intel-rapl:0", "package-0", 9_500_000, limit=10_000_000)
    meter = Rapl(tmp_path)
    meter.start()
    set_energy(place, 250_000)
    assert meter.stop().joules == pytest.approx(0.75)


def test_no_sensor_is_said(tmp_path: Path) -> None:
    """No tree, an empty one, or one without packages: a reason, not a number."""
    domain(tmp_path / "psys-only", "intel-rapl:0", "psys", 1)
    for root in (tmp_path / "absent", tmp_path, tmp_path / "psys-only"):
        assert "no RAPL package domain" in str(Rapl(root).unavailable(LOCAL_DEVICE))


def test_an_unreadable_counter_is_said(tmp_path: Path) -> None:
    """A domain whose counter is no number cannot be measured."""
    place = domain(tmp_path, "intel-rapl:0", "package-0", 1)
    (place / "energy_uj").write_text("")
    assert "cannot be read as a RAPL domain" in str(Rapl(tmp_path).unavailable(LOCAL_DEVICE))


def test_a_root_only_counter_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only root may read the counter the reason says what to do."""
    domain(tmp_path, "intel-rapl:0", "package-0", 1)

    read = Here.read

    def refuse(self: Here, path: str) -> str:
        if path.endswith("energy_uj"):
            raise PermissionError(13, "Permission denied")
        return read(self, path)

    monkeypatch.setattr(Here, "read", refuse)
    assert "readable by root only" in str(Rapl(tmp_path).unavailable(LOCAL_DEVICE))


def test_the_same_package_is_never_added_twice(tmp_path: Path) -> None:
    """intel-rapl-mmio shows package 0 a second time: it is not read."""
    first = domain(tmp_path, "intel-rapl:0", "package-0", 0)
    second = domain(tmp_path, "intel-rapl-mmio:0", "package-0", 0)
    meter = Rapl(tmp_path)
    meter.start()
    set_energy(first, 2_000_000)
    set_energy(second, 2_000_000)
    assert meter.stop().joules == pytest.approx(2.0)


def test_another_device_has_no_meter_here(tmp_path: Path) -> None:
    """This machine's sensor says nothing about a phone."""
    domain(tmp_path, "intel-rapl:0", "package-0", 1)
    phone = Device(name="pixel-8", os="android", arch="aarch64")
    assert Rapl(tmp_path).unavailable(phone) == "no energy meter for pixel-8"


def test_a_lost_sensor_is_an_error(tmp_path: Path) -> None:
    """A counter that vanishes while measuring is a device error."""
    place = domain(tmp_path, "intel-rapl:0", "package-0", 1)
    meter = Rapl(tmp_path)
    meter.start()
    (place / "energy_uj").unlink()
    with pytest.raises(DeviceError, match="sensor was lost"):
        meter.stop()
