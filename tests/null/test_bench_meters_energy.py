"""Each sampler against a simulated device whose energy is known: within 2 %, wrap-around included."""

import math
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from edgekd.bench.files import Here, There
from edgekd.bench.meters import choose, find_meter, polling, rapl
from edgekd.bench.meters.battery import AndroidBattery
from edgekd.bench.meters.hwmon import Hwmon
from edgekd.bench.meters.meter import Meter
from edgekd.bench.meters.odpm import Odpm
from edgekd.bench.meters.pmic import Pmic
from edgekd.bench.meters.powermetrics import Powermetrics
from edgekd.bench.meters.rapl import Rapl
from edgekd.bench.transports import Completed
from edgekd.device import Device, probe
from edgekd.errors import DeviceError

LOCAL = probe()
PHONE = Device(name="pixel-6", os="android", arch="aarch64")
BOARD = Device(name="board", os="linux", arch="aarch64")
MEAN_W, SWING_W, PERIOD_S = 6.0, 3.0, 0.4
SECONDS = 0.7


def power(moment: float) -> float:
    """The simulated load in W: it swings between 3 and 9."""
    return MEAN_W + SWING_W * math.sin(2 * math.pi * moment / PERIOD_S)


def energy(moment: float) -> float:
    """Its integral from 0, in J."""
    return MEAN_W * moment - SWING_W * PERIOD_S / (2 * math.pi) * (math.cos(2 * math.pi * moment / PERIOD_S) - 1)


class Simulated(Here):
    """A copy of /sys whose files are written anew, from the clock, before each reading: `at(seconds)` gives path → text.

    `moments` are those of the sensors' own readings: the interval that a meter saw runs from the first to the last.
    """

    def __init__(self, root: Path, at: Callable[[float], dict[str, str]]) -> None:
        super().__init__(root)
        self.root, self.at, self._begin, self._lock = root, at, time.perf_counter(), threading.Lock()
        self._there: dict[str, str] = {}
        self.moments: list[float] = []
        self._write()

    def _write(self) -> None:
        now = time.perf_counter() - self._begin
        self.moments.append(now)
        for path, text in self.at(now).items():
            place = self.root / path.lstrip("/")
            if self._there.get(path) != text:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text + "\n")
            self._there[path] = text

    def read(self, path: str) -> str:
        with self._lock:
            if path.endswith(("intel-rapl:0/energy_uj", "device0/energy_value")):
                self._write()
            return super().read(path)

    def read_many(self, paths: Sequence[str]) -> list[str]:
        with self._lock:
            self._write()
            return [Here.read(self, path) for path in paths]


def measured(meter: Meter, simulated: Simulated, seconds: float = SECONDS) -> tuple[float, float]:
    """What the meter says, and the energy that the load really took between its first and its last reading."""
    simulated.moments.clear()
    meter.start()
    time.sleep(seconds)
    found = meter.stop().joules
    return found, energy(simulated.moments[-1]) - energy(simulated.moments[0])


def rapl_tree(limit_j: float) -> Callable[[float], dict[str, str]]:
    """Two sockets, three and one quarter of the load, with the domains that overlap them; counters that wrap at `limit_j`."""

    def at(seconds: float) -> dict[str, str]:
        found = {}
        shares = {
            "intel-rapl:0": 0.75,
            "intel-rapl:1": 0.25,
            "intel-rapl:0:0": 0.6,
            "intel-rapl:2": 1.3,
            "intel-rapl-mmio:0": 0.75,
        }
        names = ("package-0", "package-1", "core", "psys", "package-0")
        for (folder, share), name in zip(shares.items(), names, strict=True):
            place = f"{rapl.TREE}/{folder}"
            limit = round(limit_j * 1e6)
            count = round(share * energy(seconds) * 1e6) % limit
            found |= {f"{place}/name": name, f"{place}/max_energy_range_uj": str(limit), f"{place}/energy_uj": str(count)}
        return found

    return at


@pytest.mark.parametrize("limit_j", [262_143.3, 1.0], ids=["plain", "wraps several times"])
def test_rapl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit_j: float) -> None:
    """Both sockets, and nothing twice; a counter that goes round several times in one interval is followed."""
    monkeypatch.setattr(rapl, "POLL_S", 0.05)
    simulated = Simulated(tmp_path, rapl_tree(limit_j))
    meter = Rapl(files=simulated)
    assert meter.unavailable(LOCAL) is None
    found, true = measured(meter, simulated)
    assert true > 2 * min(limit_j, 1)
    assert found == pytest.approx(true, rel=0.02)


