"""The predictor against costs that are known: real students, a made-up device; and what is measured next."""

import time
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import kendalltau

from edgekd.errors import InputError
from edgekd.search.active import initial_design, next_to_measure
from edgekd.search.predictor import CLIPPED, FEWEST, Prediction, Predictor
from edgekd.students import find_family
from edgekd.students.costs import FEATURES, LayerCost, features, layer_costs
from edgekd.students.space import Space

torch.set_num_threads(1)
Array = NDArray[np.float64]


def network_costs(values: dict[str, object], family: str) -> list[LayerCost]:
    shape = (1, int(str(values["input_size"])), int(str(values["input_size"])))
    with torch.device("meta"):
        return layer_costs(find_family(family).build(values, shape, 10), shape)


@cache
def students(family: str = "resnet") -> tuple[Array, Array]:
    """Features (162, D) of a coupled space, and milliseconds (162,) on a device that is no sum of features.

    A layer takes 2 us, and the longer of what its multiplications take, at a rate that grows with its channels, and what its
    elements take, which is dearer where they do not fit into a cache of 20,000.
    """
    space = Space(family=family, axes=find_family(family).elastic((1, 28, 28), coupled=True))
    costs = [network_costs(candidate.values, family) for candidate in space.candidates()]
    return np.stack([features(layers) for layers in costs]), np.array([sum(map(device_ms, layers)) for layers in costs])


def device_ms(layer: LayerCost) -> float:
    moved = layer.input_elements + layer.output_elements
    multiplying = layer.padded_macs * 1e-7 / (1 + layer.channels / 64)
    return 0.002 + max(multiplying, moved * (5e-7 if moved < 20_000 else 1e-6))


def noisy(values: Array, seed: int, spread: float = 0.02) -> Array:
    return values * np.exp(spread * np.random.default_rng(seed).standard_normal(len(values)))


