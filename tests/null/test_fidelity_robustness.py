"""Robustness: every network sees the same corrupted pictures, and is held against the teacher."""

import json
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest

from edgekd.data import RawArray, Split
from edgekd.errors import InputError
from edgekd.fidelity.corruptions import CORRUPTIONS, SEVERITIES
from edgekd.fidelity.robustness import (
    CONDITIONS,
    Network,
    Robustness,
    answers_under_corruption,
    compare_robustness,
    part_of,
    spaced,
    unsuited,
)
from edgekd.types import Contract

CONTRACT = Contract(classes=("left", "right"), mean=(0.5,), std=(0.25,), value_max=255.0, shape=(1, 8, 8))


def sides(count: int) -> Split:
    """Pictures lit on the left or on the right, a little unevenly, three of ten on the left."""
    labels = (np.arange(count) % 10 >= 3).astype(np.int64)
    inputs = np.random.default_rng(0).integers(0, 40, (count, 1, 8, 8))
    for row, label in enumerate(labels):
        inputs[row, :, 2:6, 4 * label : 4 * label + 4] += 150
    return Split(inputs=inputs.astype(np.uint8), labels=labels, ids=np.arange(count) * 3)


def lighter_side(inputs: RawArray) -> RawArray:
    inputs = inputs.astype(np.float32)
    return np.stack([inputs[..., :4].sum(axis=(1, 2, 3)), inputs[..., 4:].sum(axis=(1, 2, 3))], axis=1)


def lighter_column(inputs: RawArray) -> RawArray:
    """Looks at two columns only, so that it is easily misled."""
    return np.stack([inputs[:, 0, 3, 1], inputs[:, 0, 3, 6]], axis=1)


def always(answer: int) -> Network:
    return lambda inputs: np.tile(np.eye(2)[answer], (len(inputs), 1))


def measured(split: Split, seed: int = 0, **networks: Network) -> Robustness:
    return compare_robustness(answers_under_corruption(networks, split, CONTRACT, seed), split.labels, seed=seed)


def test_figures_of_constant_networks() -> None:
    """One errs on seven of ten pictures, its teacher on three, whatever is done to them: 7/3 of the teacher's errors."""
    found = measured(sides(40), teacher=always(1), student=always(0))
    student, teacher = found.networks["student"], found.networks["teacher"]
    assert student.clean_accuracy == pytest.approx(0.3)
    assert student.mean_corruption_error == pytest.approx(0.7)
    assert student.relative_corruption_error == pytest.approx(7 / 3)
    assert student.corruption_errors == pytest.approx(dict.fromkeys(CORRUPTIONS, 7 / 3))
    assert (student.mean_agreement, teacher.mean_agreement, teacher.relative_corruption_error) == (0, 1, 1)


def test_every_corruption_and_severity_is_there_in_order() -> None:
    """75 conditions, each with every network's accuracy and agreement, as JSON without NaN."""
    found = measured(sides(20), teacher=lighter_side, student=lighter_column)
    assert [(row.corruption, row.severity) for row in found.conditions] == [(c, s) for c in CORRUPTIONS for s in SEVERITIES]
    assert all(row.accuracy.keys() == row.agreement.keys() == {"teacher", "student"} for row in found.conditions)
    assert json.loads(json.dumps(asdict(found), allow_nan=False))["samples"] == 20


def test_a_fragile_student_is_seen() -> None:
    """Both are right on clean pictures; under noise and occlusion the student that looks at few pixels falls behind."""
    found = measured(sides(200), teacher=lighter_side, student=lighter_column)
    student, teacher = found.networks["student"], found.networks["teacher"]
    assert student.clean_accuracy == teacher.clean_accuracy == 1
    assert student.mean_corruption_error > 2 * teacher.mean_corruption_error > 0
    assert student.relative_corruption_error is not None
    assert student.relative_corruption_error > 2
    harsh = next(row for row in found.conditions if (row.corruption, row.severity) == ("gaussian_noise", 5))
    assert harsh.agreement["student"] < harsh.agreement["teacher"] == 1
    assert harsh.accuracy["student"] < harsh.accuracy["teacher"]


def test_a_teacher_without_errors_is_no_baseline() -> None:
    """Where the teacher makes no error the ratio is None, and the mean is over the other corruptions."""
    found = measured(sides(200), teacher=lighter_side, student=lighter_column)
    errors = found.networks["student"].corruption_errors
    assert errors["contrast"] is None
    defined = [error for error in errors.values() if error is not None]
    assert 0 < len(defined) < 15
    assert found.networks["student"].relative_corruption_error == pytest.approx(np.mean(defined))
    rights = sides(40)
    only = Split(inputs=rights.inputs, labels=np.ones(40, np.int64), ids=rights.ids)
    assert measured(only, teacher=always(1), student=always(0)).networks["student"].relative_corruption_error is None


