"""Fidelity from logits: figures that can be computed by hand, properties that always hold, None where nothing is defined."""

import json
import math
from dataclasses import asdict, replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgekd.data import RawArray
from edgekd.errors import InputError
from edgekd.fidelity import measures
from edgekd.fidelity.measures import Comparison, Confusion, compare, transfer_effectiveness

NAMES = ("ant", "bee", "cat")
STUDENT = np.array([[2.0, 0.5, -1.0], [0.0, 1.0, 3.0]])
TEACHER = np.array([[3.0, 1.0, -2.0], [-1.0, 0.5, 4.0]])
LABELS = np.array([0, 2])
LOGITS = st.floats(-30, 30, width=32)


@st.composite
def networks(draw: st.DrawFn) -> tuple[RawArray, RawArray, RawArray]:
    """Logits of a student and a teacher, with no ties within a row, and labels."""
    samples, classes = draw(st.integers(1, 12)), draw(st.integers(2, 8))
    pair = [
        np.array([draw(st.lists(LOGITS, min_size=classes, max_size=classes, unique=True)) for _ in range(samples)])
        for _ in range(2)
    ]
    labels = draw(hnp.arrays(np.int64, samples, elements=st.integers(0, classes - 1)))
    return pair[0], pair[1], labels


def names_of(logits: RawArray) -> tuple[str, ...]:
    return tuple(f"class {index}" for index in range(logits.shape[1]))


def answers(*top: int, classes: int = 3) -> RawArray:
    """Logits whose top-1 are these classes."""
    return np.eye(classes)[list(top)] * 4


def test_nll_is_golden() -> None:
    """The cross-entropy of the reference example, to ten digits."""
    assert compare(STUDENT, TEACHER, LABELS, NAMES).student.nll == pytest.approx(0.2055786581, abs=1e-10)


@given(a=st.floats(-20, 20), b=st.floats(-20, 20))
def test_kl_is_that_of_two_coins(a: float, b: float) -> None:
    """With two classes the divergence is Bernoulli's, teacher first: turned around it would be another number."""
    p, q = (1 / (1 + math.exp(-logit)) for logit in (b, a))
    expected = p * math.log(p / q) + (1 - p) * (math.log1p(-p) - math.log1p(-q))
    found = compare(np.array([[a, 0.0]]), np.array([[b, 0.0]]), np.array([0]), NAMES[:2]).kl
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(networks())
def test_a_network_agrees_with_itself(pair: tuple[RawArray, RawArray, RawArray]) -> None:
    """A perfect copy has agreement 1, divergence 0 and all of the teacher's errors, and no new one."""
    _, teacher, labels = pair
    found = compare(teacher, teacher, labels, names_of(teacher))
    assert (found.agreement, found.kl, found.new_confusions, found.student) == (1, 0, (), found.teacher)
    assert found.top5_agreement in (1, None)
    assert found.inherited_errors == (None if found.teacher.accuracy == 1 else 1)


@given(networks())
def test_kl_is_zero_only_between_equal_distributions(pair: tuple[RawArray, RawArray, RawArray]) -> None:
    """Never below 0; above it where probabilities differ; adding the same to all of a row's logits changes nothing."""
    student, teacher, labels = pair
    found = compare(student, teacher, labels, names_of(student)).kl
    distance = np.abs(np.exp(measures.log_softmax(student)) - np.exp(measures.log_softmax(teacher))).sum(axis=1)
    assert found >= 0.5 * np.mean(distance**2) - 1e-12  # Pinsker's inequality
    assert compare(teacher + 7.0, teacher, labels, names_of(student)).kl == pytest.approx(0, abs=1e-12)


@given(networks(), st.randoms(use_true_random=False))
def test_the_order_of_samples_does_not_matter(pair: tuple[RawArray, RawArray, RawArray], random: Random) -> None:
    """Shuffled samples give the same figures, up to the rounding of sums."""
    student, teacher, labels = pair
    order = list(range(len(labels)))
    random.shuffle(order)
    first = compare(student, teacher, labels, names_of(student))
    assert_same(first, compare(student[order], teacher[order], labels[order], names_of(student)))


