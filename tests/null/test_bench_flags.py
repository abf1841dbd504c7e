"""What makes latencies doubtful is flagged, and quiet ones are not: on seeded streams of several families of noise."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter

from edgekd.bench.conditions import instability
from edgekd.bench.doubts import Disagreement, LatencyDrift, SlowedDown, TwoModes
from edgekd.bench.modes import two_modes
from edgekd.bench.steady import judge

Stream: TypeAlias = NDArray[np.float64]
Shape: TypeAlias = Callable[[np.random.Generator, int, int], Stream]
"""(generator, process, queries) → factor of each query."""


def skewed(rng: np.random.Generator, spread: float, n: int) -> Stream:
    return rng.lognormal(0, spread, n)


def long_tailed(rng: np.random.Generator, spread: float, n: int) -> Stream:
    """A floor that nothing is faster than, with gamma-distributed waits on it."""
    return 1 + spread * rng.gamma(2, 1, n)


def one_sided(rng: np.random.Generator, spread: float, n: int) -> Stream:
    return 1 + spread * rng.exponential(1, n)


def remembering(rng: np.random.Generator, spread: float, n: int) -> Stream:
    """Autocorrelated: first order, 0.9, as where caches or a neighbour's load come and go."""
    steps = rng.normal(0, spread * np.sqrt(1 - 0.9**2), n)
    steps[0] = rng.normal(0, spread)
    return np.asarray(np.exp(lfilter([1], [1, -0.9], steps) + rng.normal(0, 0.01, n)), dtype=np.float64)


def ticking(rng: np.random.Generator, spread: float, n: int) -> Stream:
    """Every seventh query is interrupted by a timer."""
    values = rng.lognormal(0, spread / 2, n)
    values[rng.integers(0, 7) :: 7] *= 1.04
    return values


def bursting(rng: np.random.Generator, spread: float, n: int) -> Stream:
    """Now and then six slow queries in a row."""
    values = rng.lognormal(0, spread / 2, n)
    for start in np.flatnonzero(rng.random(n) < 0.003):
        values[start : start + 6] *= rng.uniform(1.2, 2)
    return values


def coarse(rng: np.random.Generator, spread: float, n: int) -> Stream:
    """Read from a clock with steps of 1.7 % of a query."""
    return np.round(rng.lognormal(0, spread, n) * 60) / 60


FAMILIES = [skewed, long_tailed, one_sided, remembering, ticking, bursting, coarse]
family = pytest.mark.parametrize("noise", FAMILIES, ids=lambda f: f.__name__)


def plain(rng: np.random.Generator, process: int, n: int) -> Stream:
    return np.ones(n)


def streams(noise: Callable[..., Stream], seed: int, shape: Shape = plain, processes: int = 3, n: int = 341) -> list[list[float]]:
    """Latencies of a measurement: noise of 0.5 to 3 %, rare outliers, processes up to 2 % apart."""
    rng = np.random.default_rng(seed)
    spread, found = rng.uniform(0.005, 0.03), []
    for process in range(processes):
        values = noise(rng, spread, n) * shape(rng, process, n) * (1 + rng.uniform(-0.02, 0.02))
        found.append((values * np.where(rng.random(n) < 0.008, rng.uniform(1.3, 6, n), 1)).tolist())
    return found


@family
def test_no_flag_in_fifty_quiet_runs(noise: Callable[..., Stream]) -> None:
    """Neither of the full procedure's 1,024 queries in three processes, nor of screening's 200 in one."""
    assert [instability(streams(noise, seed)) for seed in range(50)] == [[]] * 50
    assert [instability(streams(noise, seed, processes=1, n=200)) for seed in range(50)] == [[]] * 50


def rising(rng: np.random.Generator, process: int, n: int) -> Stream:
    """Each process slows down by 8 %, bit by bit."""
    return np.linspace(1, 1.08, n)