def split(seed: int, count: int, of: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    order = np.random.default_rng(seed).permutation(of)
    return order[:count], order[count:]


@pytest.mark.parametrize("count", [10, 60])
def test_unseen_students_are_predicted(count: int) -> None:
    """Within 5 % in the median and in the right order, from 60 and, less well, from 10 measurements that scatter by 2 %."""
    x, truth = students()
    train, test = split(0, count, len(x))
    found = Predictor().fit(x[train], noisy(truth, 1)[train]).predict(x[test])
    error = np.median(np.abs(found.value / truth[test] - 1))
    assert error <= (0.02 if count == 60 else 0.05)
    assert kendalltau(found.value, truth[test]).statistic >= 0.9


@pytest.mark.parametrize("count", [8, 20, 60])
def test_intervals_hold_what_will_be_measured(count: int) -> None:
    """About 90 % of them, its noise included, over draws of students and noise; the mean of 5 draws scatters by some points."""
    x, truth = students()
    shares = []
    for seed in range(5):
        train, test = split(seed, count, len(x))
        measured = noisy(truth, 100 + seed)
        found = Predictor().fit(x[train], measured[train]).predict(x[test])
        shares.append(np.mean((found.low <= measured[test]) & (measured[test] <= found.high)))
        assert np.all((found.low <= found.value) & (found.value <= found.high))
    assert np.mean(shares) >= 0.84


def test_noise_widens_the_intervals() -> None:
    """Measurements that scatter four times as much give intervals at least twice as wide, and a smaller share narrower ones."""
    x, truth = students()
    train, test = split(0, 60, len(x))
    widths = {}
    for spread in (0.02, 0.08):
        found = Predictor().fit(x[train], noisy(truth, 1, spread)[train]).predict(x[test])
        widths[spread] = float(np.median(found.doubt))
    half = Predictor(coverage=0.5).fit(x[train], noisy(truth, 1)[train]).predict(x[test])
    assert widths[0.08] > 2 * widths[0.02]
    assert np.median(half.doubt) < 0.7 * widths[0.02]


def test_few_measurements_give_wide_but_finite_intervals() -> None:
    """With 8 students the interval is wider than with 60, and narrower than a factor of ten."""
    x, truth = students()
    wide, narrow = (
        np.median(Predictor().fit(x[train], noisy(truth, 1)[train]).predict(x).doubt)
        for train in (split(0, count, len(x))[0] for count in (8, 60))
    )
    assert narrow < wide < 0.7


def test_size_is_predicted_to_a_fraction_of_a_percent() -> None:
    """What is linear in weights, channels and layers, as the size of a file is, from 10 of them, with intervals that narrow."""
    x, _ = students()
    index = {name: i for i, name in enumerate(FEATURES)}
    layers = x[:, [index[f"{kind} count"] for kind in ("conv", "pointwise", "elementwise")]].sum(1)
    size = x[:, index["params"]] + 16 * x[:, index["channels"]] + 300 * layers + 4000
    train, test = split(0, 10, len(x))
    found = Predictor().fit(x[train], size[train]).predict(x[test])
    assert np.median(np.abs(found.value / size[test] - 1)) < 0.005
    assert np.median(found.high / found.low) < 1.03


def test_slow_processes_are_not_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    """With four of sixty measured a third too slow, unseen students are predicted better than where residuals are not clipped."""
    x, _ = students()
    truth = noisy(x[:, :20].sum(1) * 1e-6 + 0.05, 2, 0.005)
    errors = {}
    for clipped in (CLIPPED, 1e9):
        monkeypatch.setattr("edgekd.search.predictor.CLIPPED", clipped)
        errors[clipped] = np.mean([spoilt_error(x, truth, seed) for seed in range(5)])
    assert errors[CLIPPED] < 0.8 * errors[1e9]


def spoilt_error(x: Array, truth: Array, seed: int) -> float:
    """Mean relative error on unseen students where four of sixty were measured a third too slow."""
    train, test = split(seed, 60, len(x))
    slow = truth[train] * np.where(np.arange(60) < 4, 4 / 3, 1)
    found = Predictor().fit(x[train], slow).predict(x[test])
    return float(np.mean(np.abs(found.value / truth[test] - 1)))


def test_the_same_measurements_give_the_same_predictions() -> None:
    """Bit by bit: a run that is replayed must choose the same students."""
    x, truth = students()
    one, other = (Predictor().fit(x[:30], noisy(truth, 1)[:30]).predict(x) for _ in range(2))
    assert np.array_equal(one.value, other.value)
    assert np.array_equal(one.low, other.low)
    assert np.array_equal(one.high, other.high)


def test_a_layer_that_no_measured_student_has_is_no_failure() -> None:
    """A depthwise convolution where only plain ones were measured: a finite prediction; and students that are all alike."""
    x, truth = students()
    other, _ = students("mbconv")
    found = Predictor().fit(x[:20], truth[:20]).predict(other[:5])
    assert np.all(np.isfinite(found.high) & (found.low > 0))
    alike = Predictor().fit(np.repeat(x[:1], 9, axis=0), noisy(np.ones(9), 0)).predict(x[:1])
    assert alike.low[0] < 1 < alike.high[0]


def test_a_fit_takes_less_than_a_second() -> None:
    """With 60 students, in CPU time: it is made anew with every measurement."""
    x, truth = students()
    Predictor().fit(x[:60], noisy(truth, 1)[:60])
    start = time.process_time()
    Predictor().fit(x[:60], noisy(truth, 1)[:60])
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones((7, 3)), np.ones(7), f"7 students were measured, a prediction needs at least {FEWEST}"),
        (np.ones((9, 3)), np.ones(8), r"shape \(9, 3\) and values \(8,\)"),
        (np.ones((9, 3)), np.zeros(9), "above 0"),
        (-np.ones((9, 3)), np.ones(9), "not below 0"),
        (np.ones((9, 3)), np.full(9, np.nan), "finite"),
    ],
)
def test_what_cannot_be_fitted_is_an_input_error(x: Array, y: Array, message: str) -> None:
    """Too few, of other shapes, or not positive."""
    with pytest.raises(InputError, match=message):
        Predictor().fit(x, y)


def test_what_cannot_be_predicted_is_an_input_error() -> None:
    """Before a fit, for other features than those fitted, and for a coverage that is no share."""
    with pytest.raises(InputError, match="before it was fitted"):
        Predictor().predict(np.ones((1, 3)))
    with pytest.raises(InputError, match=r"expected \(m, 3\)"):
        Predictor().fit(np.ones((9, 3)), np.arange(1.0, 10)).predict(np.ones((1, 4)))
    with pytest.raises(InputError, match="coverage is 90"):
        Predictor(coverage=90)


def test_the_first_students_are_spread_over_the_space() -> None:
    """The cheapest and the dearest first, none twice, farther apart than drawn ones, and in an order that does not change."""
    x, truth = students()
    rows = initial_design(x, 12, seed=0)
    assert set(rows[:2]) == {int(np.argmin(truth)), int(np.argmax(truth))}
    assert len(set(rows)) == 12
    assert rows == initial_design(x, 12, seed=0)
    assert rows[:6] == initial_design(x, 6, seed=0)
    assert apart(x, rows) > np.median([apart(x, list(split(seed, 12, len(x))[0])) for seed in range(20)]) * 1.5