def ina_tree(labels: Sequence[str], shares: Sequence[float]) -> Callable[[float], dict[str, str]]:
    """An INA3221 at 5 V (its current in mA, as the driver gives it), its sum channel, and a sensor of something else."""

    def at(seconds: float) -> dict[str, str]:
        place = "/sys/class/hwmon/hwmon3"
        found = {
            f"{place}/name": "ina3221",
            "/sys/class/hwmon/hwmon0/name": "nvme",
            "/sys/class/hwmon/hwmon0/power1_input": "9000000",
        }
        for number, (label, share) in enumerate(zip(labels, shares, strict=True), 1):
            found |= {f"{place}/in{number}_label": label, f"{place}/in{number}_input": "5000"}
            found[f"{place}/curr{number}_input"] = str(round(share * power(seconds) / 5 * 1000))
        return found | {f"{place}/in7_input": "5000", f"{place}/curr4_input": "9999"}

    return at


@pytest.mark.parametrize(
    ("labels", "shares"),
    [
        (("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"), (1.0, 0.5, 0.2)),
        (("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"), (0.5, 0.3, 0.2)),
    ],
    ids=["orin nano", "agx orin"],
)
def test_ina3221(tmp_path: Path, labels: Sequence[str], shares: Sequence[float]) -> None:
    """Of an Orin Nano the rail that holds the others; of an AGX Orin, which has none such, all of them."""
    simulated = Simulated(tmp_path, ina_tree(labels, shares))
    meter = Hwmon(simulated, interval_s=0.01)
    assert meter.unavailable(LOCAL) is None
    found, true = measured(meter, simulated)
    assert found == pytest.approx(true, rel=0.02)


def test_a_sensor_of_power_in_microwatts(tmp_path: Path) -> None:
    """An INA226 gives watts itself: its volts and amperes are not multiplied and added as well."""
    place = "/sys/class/hwmon/hwmon1"

    def at(seconds: float) -> dict[str, str]:
        microwatts = str(round(power(seconds) * 1e6))
        return {
            f"{place}/name": "ina226",
            f"{place}/power1_input": microwatts,
            f"{place}/in1_input": "5",
            f"{place}/curr1_input": "9",
        }

    simulated = Simulated(tmp_path, at)
    found, true = measured(Hwmon(simulated, interval_s=0.01), simulated)
    assert found == pytest.approx(true, rel=0.02)


def test_odpm(tmp_path: Path) -> None:
    """Compute rails of both monitors are added; radio, display, and the regulator that a rail feeds are not."""
    shares = [
        ("S4M_VDD_CPUCL0", "CPU", 0.6),
        ("S2M_VDD_TPU", "Tensor", 0.25),
        ("VSYS_PWR_MODEM", "Cellular", 3.0),
        ("L2S_X", "SoC", 1),
    ]

    def at(seconds: float) -> dict[str, str]:
        found = {"/sys/bus/iio/devices/iio:device7/name": "cros-ec-accel"}
        for number, rails in enumerate((shares, [("S2S_VDD_G3D", "GPU", 0.15)])):
            place = f"/sys/bus/iio/devices/iio:device{number}"
            lines = [f"CH{i}(T=5)[{name}], {round(share * energy(seconds) * 1e6)}" for i, (name, _, share) in enumerate(rails)]
            found |= {f"{place}/name": f"s2mpg1{number}-odpm", f"{place}/energy_value": "\n".join(["t=5", *lines])}
            found[f"{place}/enabled_rails"] = "\n".join(f"CH{i}[{name}]:{kind}" for i, (name, kind, _) in enumerate(rails))
        return found

    simulated = Simulated(tmp_path, at)
    simulated.here = False
    meter = Odpm(simulated)
    assert meter.unavailable(PHONE) is None
    found, true = measured(meter, simulated, 0.2)
    assert found == pytest.approx(true, rel=0.02)


class Scripted:
    """A transport to a simulated device: `answers` gives what each program says at a moment."""

    def __init__(self, answers: Callable[[Sequence[str], float], str | None]) -> None:
        self.answers, self.begin = answers, time.perf_counter()
        self.moments: list[float] = []

    def run(self, argv: Sequence[str], timeout_s: float) -> Completed:
        self.moments.append(time.perf_counter() - self.begin)
        text = self.answers(argv, self.moments[-1])
        return Completed(rc=1, stdout="", stderr="not found") if text is None else Completed(rc=0, stdout=text, stderr="")


def test_pmic_through_a_transport() -> None:
    """A Pi 5 behind a transport: its two rails share the load."""

    def answers(argv: Sequence[str], now: float) -> str | None:
        amperes = power(now) / 2
        lines = [f" VDD_CORE_A current(7)={amperes / 0.8:.8f}A", f" 3V3_SYS_A current(1)={amperes / 3.3:.8f}A"]
        return "\n".join(
            [*lines, " VDD_CORE_V volt(15)=0.80000000V", " 3V3_SYS_V volt(9)=3.30000000V", " EXT5V_V volt(24)=5.10000000V"]
        )

    device = Scripted(answers)
    meter = Pmic(There(device), interval_s=0.01)
    meter.start()
    time.sleep(SECONDS)
    found = meter.stop().joules
    assert found == pytest.approx(energy(device.moments[-1]) - energy(device.moments[0]), rel=0.02)