def test_the_order_of_samples_does_not_matter() -> None:
    """Pictures are corrupted by their ids: a shuffled split gives the same figures, in other batches."""
    split, order = sides(130), np.random.default_rng(1).permutation(130)
    shuffled = Split(inputs=split.inputs[order], labels=split.labels[order], ids=split.ids[order])
    networks = {"teacher": lighter_side, "student": lighter_column}
    assert measured(split, **networks) == measured(shuffled, **networks)


def test_another_seed_corrupts_otherwise() -> None:
    """Figures move with the seed, and are repeated by it."""
    networks = {"teacher": lighter_side, "student": lighter_column}
    first, again, other = (measured(sides(60), seed, **networks) for seed in (0, 0, 1))
    assert first == again
    assert first.conditions != other.conditions


def test_samples_are_taken_from_the_whole_split() -> None:
    """Of a split that is sorted by class both classes are used; never more samples than there are."""
    split = sides(100)
    order = np.argsort(split.labels, kind="stable")
    ordered = part_of(part_of(split, order), spaced(100, 10))
    found = measured(ordered, teacher=always(1))
    assert found.samples == 10
    assert found.networks["teacher"].clean_accuracy == pytest.approx(0.7)
    assert list(spaced(20)) == list(range(20))


def test_answers_given_apart_are_those_given_together() -> None:
    """A teacher that was asked earlier saw the same pictures: its answers fit those of networks that are asked later."""
    split = sides(130)
    together = answers_under_corruption({"teacher": lighter_side, "student": lighter_column}, split, CONTRACT, 3)
    apart = [answers_under_corruption({"one": network}, split, CONTRACT, 3)["one"] for network in (lighter_side, lighter_column)]
    assert np.array_equal(together["teacher"], apart[0])
    assert np.array_equal(together["student"], apart[1])


def test_networks_get_raw_pictures_of_their_size() -> None:
    """As the source has them, since each network prepares them in its own way; at most 100 at once, 76 times."""
    seen: list[RawArray] = []

    def spy(inputs: RawArray) -> RawArray:
        seen.append(inputs)
        return lighter_side(inputs)

    split = sides(130)
    measured(split, teacher=spy)
    assert {inputs.shape for inputs in seen} == {(100, 1, 8, 8), (30, 1, 8, 8)}
    assert {inputs.dtype for inputs in seen} == {split.inputs.dtype}
    assert len(seen) == 2 * len(CONDITIONS) == 2 * 76
    assert np.array_equal(np.concatenate(seen[:2]), split.inputs)


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        ({"student": lighter_side}, "there is no network 'teacher' to compare with (there is: student)"),
        ({"teacher": lambda inputs: np.full((len(inputs), 2), np.nan)}, "'teacher' under clean 0: expected finite"),
        ({"teacher": lambda inputs: np.ones((len(inputs), 3))}, "shape (20, 2), found shape (20, 3)"),
    ],
)
def test_networks_that_cannot_be_judged_are_refused(networks: dict[str, Network], message: str) -> None:
    """The message names the network and the condition."""
    with pytest.raises(InputError) as caught:
        measured(sides(20), **networks)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        (np.ones((5, 3), np.float32), "corruptions need pictures"),
        (np.ones((5, 1, 3, 8), np.float32), "4 x 4 pixels or more"),
        (np.full((5, 1, 8, 8), -1, np.float32), "raw values from 0 to 255"),
        (np.ones((0, 1, 8, 8), np.float32), "no samples"),
    ],
)
def test_what_cannot_be_corrupted_says_why(inputs: RawArray, reason: str) -> None:
    """Features, tiny pictures, normalised values and nothing at all are refused, not passed through unchanged."""
    split = Split(inputs=inputs, labels=np.zeros(len(inputs), np.int64), ids=np.arange(len(inputs)))
    assert reason in unsuited(split, CONTRACT)
    with pytest.raises(InputError, match=reason):
        measured(split, teacher=lighter_side)
    assert unsuited(sides(10), CONTRACT) == ""


def test_answers_of_another_shape_are_refused() -> None:
    """Answers to other conditions, or to other samples, are not compared."""
    answers = answers_under_corruption({"teacher": lighter_side}, sides(20), CONTRACT)
    with pytest.raises(InputError, match=r"answers of 'student' have shape \(75, 20\), expected \(76, 20\)"):
        compare_robustness({**answers, "student": answers["teacher"][1:]}, sides(20).labels)


def test_fidelity_needs_no_torch() -> None:
    """Built artifacts are judged where nothing but NumPy is installed."""
    modules = ", ".join(f"edgekd.fidelity.{name}" for name in ("measures", "cka", "corruptions", "robustness"))
    check = f"import sys, {modules}; sys.exit(bool({{'torch', 'scipy', 'sklearn', 'PIL'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
