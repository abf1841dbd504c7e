"""Each sensor's format, from recordings (tests/null/fixtures/meters/README.md says which are real), and from nonsense."""

import math
import plistlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.bench.meters.battery import parse as battery
from edgekd.bench.meters.odpm import energies, subsystems
from edgekd.bench.meters.pmic import rails
from edgekd.bench.meters.powermetrics import windows
from edgekd.bench.meters.trace import read_trace
from edgekd.errors import InputError

FIXTURES = Path(__file__).parent / "fixtures" / "meters"


def recording(name: str) -> str:
    return (FIXTURES / name).read_text()


def test_pmic_pairs_rails_by_name() -> None:
    """Twelve rails of a real Pi 5, each current times its own voltage; supply and clock cell have no current."""
    found = rails(recording("pmic_pi5.txt"))
    assert len(found) == 12
    assert found["VDD_CORE"] == pytest.approx(10.87674 * 0.8974594)
    assert {"EXT5V", "BATT"}.isdisjoint(found)
    assert sum(found.values()) == pytest.approx(10.799894, abs=1e-6)


@pytest.mark.parametrize(
    "text", ["", 'error=1 error_msg="Command not registered"', "VDD_CORE_A current(7)=1.0A", "X_A volt(1)=1.0V"]
)
def test_pmic_without_a_rail_is_refused(text: str) -> None:
    """An older board's answer, or half a rail, is no reading."""
    with pytest.raises(ValueError, match="no rail"):
        rails(text)


def test_odpm_counters_have_their_rails_names() -> None:
    """Eight rails of each of a real Pixel 6's two monitors, in µWs."""
    first, second = (energies(recording(f"odpm{n}_pixel6.txt")) for n in (0, 1))
    assert (len(first), len(second)) == (8, 8)
    assert (first["S4M_VDD_CPUCL0"], second["S2S_VDD_G3D"]) == (46_356_942, 5_315_420)
    assert subsystems(recording("odpm0_rails_pixel6.txt"))["S10M_VDD_TPU"] == "Tensor"


@pytest.mark.parametrize(
    "text", ["", "CH0(T=1)[A], 5", "t=1\nCH0(T=1)[A], -5", "t=1\nCH0[A], 5", "t=x", "t=1\nCH0(T=1)[../etc], 5"]
)
def test_odpm_of_another_form_is_refused(text: str) -> None:
    """A file without its time stamp, or with any other line, is not guessed at."""
    with pytest.raises(ValueError, match="energy_value"):
        energies(text)


def test_battery_on_a_cable_is_charging() -> None:
    """A real Samsung phone on USB: charging, no charge counter; the vendor's lines below do not overwrite the standard ones."""
    found = battery(recording("battery_samsung.txt"))
    assert (found.charging, found.charge_uah, found.millivolts) == (True, None, 4063)
    assert (found.level_percent, found.temperature_c, found.frozen) == (84.0, 32.6, False)


def test_battery_discharging_and_frozen() -> None:
    """Discharging it has a counter; after `dumpsys battery unplug` the values are said to be frozen."""
    text = recording("battery_discharging.txt")
    found = battery(text)
    assert (found.charging, found.charge_uah, found.millivolts) == (False, 3_245_000, 3912)
    assert battery(text.replace("state:\n", "state:\n  (UPDATES STOPPED -- use 'reset' to restart)\n")).frozen


def test_powermetrics_windows() -> None:
    """Two windows: milliwatts times the window's own length."""
    assert windows(recording("powermetrics_m.plist")) == [(pytest.approx(0.764, abs=1e-3), 0.52), (1.0, 0.5)]


def test_powermetrics_energies_and_packages() -> None:
    """Without combined_power the energies are added; an Intel Mac gives watts of the package."""
    silicon = {"elapsed_ns": 10**9, "processor": {"cpu_energy": 700, "gpu_energy": 50, "ane_energy": 14}}
    intel = {"elapsed_ns": 2 * 10**9, "processor": {"package_watts": 8.5}}
    text = "\0".join(plistlib.dumps(document).decode() for document in (silicon, intel))
    assert windows(text) == [(pytest.approx(0.764), 1.0), (17.0, 2.0)]