def apart(x: Array, rows: list[int]) -> float:
    """The least distance between two of them."""
    logs = np.log1p(x)
    places = ((logs - logs.mean(0)) / np.where(logs.std(0) > 0, logs.std(0), np.inf))[rows]
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    return float(distances[~np.eye(len(rows), dtype=bool)].min())


def test_a_design_of_a_small_or_uniform_space_is_all_of_it() -> None:
    """More than there are gives each once, students alike too; ties go by the seed."""
    assert sorted(initial_design(np.ones((4, 3)), 9, seed=0)) == [0, 1, 2, 3]
    assert initial_design(np.ones((1, 3)), 2, seed=0) == [0]
    assert {initial_design(np.ones((4, 3)), 1, seed=seed)[0] for seed in range(20)} == {0, 1, 2, 3}
    with pytest.raises(InputError, match="count of at least 1"):
        initial_design(np.ones((4, 3)), 0, seed=0)


def prediction(values: list[float], relative: list[float]) -> Prediction:
    value, reach = np.array(values), 1 + np.array(relative)
    return Prediction(value=value, low=value / reach, high=value * reach)


def test_the_next_is_where_the_limit_leaves_most_doubt() -> None:
    """By hand: of those equally sure the one at the limit, of those at the limit the least sure, never one that was measured."""
    equal, none = np.zeros(3), np.zeros(3, bool)
    assert next_to_measure(prediction([1, 2, 3], [0.1, 0.1, 0.1]), equal, 2.1, none) == 1
    assert next_to_measure(prediction([2, 2, 2], [0.1, 0.3, 0.2]), equal, 2.0, none) == 1
    assert next_to_measure(prediction([2, 2, 2], [0.1, 0.3, 0.2]), equal, 2.0, np.array([False, True, False])) == 2
    assert next_to_measure(prediction([2, 2, 2], [0.1, 0.1, 0.1]), equal, 2.0, none) == 0


def test_the_next_is_one_that_would_be_chosen() -> None:
    """Of two at the limit, the more accurate; of two as accurate, the one at the limit."""
    none = np.zeros(3, bool)
    assert next_to_measure(prediction([2, 2, 2], [0.1, 0.1, 0.1]), np.array([0.8, 0.9, 0.7]), 2.0, none) == 1
    assert next_to_measure(prediction([1, 2, 2], [0.1, 0.1, 0.1]), np.array([0.9, 0.9, 0.1]), 2.0, none) == 1


def test_without_a_limit_the_next_is_the_least_certain() -> None:
    """Relative to its value, whatever it is worth."""
    found = prediction([1, 100, 10], [0.2, 0.1, 0.5])
    assert next_to_measure(found, np.array([0.9, 0.5, 0.1]), None, np.zeros(3, bool)) == 2


def test_the_next_of_none_is_an_input_error() -> None:
    """Where all are measured, for a limit that is none, and for a worth of others."""
    found = prediction([1, 2], [0.1, 0.1])
    for worth, limit, measured, message in (
        (np.zeros(2), 1.0, np.ones(2, bool), "no next one"),
        (np.zeros(2), 0.0, np.zeros(2, bool), "limit is 0"),
        (np.zeros(3), 1.0, np.zeros(2, bool), "2 predictions, 3 worths"),
    ):
        with pytest.raises(InputError, match=message):
            next_to_measure(found, worth, limit, measured)


def test_measuring_at_the_limit_tells_sooner_what_fits() -> None:
    """After a design of ten, twelve chosen by the straddle tell what is within a limit no worse than twelve drawn at random."""
    x, truth = students()
    measured, limit = noisy(truth, 3), float(np.median(truth))
    first = initial_design(x, 10, seed=0)
    chosen = list(first)
    for _ in range(12):
        found = Predictor().fit(x[chosen], measured[chosen]).predict(x)
        chosen.append(next_to_measure(found, np.zeros(len(x)), limit, np.isin(np.arange(len(x)), chosen)))
    drawn = [first + [int(row) for row in split(seed, len(x), len(x))[0] if row not in first][:12] for seed in range(5)]
    assert wrong(x, measured, truth, chosen, limit) <= np.mean([wrong(x, measured, truth, rows, limit) for rows in drawn])


def wrong(x: Array, measured: Array, truth: Array, rows: list[int], limit: float) -> int:
    """Students that are put on the wrong side: the measured by their measurement, the others by prediction."""
    value = Predictor().fit(x[rows], measured[rows]).predict(x).value
    value[rows] = measured[rows]
    return int(np.sum((value <= limit) != (truth <= limit)))
