"""Many comparisons at once: no more false alarms than one would make, and planted changes are found."""

import math
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgekd.gate.family import holm, judge_family
from edgekd.gate.sequential import PROFILES, Decision

PROFILE = PROFILES["default"]


class Bank:
    """Blocks whose log ratios scatter by `sd`; comparison i is slower by `changes.get(i, 0)`."""

    def __init__(self, changes: dict[int, float], sd: float, seed: int) -> None:
        self.changes, self.sd, self.rng, self.taken = changes, sd, np.random.default_rng(seed), 0

    def measure(self, which: Sequence[int], blocks: int) -> dict[int, list[float]]:
        self.taken += blocks * len(which)
        return {i: list(math.log1p(self.changes.get(i, 0.0)) + self.rng.normal(0, self.sd, blocks)) for i in which}


def outcomes(found: list[Decision]) -> list[str | None]:
    return [decision.outcome for decision in found]


def test_fifty_unchanged_models_stay_green() -> None:
    red, blocks = 0, 0
    for seed in range(40):
        bank = Bank({}, 0.015, seed)
        red += "REGRESSED" in outcomes(judge_family(50, PROFILE, bank.measure))
        blocks += bank.taken
    assert red == 0
    assert blocks / 40 / 50 <= 16


def test_what_is_slower_is_found_among_many_and_nothing_else_is() -> None:
    changes = {3: 0.05, 17: 0.05, 31: 0.02}
    found = [outcomes(judge_family(50, PROFILE, Bank(changes, 0.01, seed).measure)) for seed in range(10)]
    assert sum(run[3] == run[17] == "REGRESSED" for run in found) == 10
    assert sum(run[31] == "REGRESSED" for run in found) >= 9
    assert not any(run[i] == "REGRESSED" for run in found for i in range(50) if i not in changes)


def test_every_comparison_gets_an_answer_even_in_noise() -> None:
    found = outcomes(judge_family(8, PROFILE, Bank({}, 0.3, 1).measure))
    assert len(found) == 8
    assert None not in found
    assert "INCONCLUSIVE" in found


def test_one_comparison_is_judged_by_the_profile_alone() -> None:
    assert outcomes(judge_family(1, PROFILE, Bank({0: 0.05}, 0.005, 0).measure)) == ["REGRESSED"]


@given(st.dictionaries(st.integers(0, 20), st.floats(0, 1), min_size=1))
def test_holm_refuses_no_more_than_each_alone_and_no_less_than_bonferroni(p_values: dict[int, float]) -> None:
    refused = holm(p_values, 0.05)
    assert (
        {i for i, p in p_values.items() if p <= 0.05 / len(p_values)} <= refused <= {i for i, p in p_values.items() if p <= 0.05}
    )


def test_holm_steps_down() -> None:
    assert holm({0: 0.01, 1: 0.02, 2: 0.04}, 0.05) == {0, 1, 2}
    assert holm({0: 0.02, 1: 0.01, 2: 0.06}, 0.05) == {0, 1}
    assert holm({0: 0.03, 1: 0.01, 2: 0.06}, 0.05) == {1}