@pytest.mark.parametrize(
    "document",
    [{}, [], {"elapsed_ns": 0, "processor": {"cpu_energy": 1}}, {"elapsed_ns": 10**9, "processor": {}}]
    + [{"elapsed_ns": 10**9, "processor": {"combined_power": value}} for value in (True, -1, math.inf, "3")],
)
def test_powermetrics_without_power_is_refused(document: object) -> None:
    """A window of no length, or whose power is no number, is no reading."""
    with pytest.raises(ValueError, match="a window without"):
        windows(plistlib.dumps(document).decode())


def test_powermetrics_entities_are_refused() -> None:
    """A property list that expands entities is not read: that is how small files become gigabytes."""
    bomb = '<?xml version="1.0"?><!DOCTYPE plist [<!ENTITY a "aaaa">]><plist version="1.0"><dict><key>&a;</key></dict></plist>'
    with pytest.raises(ValueError, match="not a property list"):
        windows(bomb)


@pytest.mark.parametrize("parse", [rails, energies, battery, windows], ids=["pmic", "odpm", "battery", "powermetrics"])
@given(text=st.text(max_size=300))
def test_any_text_is_read_or_refused(parse: Callable[[str], object], text: str) -> None:
    """Nothing that a device answers raises anything but ValueError."""
    for answer in (text, f"Current Battery Service state:\n level: {text}", f"t=1\n{text}", f"<plist>{text}</plist>"):
        try:
            parse(answer)
        except ValueError:
            continue


def write(folder: Path, text: str) -> Path:
    file = folder / "meter.csv"
    file.write_text(text)
    return file


def test_traces_of_common_meters(tmp_path: Path) -> None:
    """Currents with the supply's voltage, volts and amperes, and watts, by the units in their headers."""
    assert read_trace(FIXTURES / "ppk2.csv", volts=3.3).watts == pytest.approx([1.65, 1.65, 2.31, 2.31])
    assert read_trace(write(tmp_path, "# a meter\ntime_s,voltage_v,current_ma\n0,5,100\n1,5.1,200\n")).watts == pytest.approx(
        [0.5, 1.02]
    )
    found = read_trace(write(tmp_path, "Timestamp (us),Power (mW),note\n0,100,a\n500000,300,b\n"))
    assert found.seconds == pytest.approx([0, 0.5])
    assert found.joules(0, 0.5) == pytest.approx(0.1)
    assert found.joules(0.125, 0.375) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected columns"),
        ("time_s,level_x\n0,1\n1,1\n", "expected columns"),
        ("time_s,current_a\n0,1\n1,1\n", "say the supply's voltage"),
        ("time_s,power_w\n0,1\n", "two readings or more"),
        ("time_s,power_w\n1,1\n0,1\n", "whose times rise"),
        ("time_s,power_w\n0,1\n1,many\n", "row 3 has no number"),
        ("time_s,power_w\n0,1\n1\n", "row 3 has no number"),
        ("time_s,power_w\n0,1\n1,nan\n", "not a finite number"),
    ],
)
def test_a_wrong_trace_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """Missing columns, times that run back and cells that are no numbers are named."""
    with pytest.raises(InputError, match=message):
        read_trace(write(tmp_path, text))


def test_outside_its_record_a_trace_knows_nothing(tmp_path: Path) -> None:
    """An interval that the meter did not record is refused, not extrapolated."""
    with pytest.raises(InputError, match=r"holds 0\.000 to 1\.000 s, not 0\.500 to 1\.500"):
        read_trace(write(tmp_path, "time_s,power_w\n0,1\n1,1\n")).joules(0.5, 1.5)


@given(st.text(max_size=200))
def test_any_file_is_a_trace_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever a meter's program wrote, the worst is an input error."""
    file = tmp_path_factory.getbasetemp() / "any.csv"
    file.write_text("time_s,power_w\n" + text, encoding="utf-8", errors="replace")
    try:
        read_trace(file)
    except InputError:
        return