def warming(rng: np.random.Generator, process: int, n: int) -> Stream:
    """Each process begins 30 % slower, and needs a quarter of its time."""
    return 1 + 0.3 * np.exp(-np.arange(n) / (n / 8))


def throttling(rng: np.random.Generator, process: int, n: int) -> Stream:
    """10 % slower from the middle of the second process on."""
    return np.where(np.arange(n) + process * n < 1.5 * n, 1.0, 1.1)


def in_two_halves(rng: np.random.Generator, process: int, n: int) -> Stream:
    """Every second query, by chance, is 30 % slower."""
    return np.where(rng.random(n) < 0.5, 1.3, 1.0)


def rare_kind(rng: np.random.Generator, process: int, n: int) -> Stream:
    """One query in ten is 40 % slower."""
    return np.where(rng.random(n) < 0.1, 1.4, 1.0)


@family
@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        (rising, (LatencyDrift, SlowedDown)),
        (warming, (LatencyDrift,)),
        (throttling, (SlowedDown,)),
        (in_two_halves, (TwoModes,)),
        (rare_kind, (TwoModes,)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_wrong_is_flagged(noise: Callable[..., Stream], shape: Shape, kind: tuple[type, ...]) -> None:
    """In nine of ten measurements of 2,001 queries or more, in whatever noise, by its name."""
    found = [instability(streams(noise, seed, shape, n=667)) for seed in range(10)]
    assert sum(any(isinstance(doubt, kind) for doubt in doubts) for doubts in found) >= 9


def test_a_drift_has_its_size_and_a_slowdown_its_place() -> None:
    """What is told is what was put in."""
    (drift,) = instability(streams(skewed, 3, lambda rng, process, n: np.linspace(1, 1.08, n), n=667))
    assert isinstance(drift, LatencyDrift)
    assert drift.change == pytest.approx(0.08, abs=0.02)
    slower = [doubt for doubt in instability(streams(skewed, 3, throttling, n=667)) if isinstance(doubt, SlowedDown)]
    assert slower[0].change == pytest.approx(0.1, abs=0.02)
    assert slower[0].after == pytest.approx(0.5, abs=0.03)


def test_a_slow_process_is_no_slowdown() -> None:
    """A process that is 15 % slower than the others from its start on disagrees with them: it did not slow down."""
    found = instability(streams(skewed, 1, lambda rng, process, n: np.full(n, 1.15 if process == 1 else 1.0)))
    assert [type(doubt) for doubt in found] == [Disagreement]


def test_a_slowdown_that_ends_is_none() -> None:
    """Slower queries whose process, and the next one, are as fast as ever afterwards, are a passing disturbance."""

    def passing(rng: np.random.Generator, process: int, n: int) -> Stream:
        return np.where((process == 1) & (np.arange(n) > 0.6 * n), 1.1, 1.0)

    assert [SlowedDown in map(type, instability(streams(skewed, seed, passing))) for seed in range(5)] == [False] * 5


@pytest.mark.parametrize(("memory", "most"), [(0.0, 5), (0.5, 24)], ids=["independent", "remembering"])
def test_a_steady_series_is_called_unsteady_as_seldom_as_is_stated(memory: float, most: int) -> None:
    """With no least change, one steady series in 500 is not flat; four in 100 where neighbours correlate by 0.5."""
    rng, alarms = np.random.default_rng(5), 0
    for _ in range(600):
        levels: Sequence[float] = (10 + lfilter([1], [1, -memory], rng.normal(0, 1, 40))[10:]).tolist()
        alarms += judge(levels, 0.0)["shape"] != "flat"
    assert alarms <= most


def test_one_broad_kind_is_said_to_be_two_as_seldom_as_is_stated() -> None:
    """Of 500 uniform streams, the flattest that has one mode, at most two."""
    rng = np.random.default_rng(6)
    assert sum(two_modes([rng.uniform(1, 1.6, 400).tolist()]) is not None for _ in range(500)) <= 2