def test_powermetrics_through_a_transport() -> None:
    """A Mac's windows, with gaps between them: their mean power over the time that passed."""

    def answers(argv: Sequence[str], now: float) -> str | None:
        assert argv[:3] == ["sudo", "-n", "powermetrics"]
        time.sleep(0.02)
        watts = MEAN_W * 1000
        return f"<plist><dict><key>elapsed_ns</key><integer>20000000</integer><key>processor</key><dict><key>combined_power</key><real>{watts}</real></dict></dict></plist>"  # noqa: E501

    mac = Device(name="mac", os="macos", arch="aarch64")
    device = Scripted(answers)
    meter = Powermetrics(There(device))
    assert meter.unavailable(mac) is None
    begin = time.perf_counter()
    meter.start()
    time.sleep(0.2)
    elapsed = time.perf_counter() - begin
    assert meter.stop().joules == pytest.approx(MEAN_W * elapsed, rel=0.02)


def test_battery_counts_charge() -> None:
    """3 mAh at 3.9 V are 42.1 J; on a cable nothing is said at all."""
    counters = iter([3_245_000, 3_245_000, 3_242_000])
    state = "Current Battery Service state:\n  USB powered: false\n  status: 3\n  voltage: 3900\n  Charge counter: {}\n"
    meter = AndroidBattery(There(Scripted(lambda *_: state.format(next(counters)))))
    assert meter.unavailable(PHONE) is None
    meter.start()
    assert meter.stop().joules == pytest.approx(0.003 * 3600 * 3.9)
    plugged = AndroidBattery(There(Scripted(lambda *_: state.format(9).replace("USB powered: false", "USB powered: true"))))
    assert "unplug the device" in str(plugged.unavailable(PHONE))
    with pytest.raises(DeviceError, match="being charged"):
        plugged.start()


def test_no_sensor_has_a_reason_for_each_device(tmp_path: Path) -> None:
    """Every kind of device without a sensor is unavailable, and says which sensors were looked for."""
    nothing = There(Scripted(lambda *_: None))
    kinds = [BOARD, PHONE, Device(name="mac", os="macos", arch="aarch64"), Device(name="pc", os="linux", arch="x86_64")]
    reasons = [find_meter(device, nothing) for device in kinds]
    words = ("pmic_read_adc does not answer", "power monitor", "powermetrics does not answer", "no RAPL package domain")
    assert [word in str(reason) for word, reason in zip(words, reasons, strict=True)] == [True] * 4
    assert find_meter(Device(name="iphone-15", os="ios", arch="aarch64"), nothing) == "no energy meter for ios"
    assert choose.meters_of(PHONE, nothing)[0].name == "odpm"


def test_this_machine_s_sensor_is_nobody_else_s(tmp_path: Path) -> None:
    """What is read here says nothing about a board elsewhere."""
    simulated = Simulated(tmp_path, ina_tree(("VDD_IN",), (1.0,)))
    assert find_meter(BOARD, simulated) == "no energy meter for board; no energy meter for board"


def test_a_sensor_that_goes_away_is_an_error(tmp_path: Path) -> None:
    """A rail that vanishes in mid-run loses the measurement, by name, and not the run's place in time."""
    simulated = Simulated(tmp_path, ina_tree(("VDD_IN",), (1.0,)))
    meter = Hwmon(simulated, interval_s=0.01)
    meter.start()
    simulated.at = lambda _: {}
    (tmp_path / "sys/class/hwmon/hwmon3/in1_input").unlink()
    time.sleep(0.05)
    with pytest.raises(DeviceError, match="energy sensor was lost"):
        meter.stop()


def test_too_few_readings_are_no_energy() -> None:
    """Two readings say nothing about what lay between them."""
    integral = polling.PowerIntegral(lambda: 5.0, 60)
    with pytest.raises(DeviceError, match="gave 2 readings"):
        integral.stop()


def test_a_counter_that_runs_backwards_is_an_error() -> None:
    """A counter without a limit only falls when the device was restarted."""
    values = iter([100, 50])
    total = polling.CounterTotal(lambda: {"CPU": (next(values), None)}, 1.0, 60)
    with pytest.raises(DeviceError, match="CPU ran backwards"):
        total.stop()


def test_a_meter_that_was_not_started_says_so() -> None:
    """Every meter refuses to stop what it did not start."""
    for meter in (Rapl(), Hwmon(), Pmic(), Odpm(), AndroidBattery(), Powermetrics()):
        with pytest.raises(DeviceError, match="before it was started"):
            meter.stop()
