"""An external meter's clock is found by a pattern of load; energy above idle has an interval that holds the truth."""

import time
from pathlib import Path

import numpy as np
import pytest

from edgekd.bench.meters.external import PATTERN_S, External
from edgekd.bench.meters.idle import Idle, above_idle, idle_power
from edgekd.bench.meters.meter import Reading
from edgekd.bench.meters.trace import Trace, clock_offset
from edgekd.device import probe
from edgekd.errors import DeviceError, InputError
from edgekd.types import Provenance


def edges_of(begin: float, pattern: tuple[float, ...] = PATTERN_S) -> list[tuple[float, bool]]:
    moments = begin + np.concatenate(([0.0], np.cumsum(pattern)))
    return [(float(moment), number % 2 == 0) for number, moment in enumerate(moments)]


def record(
    edges: list[tuple[float, bool]], offset: float, *, rate: float = 100, noise: float = 0.0, seconds: float = 20
) -> Trace:
    """What a meter whose clock is ahead by `offset` records: 2 W idle, 5 W under load, from 5 s before the pattern."""
    times = np.arange(0, seconds, 1 / rate) + edges[0][0] + offset - 5
    moments, states = np.array([edge[0] for edge in edges]), np.array([float(edge[1]) for edge in edges])
    place = np.searchsorted(moments, times - offset, side="right") - 1
    watts = 2 + 3 * np.where(place >= 0, states[np.maximum(place, 0)], 0.0)
    return Trace(times, watts + np.random.default_rng(0).normal(0, noise, len(times)))


@pytest.mark.parametrize("offset", [-3.217, 0.0, 1234.5678])
@pytest.mark.parametrize(("rate", "noise"), [(1000, 0.0), (30, 0.0), (100, 1.0)])
def test_the_clock_is_found(offset: float, rate: float, noise: float) -> None:
    """To within a reading of the meter, whatever its offset, slow or noisy."""
    edges = edges_of(1_700_000_000.0)
    found = clock_offset(record(edges, offset, rate=rate, noise=noise), edges)
    assert found == pytest.approx(offset, abs=1 / rate + 0.004)


def test_a_record_without_the_pattern_is_refused() -> None:
    """Noise, a constant load, and a record too short, are no place to align by; nor is a pattern of one step."""
    edges, rng = edges_of(100.0), np.random.default_rng(1)
    times = np.arange(0, 60, 0.01)
    for watts in (rng.normal(2, 1, len(times)), np.full(len(times), 3.0)):
        with pytest.raises(InputError, match="pattern of load is not in"):
            clock_offset(Trace(times, watts), edges)
    with pytest.raises(InputError, match="shorter than the pattern"):
        clock_offset(Trace(times[:50], watts[:50]), edges)
    with pytest.raises(InputError, match="too few"):
        clock_offset(Trace(times, watts), edges[:2])


def test_energy_of_an_external_meter(tmp_path: Path) -> None:
    """Aligned by a pattern that was really made, a meter 7.3 s ahead gives the energy of the interval within 2 %."""
    ahead, file, busy = 7.3, tmp_path / "meter.csv", []

    def load(seconds: float) -> None:
        busy.append((time.time(), time.time() + seconds))
        time.sleep(seconds)

    meter = External(file, wait_s=0.2)
    assert "is not there" in str(meter.unavailable(probe()))
    file.write_text("time_s,power_w\n")
    assert "not aligned" in str(meter.unavailable(probe()))
    begin = time.time()
    meter.synchronise(load, tuple(seconds / 4 for seconds in PATTERN_S))
    assert meter.unavailable(probe()) is None
    meter.start()
    load(0.3)
    end = time.time()
    times = np.arange(begin - 0.5, end + 5.0, 0.001)
    watts = [2.0 + 3.0 * any(low <= moment < high for low, high in busy) for moment in times]
    file.write_text("time_s,power_w\n" + "".join(f"{t + ahead:.6f},{w}\n" for t, w in zip(times, watts, strict=True)))
    found = meter.stop()
    assert found.joules == pytest.approx(2.0 * found.seconds + 3.0 * (busy[-1][1] - busy[-1][0]), rel=0.02)


def test_a_meter_that_never_wrote_its_end_is_an_error(tmp_path: Path) -> None:
    """The record is waited for, and not for ever; the message says what it holds."""
    file = tmp_path / "meter.csv"
    file.write_text("time_s,power_w\n0,1\n1,1\n")
    meter = External(file, offset_s=0.0, wait_s=0.05)
    meter.start()
    time.sleep(0.01)
    with pytest.raises(DeviceError, match=r"external meter: .*holds 0\.000 to 1\.000 s"):
        meter.stop()


def test_energy_above_idle_with_its_interval() -> None:
    """Runs of 100 more queries at 7 W on a machine that idles at 2 W: 50 mJ each, plus or minus what is not known."""
    short, long = Reading(joules=4.0, seconds=1.0), Reading(joules=11.0, seconds=2.0)
    exact = above_idle([(short, long)] * 3, 100, Idle(watts=2.0, half_width_w=0.0))
    assert (exact.value, exact.low, exact.high) == pytest.approx((50.0, 50.0, 50.0))
    assert above_idle([(short, long)] * 3, 100, Idle(watts=2.0, half_width_w=0.1)).high == pytest.approx(51.0)
    assert above_idle([(short, long)] * 3, 100, Idle(watts=2.0, half_width_w=0.0), step_j=0.5).low == pytest.approx(40.0)
    for wrong in ([], [(short, long)]):
        with pytest.raises(InputError, match="needs a pair"):
            above_idle(wrong, 0, Idle(watts=2.0, half_width_w=0.0))


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Over 1,000 simulated measurements of five noisy pairs the 95 % interval holds the true energy in 93 to 97 %."""
    rng, inside = np.random.default_rng(0), 0
    for _ in range(1000):
        pairs = [
            (
                Reading(joules=4 + rng.normal(0, 0.1), seconds=1.0),
                Reading(joules=11 + rng.normal(0, 0.1), seconds=2.0),
            )
            for _ in range(5)
        ]
        found = above_idle(pairs, 100, Idle(watts=2.0, half_width_w=0.0))
        inside += found.low <= 50.0 <= found.high
    assert 930 <= inside <= 970


class Ramp:
    """A meter of a machine that idles at one power after the other."""

    name = "ramp"
    resolution_j, least_s, provenance = 0.0, 0.0, Provenance.MEASURED

    def __init__(self, *watts: float) -> None:
        self.watts, self.begun = list(watts), 0.0

    def unavailable(self, device: object) -> str | None:
        return None

    def start(self) -> None:
        self.begun = time.perf_counter()

    def stop(self) -> Reading:
        seconds = time.perf_counter() - self.begun
        return Reading(joules=self.watts.pop(0) * seconds, seconds=seconds)


def test_idle_power_has_an_interval() -> None:
    """A steady machine's is narrow, a restless one's is wide; one part tells none."""
    assert idle_power(Ramp(2, 2, 2, 2, 2), 0.05).half_width_w < 0.1
    restless = idle_power(Ramp(1, 3, 1, 3, 2), 0.05)
    assert restless.watts == pytest.approx(2.0, rel=0.02)
    assert restless.half_width_w == pytest.approx(1.24, rel=0.05)
    with pytest.raises(InputError, match="2 or more"):
        idle_power(Ramp(1), 0.01, parts=1)