@given(networks(), st.randoms(use_true_random=False))
def test_the_order_of_classes_does_not_matter(pair: tuple[RawArray, RawArray, RawArray], random: Random) -> None:
    """Renumbered classes give the same figures, those by class under the class's new number."""
    student, teacher, labels = pair
    order = list(range(student.shape[1]))
    random.shuffle(order)
    names = names_of(student)
    first = compare(student, teacher, labels, names)
    renamed = compare(student[:, order], teacher[:, order], np.argsort(order)[labels], tuple(names[old] for old in order))
    expected = replace(first, classes=tuple(first.classes[old] for old in order))
    # With more pairs than are listed, which of equally frequent ones are cut depends on the classes' order.
    if len(first.new_confusions) < measures.MOST_CONFUSIONS:
        assert set(renamed.new_confusions) == set(first.new_confusions)
    assert_same(replace(expected, new_confusions=()), replace(renamed, new_confusions=()))


def assert_same(expected: Comparison, found: Comparison) -> None:
    def close(a: object, b: object) -> bool:
        if isinstance(a, dict) and isinstance(b, dict):
            return a.keys() == b.keys() and all(close(a[key], b[key]) for key in a)
        if isinstance(a, tuple | list) and isinstance(b, tuple | list):
            return len(a) == len(b) and all(map(close, a, b))
        return bool(math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)) if isinstance(a, float) and isinstance(b, float) else a == b

    assert close(asdict(expected), asdict(found))


def test_a_calibrated_network_has_no_calibration_error() -> None:
    """Of the samples with confidence p a share p is right: ECE is 0; certain answers, half of them right, have 0.5."""
    confidences = np.repeat(np.arange(55, 100, 5) / 100, 100)
    logits = np.stack([np.log(confidences / (1 - confidences)), np.zeros_like(confidences)], axis=1)
    labels = np.array([0 if place < round(100 * p) else 1 for p in confidences[::100] for place in range(100)])
    found = compare(logits, logits, labels, NAMES[:2]).student
    assert found.ece == pytest.approx(0, abs=1e-12)
    assert sum(interval.samples for interval in found.reliability) == len(labels)
    sure = compare(logits * 1000, logits, np.arange(len(labels)) % 2, NAMES[:2]).student
    assert sure.ece == pytest.approx(0.5, abs=1e-12)
    assert sure.reliability[-1].confidence == pytest.approx(1)


def test_calibration_error_weighs_the_bins_by_their_samples() -> None:
    """Three samples at confidence 0.8, one right, and one at 0.6, right: 3/4 · |1/3 - 0.8| + 1/4 · |1 - 0.6|."""
    logits = np.log(np.array([[0.8, 0.2]] * 3 + [[0.6, 0.4]]))
    found = compare(logits, logits, np.array([0, 1, 1, 0]), NAMES[:2]).student
    assert found.ece == pytest.approx(0.75 * (0.8 - 1 / 3) + 0.25 * 0.4)
    filled = [(round(bin.lower * 15), bin.samples, bin.accuracy) for bin in found.reliability if bin.samples]
    assert filled == [(8, 1, 1.0), (11, 3, pytest.approx(1 / 3))]


def test_classes_say_what_was_transferred() -> None:
    """By class: both accuracies, agreement, and the share of the teacher's errors that the student repeats."""
    labels = np.array([0, 0, 0, 0, 1, 1])
    teacher, student = answers(0, 0, 1, 2, 1, 1), answers(0, 2, 1, 1, 1, 0)
    found = compare(student, teacher, labels, NAMES)
    ant, bee, cat = found.classes
    assert asdict(ant) == {
        "name": "ant",
        "samples": 4,
        "teacher_accuracy": 0.5,
        "student_accuracy": 0.25,
        "agreement": 0.5,
        "inherited_errors": 0.5,
    }
    assert (bee.teacher_accuracy, bee.student_accuracy, bee.inherited_errors) == (1, 0.5, None)
    assert (cat.samples, cat.teacher_accuracy, cat.student_accuracy, cat.agreement, cat.inherited_errors) == (0, *[None] * 4)
    assert (found.agreement, found.inherited_errors, found.student.accuracy) == (0.5, 0.5, pytest.approx(1 / 3))


