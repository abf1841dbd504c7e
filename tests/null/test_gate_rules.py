"""Accuracy, exact metrics and exit codes of the gate."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.errors import InputError
from edgekd.gate.accuracy import AccuracyRule, compare_accuracy
from edgekd.gate.exact import ExactRule, compare_counts, compare_exact
from edgekd.gate.verdict import Verdict, exit_code

RULE = AccuracyRule()


def answers(samples: int, right: float, lost: int, won: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    before = rng.permutation(samples) < round(right * samples)
    now = before.copy()
    now[rng.choice(np.flatnonzero(before), lost, replace=False)] = False
    now[rng.choice(np.flatnonzero(~before), won, replace=False)] = True
    return before, now


def test_a_point_lost_of_two_thousand_is_found() -> None:
    """With 30 answers lost and 10 won."""
    found = compare_accuracy(*answers(2000, 0.9, 30, 10, np.random.default_rng(0)), RULE)
    assert found.verdict == Verdict.REGRESSED
    assert "-1.00 point" in found.text
    assert found.details["churn"] == 0.02


@given(st.integers(0, 2**32 - 1), st.integers(0, 120))
def test_the_two_directions_mirror_each_other(seed: int, discordant: int) -> None:
    rng = np.random.default_rng(seed)
    lost = int(rng.integers(0, discordant + 1))
    before, now = answers(2000, 0.9, lost, discordant - lost, rng)
    mirrored = {Verdict.REGRESSED: Verdict.IMPROVED, Verdict.IMPROVED: Verdict.REGRESSED, Verdict.PASS: Verdict.PASS}
    assert compare_accuracy(now, before, RULE).verdict == mirrored[compare_accuracy(before, now, RULE).verdict]


def test_chance_alone_is_rarely_called_a_regression() -> None:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(1000):
        lost = int(rng.binomial(60, 0.5))
        found.append(compare_accuracy(*answers(2000, 0.9, lost, 60 - lost, rng), RULE).verdict)
    assert found.count(Verdict.REGRESSED) <= 10


def test_a_sure_drop_that_is_small_passes_and_a_floor_does_not() -> None:
    before, now = answers(10_000, 0.9, 40, 0, np.random.default_rng(2))
    assert compare_accuracy(before, now, RULE).verdict == Verdict.PASS
    fallen = compare_accuracy(before, now, AccuracyRule(floor=0.9))
    assert fallen.verdict == Verdict.REGRESSED
    assert "floor" in fallen.text


def test_answers_to_other_samples_are_refused() -> None:
    with pytest.raises(InputError):
        compare_accuracy(np.ones(3, bool), np.ones(4, bool), RULE)


@given(st.integers(1, 10**9), st.integers(0, 10**6))
def test_one_byte_over_is_found_and_none_is_not(baseline: int, by: int) -> None:
    rule = ExactRule(by=by)
    assert compare_exact("size_bytes", baseline, baseline + by, rule).verdict == Verdict.PASS
    over = compare_exact("size_bytes", baseline, baseline + by + 1, rule)
    assert over.verdict == Verdict.REGRESSED
    assert str(baseline + by + 1) in over.text


@given(st.floats(1e3, 1e12))
def test_half_a_percent_more_instructions_is_found(baseline: float) -> None:
    rule = ExactRule(share=0.004)
    assert compare_exact("instructions", baseline, baseline * 1.005, rule).verdict == Verdict.REGRESSED
    assert compare_exact("instructions", baseline, baseline * 1.003, rule).verdict == Verdict.PASS


def test_a_limit_holds_whatever_the_baseline() -> None:
    rule = ExactRule(share=1.0, limit=262_144)
    near = compare_exact("arena_bytes", 200_000, 260_000, rule)
    assert near.verdict == Verdict.PASS
    assert "0.8% of the limit" in near.text
    assert compare_exact("arena_bytes", 262_144, 262_145, rule).verdict == Verdict.REGRESSED


def test_more_is_better_where_it_is_said_so() -> None:
    assert compare_exact("delegated", 12, 11, ExactRule(), higher_is_better=True).verdict == Verdict.REGRESSED
    assert compare_exact("delegated", 12, 13, ExactRule(), higher_is_better=True).verdict == Verdict.IMPROVED


def test_one_operator_that_moved_is_named() -> None:
    found = compare_counts("placement", {"cpu": 3, "npu": 40}, {"cpu": 4, "npu": 39})
    assert found.verdict == Verdict.REGRESSED
    assert "npu 40 → 39" in found.text
    assert compare_counts("placement", {"npu": 40}, {"npu": 40}).verdict == Verdict.PASS


@pytest.mark.parametrize(
    ("verdicts", "strict", "code"),
    [
        (["PASS", "IMPROVED", "ACKED"], True, 0),
        (["PASS", "INCONCLUSIVE"], False, 0),
        (["PASS", "NEW"], True, 11),
        (["INCONCLUSIVE", "REGRESSED"], True, 10),
        (["REGRESSED", "NOT_COMPARABLE"], False, 12),
        (["UNSTABLE", "ERROR"], False, 14),
        ([], True, 0),
    ],
)
def test_the_worst_decides_how_the_command_ends(verdicts: list[str], strict: bool, code: int) -> None:
    assert exit_code([Verdict(verdict) for verdict in verdicts], strict=strict) == code
