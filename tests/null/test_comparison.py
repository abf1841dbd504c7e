"""A gain is called one only where seeds and test samples show it; simulated students say how often that goes wrong."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgekd.distill.comparison import ComparisonRow, Gain, compare, comparison_table
from edgekd.errors import InputError

Answers = NDArray[np.bool_]


def students(
    rng: np.random.Generator, gain: float, seed_deviation: float, own_samples: float, seeds: int = 3, samples: int = 10_000
) -> tuple[Answers, Answers]:
    """Two variants of students of about 88 % accuracy; `gain` and the true deviation between seeds are in points.

    A sample is right with the probability logistic(difficulty + the variant's own taste for it + the seed's level): two
    seeds of one variant differ on about 8 % of the samples, as small networks do.
    """
    difficulty = rng.normal(5.5, 4, samples)
    slope = 0.042  # accuracy per unit of logit: the mean of p (1 - p) over these samples
    found = []
    for points in (0.0, gain):
        taste = rng.normal(0, own_samples, samples)
        level = (points + seed_deviation * rng.standard_normal(seeds)) / 100 / slope
        right = 1 / (1 + np.exp(-(difficulty + taste + level[:, None])))
        found.append(rng.random((seeds, samples)) < right)
    return found[0], found[1]


def trials(number: int, **numbers: float) -> list[Gain]:
    rng = np.random.default_rng(20)
    return [compare(*students(rng, **numbers), seed=trial) for trial in range(number)]  # type: ignore[arg-type]


def test_a_gain_of_zero_is_rarely_called_one() -> None:
    """With three seeds at most 5 % of comparisons of equals end in `helps` or `hurts`, wherever the noise comes from.

    In each of four kinds of noise, no more than chance allows at 5 %: Binomial(100, 0.05) is above 11 in 0.4 % of cases.
    """
    false = [
        sum(gain.verdict != "no gain" for gain in trials(100, gain=0.0, seed_deviation=level, own_samples=taste))
        for level in (0.0, 0.3)
        for taste in (0.0, 2.0)
    ]
    assert sum(false) <= 20
    assert max(false) <= 11


def test_the_t_interval_alone_would_call_it_too_often() -> None:
    """It knows nothing of the test samples: where variants differ in which they get right, it is wrong twice as often as said."""
    found = trials(100, gain=0.0, seed_deviation=0.0, own_samples=3.0)
    assert sum(gain.t_interval_points[0] > 0 or gain.t_interval_points[1] < 0 for gain in found) > 11
    assert sum(gain.verdict != "no gain" for gain in found) <= 5


@pytest.mark.parametrize(("points", "verdict"), [(1.5, "helps"), (-1.5, "hurts")])
def test_a_large_gain_or_loss_is_seen(points: float, verdict: str) -> None:
    """Three seeds suffice for 1.5 points in four of five comparisons, and the sign is never wrong."""
    found = [gain.verdict for gain in trials(60, gain=points, seed_deviation=0.1, own_samples=1.0)]
    assert found.count(verdict) >= 48
    assert set(found) <= {verdict, "no gain"}


def test_more_seeds_see_a_smaller_gain() -> None:
    """Half a point that three seeds seldom show, ten show mostly."""
    few, many = (trials(60, gain=0.5, seed_deviation=0.1, own_samples=1.0, seeds=seeds) for seeds in (3, 10))
    assert sum(gain.verdict == "helps" for gain in few) < 30
    assert sum(gain.verdict == "helps" for gain in many) > 45


def test_figures_are_those_of_the_answers() -> None:
    """Accuracy, gain, spread over seeds and t-interval, by hand: gains of 10, 20 and 30 points of 10 samples."""
    baseline = np.arange(10) < np.array([[5], [5], [5]])
    variant = np.arange(10) < np.array([[6], [7], [8]])
    gain = compare(baseline, variant)
    assert (gain.seeds, gain.samples) == (3, 10)
    assert (gain.baseline_accuracy, gain.accuracy) == pytest.approx((0.5, 0.7))
    assert gain.seed_gains_points == pytest.approx((10, 20, 30))
    assert (gain.gain_points, gain.seed_spread_points) == pytest.approx((20, 10))
    assert gain.t_interval_points == pytest.approx((20 - 4.302653 * 10 / 3**0.5, 20 + 4.302653 * 10 / 3**0.5))
    assert gain.interval_points[0] < gain.t_interval_points[0] < gain.t_interval_points[1] < gain.interval_points[1]


@given(st.integers(3, 6), st.integers(2, 40), st.integers(0, 2**32 - 1))
def test_swapping_the_variants_turns_the_sign(seeds: int, samples: int, seed: int) -> None:
    """What A gains over B, B loses against A, to within the bootstrap's chance; intervals hold their gain and are finite."""
    rng = np.random.default_rng(seed)
    one, other = rng.random((2, seeds, samples)) < 0.7
    there, back = compare(one, other), compare(other, one)
    assert there.gain_points == pytest.approx(-back.gain_points)
    assert np.isfinite(there.interval_points).all()
    low, high = there.interval_points
    assert low <= there.gain_points + 1e-9
    assert there.gain_points <= high + 1e-9
    assert back.interval_points == pytest.approx((-high, -low), abs=0.08 * (high - low) + 1e-9)


