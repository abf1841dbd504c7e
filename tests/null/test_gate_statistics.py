"""The gate's statistics: exact p-values, intervals that hold, errors within what is promised."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wilcoxon

from edgekd.errors import InputError
from edgekd.gate.sequential import PROFILES, Profile, decide, detectable, find_profile
from edgekd.gate.signed_rank import centre, interval, p_above, p_below

values = st.lists(st.floats(-1e3, 1e3).map(lambda v: round(v, 3)), min_size=1, max_size=7)


@pytest.mark.parametrize("count", [5, 12, 33, 50])
def test_p_values_are_scipys_where_nothing_ties(count: int) -> None:
    found = np.random.default_rng(count).normal(0.2, 1, count)
    assert p_above(found, 0.1) == pytest.approx(wilcoxon(found - 0.1, alternative="greater", method="exact").pvalue)
    assert p_below(found, 0.1) == pytest.approx(wilcoxon(found - 0.1, alternative="less", method="exact").pvalue)


@given(values, st.sampled_from([0.01, 0.05, 0.2, 0.5]))
def test_the_level_is_exact_whatever_the_differences(sizes: list[float], level: float) -> None:
    """Where signs are fair coins, at most that share of all their combinations is refused: ties and zeros included."""
    refused = [
        p_above([sign * size for sign, size in zip(signs, sizes, strict=True)]) <= level
        for signs in itertools.product((-1, 1), repeat=len(sizes))
    ]
    assert np.mean(refused) <= level + 1e-12


@given(values, st.floats(-10, 10))
def test_moving_everything_moves_the_centre(sizes: list[float], shift: float) -> None:
    assert centre([value + shift for value in sizes]) == pytest.approx(centre(sizes) + shift, abs=1e-9)


@given(st.integers(0, 10_000), st.integers(6, 20))
def test_the_interval_is_what_the_tests_do_not_refuse(seed: int, count: int) -> None:
    """Just outside the interval a one-sided test refuses at 2.5 %, inside none does."""
    found = np.random.default_rng(seed).normal(0, 1, count)
    low, high = interval(found, 0.95)
    assert low <= centre(found) <= high
    assert p_above(found, low - 1e-9) <= 0.025 < p_above(found, low + 1e-9)
    assert p_below(found, high + 1e-9) <= 0.025 < p_below(found, high - 1e-9)


def test_five_differences_bound_nothing() -> None:
    assert interval([0.1, 0.2, 0.3, 0.4, 0.5], 0.95) == (-math.inf, math.inf)


def verdict(profile: Profile, change: float, sd: float, rng: np.random.Generator) -> tuple[str, int]:
    found: list[float] = []
    for look in profile.looks:
        found += list(math.log1p(change) + rng.normal(0, sd, look - len(found)))
        decision = decide(found, profile)
        if decision.outcome is not None:
            return decision.outcome, decision.blocks
    raise AssertionError("the last look decides")


@pytest.mark.parametrize(
    ("name", "change", "outcome", "share"),
    [
        ("default", 0.0, "PASS", 0.98),
        ("default", 0.02, "REGRESSED", 0.95),
        ("default", 0.05, "REGRESSED", 0.99),
        ("default", -0.05, "IMPROVED", 0.99),
        ("precise", 0.01, "REGRESSED", 0.90),
        ("fast", 0.10, "REGRESSED", 0.99),
    ],
)
def test_a_profile_finds_what_it_promises(name: str, change: float, outcome: str, share: float) -> None:
    """Blocks whose log ratios scatter by 1 %: the noise of a shared machine."""
    rng, profile = np.random.default_rng(7), PROFILES[name]
    found = [verdict(profile, change, 0.01, rng)[0] for _ in range(100)]
    assert found.count(outcome) >= share * len(found)
    assert change > 0 or "REGRESSED" not in found


def test_what_passes_is_decided_early() -> None:
    rng = np.random.default_rng(8)
    assert np.mean([verdict(PROFILES["default"], 0.0, 0.01, rng)[1] for _ in range(50)]) <= 15


def test_nothing_is_decided_between_looks() -> None:
    assert decide([0.5] * 13, PROFILES["default"]).outcome is None
    assert decide([0.5] * 12, PROFILES["default"]).outcome == "REGRESSED"


def test_noise_that_hides_the_change_is_no_pass() -> None:
    found = np.random.default_rng(9).normal(0, 0.3, 50)
    assert decide(list(found), PROFILES["default"]).outcome == "INCONCLUSIVE"


def test_what_could_have_been_seen_grows_with_the_noise() -> None:
    """And what is called detectable is found when it is there."""
    rng, profile = np.random.default_rng(10), PROFILES["default"]
    quiet, loud = (detectable(decide(list(rng.normal(0, sd, 12)), profile), profile, rng) for sd in (0.002, 0.02))
    assert profile.tolerated < quiet < loud
    hits = []
    for _ in range(60):
        found = detectable(decide(list(rng.normal(0, 0.01, 12)), profile), profile, rng)
        hits.append(decide(list(math.log1p(found) + rng.normal(0, 0.01, 12)), profile).outcome == "REGRESSED")
    assert np.mean(hits) >= 0.8  # of 95 %: the noise itself is known from 12 blocks only


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ({"tolerated": 0.1, "must_catch": 0.1}, "tolerates"),
        ({"tolerated": 0.0, "must_catch": 0.1, "looks": (20, 12)}, "increasing"),
        ({"tolerated": 0.0, "must_catch": 0.1, "looks": (4, 12)}, "first look"),
    ],
)
def test_a_profile_that_cannot_keep_its_word_is_refused(numbers: dict, says: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(InputError, match=says):
        Profile(name="own", **numbers)


def test_an_unknown_profile_is_answered_with_a_near_one() -> None:
    with pytest.raises(InputError, match="default"):
        find_profile("defualt")