def test_new_confusions_leave_out_what_the_teacher_confuses_too() -> None:
    """The most frequent comes first; an error on which both agree is inherited, not new; a different error is new."""
    labels = np.array([0, 0, 0, 1, 1, 2, 2])
    teacher, student = answers(0, 0, 0, 1, 2, 0, 0), answers(1, 1, 2, 0, 2, 0, 1)
    assert compare(student, teacher, labels, NAMES).new_confusions == (
        Confusion(label="ant", predicted="bee", samples=2),
        Confusion(label="ant", predicted="cat", samples=1),
        Confusion(label="bee", predicted="ant", samples=1),
        Confusion(label="cat", predicted="bee", samples=1),
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8, np.int8])
def test_top5_is_the_shared_part_of_the_five_highest(dtype: type) -> None:
    """Four of five shared is 0.8, whatever type an artifact's logits have; with five classes there is nothing to tell."""
    teacher: RawArray = np.array([[6, 5, 4, 3, 2, 1, 0]]).astype(dtype)
    student: RawArray = np.array([[2, 3, 4, 5, 0, 6, 1]]).astype(dtype)
    assert compare(student, teacher, np.array([0]), names_of(teacher)).top5_agreement == pytest.approx(0.8)
    assert compare(student[:, :5], teacher[:, :5], np.array([0]), names_of(teacher[:, :5])).top5_agreement is None


@given(networks())
def test_the_result_is_json_without_nan(pair: tuple[RawArray, RawArray, RawArray]) -> None:
    """Reports hold numbers and null; NaN is neither."""
    student, teacher, labels = pair
    document = asdict(compare(student, teacher, labels, names_of(student)))
    assert json.loads(json.dumps(document, allow_nan=False))["samples"] == len(labels)


def test_extreme_logits_stay_finite() -> None:
    """Logits as large as float32 holds, and a certain teacher against a contradicting student, give no NaN."""
    largest = float(np.finfo(np.float32).max)
    student, teacher = np.array([[-largest, largest]], np.float32), np.array([[largest, -largest]], np.float32)
    found = compare(student, teacher, np.array([0]), NAMES[:2])
    assert found.kl == pytest.approx(2 * largest)
    json.dumps(asdict(found), allow_nan=False)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many samples are worked on in parts: the figures are those of the whole."""
    random = np.random.default_rng(0)
    student, teacher, labels = random.normal(size=(101, 7)), random.normal(size=(101, 7)), random.integers(0, 7, 101)
    whole = compare(student, teacher, labels, names_of(student))
    monkeypatch.setattr(measures, "BLOCK_VALUES", 70)
    assert_same(whole, compare(student, teacher, labels, names_of(student)))


@pytest.mark.parametrize(
    ("student", "teacher", "labels", "message"),
    [
        (STUDENT[:1], TEACHER, LABELS, "logits of the student have shape (1, 3), expected (samples, classes) = (2, 3)"),
        (STUDENT, TEACHER[:, :2], LABELS, "logits of the teacher have shape (2, 2)"),
        (STUDENT, TEACHER * [[1], [np.nan]], LABELS, "teacher are not finite, first for sample 1"),
        (STUDENT * [[np.inf], [1]], TEACHER, LABELS, "student are not finite, first for sample 0"),
        (STUDENT, TEACHER, np.array([0, 3]), "labels run from 0 to 3, expected 0 to 2"),
        (STUDENT[:0], TEACHER[:0], LABELS[:0], "found 0 samples of 3 classes"),
    ],
)
def test_what_cannot_be_compared_is_refused(student: RawArray, teacher: RawArray, labels: RawArray, message: str) -> None:
    """The message says whose logits are wrong, what was found and what was expected."""
    with pytest.raises(InputError) as caught:
        compare(student, teacher, labels, NAMES)
    assert message in str(caught.value)


def test_transfer_effectiveness_is_the_share_of_the_gap() -> None:
    """0 without gain, 1 at the teacher, negative where distillation did harm, above 1 beyond the teacher."""
    shares = [transfer_effectiveness(kd, 0.8, 0.9).value for kd in (0.8, 0.85, 0.9, 0.75, 0.95)]
    assert shares == pytest.approx([0, 0.5, 1, -0.5, 1.5])


@pytest.mark.parametrize(("plain", "teacher"), [(0.9, 0.9), (0.95, 0.9)])
def test_transfer_effectiveness_says_why_it_is_none(plain: float, teacher: float) -> None:
    """Where the teacher has nothing to give there is no gap to close a share of."""
    found = transfer_effectiveness(0.92, plain, teacher)
    assert found.value is None
    assert found.reason == f"the teacher (0.9000) is no better than the plain student ({plain:.4f})"


def test_transfer_effectiveness_of_no_number_is_none() -> None:
    """A trial without an accuracy does not put NaN into a report."""
    assert transfer_effectiveness(math.nan, 0.8, 0.9).value is None