def test_equal_answers_are_no_gain() -> None:
    """The same network twice: a gain of 0 with an interval of no width."""
    answers = np.random.default_rng(0).random((3, 100)) < 0.9
    gain = compare(answers, answers)
    assert gain.interval_points == (0, 0)
    assert gain.verdict == "no gain"


def test_seeds_that_agree_by_luck_are_not_believed() -> None:
    """Three equal gains from answers that scatter have a t-interval of no width; the verdict knows how they scatter."""
    baseline = np.zeros((3, 30), dtype=bool)
    variant = np.array([np.roll(np.arange(30) < 1, 10 * seed) for seed in range(3)])
    gain = compare(baseline, variant)
    assert gain.seed_spread_points == 0
    assert gain.t_interval_points[0] > 0
    assert gain.verdict == "no gain"


def test_the_same_answers_give_the_same_interval() -> None:
    """A report made again is the same report; lists of rows are as good as an array."""
    baseline, variant = students(np.random.default_rng(1), 0.5, 0.1, 1.0, samples=500)
    assert compare(baseline, variant) == compare(list(baseline), list(variant))


def test_a_higher_confidence_is_a_wider_interval() -> None:
    """For m variants against one baseline, 1 - 0.05 / m."""
    baseline, variant = students(np.random.default_rng(1), 0.5, 0.1, 1.0, samples=500)
    usual, wide = compare(baseline, variant), compare(baseline, variant, confidence=0.99)
    assert wide.interval_points[0] < usual.interval_points[0] < usual.interval_points[1] < wide.interval_points[1]


def test_what_does_not_pair_is_refused() -> None:
    """Too few seeds, other test samples, probabilities in place of answers: the message says whose and what was found."""
    answers = np.ones((3, 5), dtype=bool)
    with pytest.raises(InputError, match="'dkd' has 2 seeds, expected at least 3"):
        compare(answers, answers[:2], name="dkd")
    with pytest.raises(InputError, match=r"'dkd': \(3, 4\).*baseline has \(3, 5\)"):
        compare(answers, answers[:, :4], name="dkd")
    with pytest.raises(InputError, match="'baseline' is float64"):
        compare(answers.astype(float), answers)
    with pytest.raises(InputError, match="same number of test samples"):
        compare(answers, [answers[0], answers[1], answers[2, :4]])
    with pytest.raises(InputError, match="at least 2 test samples"):
        compare(answers[:, :1], answers[:, :1])
    with pytest.raises(InputError, match="confidence is 95"):
        compare(answers, answers, confidence=95)


def test_a_gain_is_written_as_json_and_as_a_table() -> None:
    """JSON holds plain numbers; the table has one line a student, and a name cannot break it."""
    baseline, variant = students(np.random.default_rng(1), 0.5, 0.1, 1.0, samples=500)
    gain = compare(baseline, variant)
    assert json.loads(json.dumps(asdict(gain)))["interval_points"] == list(gain.interval_points)
    text = comparison_table(
        [
            ComparisonRow(name="plain", accuracy=gain.baseline_accuracy, relative_cost=1),
            ComparisonRow(name="a|b", accuracy=gain.accuracy, gain=gain, relative_cost=1.25),
        ]
    )
    lines = text.splitlines()
    assert len(lines) == 4
    assert lines[2] == f"| plain | {100 * gain.baseline_accuracy:.2f} % | – | 1.00 × | baseline |"
    assert lines[3].startswith(f"| a\\|b | {100 * gain.accuracy:.2f} % | {gain.gain_points:+.2f} pp (95 %: ".replace("-", "−"))
    assert lines[3].endswith(f"; 3 seeds) | 1.25 × | {gain.verdict} |")
