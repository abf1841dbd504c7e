"""What does not answer as its student does is refused; what does is let through, with its figures."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from synthetic_data import linear_program, synthetic

from edgekd.artifact import contract_file, sha256_of
from edgekd.build import build, calibration_inputs
from edgekd.errors import StageError
from edgekd.null_target import NullTarget
from edgekd.target import Program
from edgekd.types import KNOWN_PRECISIONS, Artifact, Contract, Fidelity, Precision
from edgekd.verify import MAX_ERROR, MIN_AGREEMENT, compare, pack, refusal, unpack, verify

DATA = synthetic(held=200)
TARGET = NullTarget()
FP32 = Precision.parse("fp32")
LOGITS = arrays(np.float32, (20, 4), elements=st.floats(-50, 50, width=32))


def program() -> Program:
    """A student that answers with clear margins."""
    made = linear_program()
    made.module.weight.data *= 4
    return made


def artifact(folder: Path, precision: str = "fp32") -> Artifact:
    made = program()
    return build(TARGET, made, Precision.parse(precision), calibration_inputs(DATA, made.contract, 0), folder)


def tampered(built: Artifact, **changes: Any) -> Artifact:
    """The artifact with other arrays in its file and an honest hash: as if the converter had written it so."""
    with np.load(built.path) as archive:
        contents = {name: archive[name] for name in archive.files}
    np.savez(built.path, **{name: changes.get(name, value) for name, value in contents.items()})
    contract_file(built.path).write_text(str(changes.get("contract", contents["contract"])))
    return replace(built, sha256=sha256_of(built.path))


def refused(built: Artifact, expected: str) -> None:
    with pytest.raises(StageError, match=expected) as found:
        verify(built, TARGET, program(), DATA.validation)
    assert found.value.stage == "verify"


@pytest.mark.parametrize("precision", TARGET.precisions)
def test_a_true_artifact_passes(precision: str, tmp_path: Path) -> None:
    """Every precision of the null target answers as its student; its figures are of the whole split."""
    found = verify(artifact(tmp_path, precision), TARGET, program(), DATA.validation)
    assert found.fidelity.agreement >= 0.985
    assert found.fidelity.samples == len(DATA.validation)
    assert found.artifact_accuracy == pytest.approx(found.student_accuracy, abs=0.02)
    assert unpack(found.correct).mean() == pytest.approx(found.artifact_accuracy)
    if precision == "fp32":
        assert found.fidelity.max_abs_error <= 1e-4 * found.fidelity.max_abs_logit


def test_one_flipped_weight_is_found(tmp_path: Path) -> None:
    """The sign of the largest weight of one class is enough."""
    built = artifact(tmp_path)
    weight = np.load(built.path)["weight"].copy()
    row, column = np.unravel_index(np.abs(weight).argmax(), weight.shape)
    weight[row, column] *= -1
    refused(tampered(built, weight=weight), "exceeds")


def test_swapped_classes_are_found(tmp_path: Path) -> None:
    """Two rows of the classifier in each other's place, in eight bits too."""
    for precision in ("fp32", "w8a8"):
        folder = tmp_path / precision
        folder.mkdir()
        built = artifact(folder, precision)
        contents = np.load(built.path)
        order = [1, 0, 2, 3]
        swapped = {name: contents[name][order] for name in ("weight", "bias")}
        if contents["scale"].ndim:
            swapped["scale"] = contents["scale"][order]
        refused(tampered(built, **swapped), "exceeds|agrees")


def test_numbers_that_are_none_are_found(tmp_path: Path) -> None:
    """A NaN in the bias."""
    built = artifact(tmp_path)
    refused(tampered(built, bias=np.full(4, np.nan, np.float32)), "not finite")


@pytest.mark.parametrize("change", [{"mean": (0.4,)}, {"std": (0.2,)}, {"value_max": 1.0}, {"image_size": (4, 4)}])
def test_a_contract_that_lies_is_found(change: dict[str, Any], tmp_path: Path) -> None:
    """Another normalisation or size in the metadata feeds the artifact other numbers than its student was trained on."""
    built = artifact(tmp_path)
    lying = replace(Contract.from_json(str(np.load(built.path)["contract"])), **change)
    with pytest.raises((StageError, ValueError), match=r"exceeds|differ|shape|matmul"):
        verify(tampered(built, contract=lying.to_json()), TARGET, program(), DATA.validation)


def test_a_file_that_changed_is_refused(tmp_path: Path) -> None:
    """One bit of the file, whatever it means, is not what was built."""
    built = artifact(tmp_path)
    content = bytearray(built.path.read_bytes())
    content[len(content) // 2] ^= 1
    built.path.write_bytes(content)
    refused(built, "changed since it was built")


def test_the_contract_beside_must_be_the_one_inside(tmp_path: Path) -> None:
    """A JSON that says something else, or is gone, is refused."""
    built = artifact(tmp_path)
    document = json.loads(contract_file(built.path).read_text())
    contract_file(built.path).write_text(json.dumps({**document, "mean": [0.1]}))
    refused(built, "something else")
    contract_file(built.path).unlink()
    refused(built, "something else")


def test_the_test_split_gives_figures_only(tmp_path: Path) -> None:
    """Where the decision was made on another split, a disagreement is a figure; another file is still refused."""
    built = artifact(tmp_path)
    worse = tampered(built, bias=np.array([9, 0, 0, 0], np.float32))
    refused(worse, "exceeds")
    assert verify(worse, TARGET, program(), DATA.test, refuse=False).fidelity.agreement < 1
    with pytest.raises(StageError, match="changed"):
        verify(replace(worse, sha256="0" * 64), TARGET, program(), DATA.test, refuse=False)


@given(LOGITS)
def test_equal_answers_have_no_error(logits: np.ndarray[Any, Any]) -> None:
    """Compared with itself: no error, no noise, full agreement, and no precision refuses it."""
    found = compare(logits, logits.copy(), np.zeros(20, np.int64))
    assert (found.max_abs_error, found.snr_db, found.agreement, found.margin_disagreements) == (0, None, 1, 0)
    assert all(refusal(found, Precision.parse(text)) is None for text in KNOWN_PRECISIONS)


@given(LOGITS, LOGITS)
def test_a_margin_beyond_twice_the_error_cannot_flip(student: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> None:
    """The largest error is what bounds it, so no pair of finite answers has such a disagreement: it marks a lying figure."""
    found = compare(student, other, np.zeros(20, np.int64))
    assert found.margin_disagreements == 0
    assert found.max_abs_error == pytest.approx(float(np.abs(student - other).max()))
    assert found.agreement == pytest.approx(float((student.argmax(1) == other.argmax(1)).mean()))


def test_a_student_that_answers_zero_has_no_signal() -> None:
    """The ratio would be minus infinity, which no report can hold: there is none."""
    zeros = np.zeros((20, 4), np.float32)
    assert compare(zeros, zeros + 1, np.zeros(20, np.int64)).snr_db is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_precision_lets_a_number_that_is_none_pass(value: float) -> None:
    """One NaN among all answers."""
    logits = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    wrong = logits.copy()
    wrong[3, 1] = value
    with np.errstate(invalid="ignore"):
        found = compare(logits, wrong, np.zeros(20, np.int64))
    assert all(refusal(found, Precision.parse(text)) for text in KNOWN_PRECISIONS)


@given(st.sampled_from(sorted(MIN_AGREEMENT)), st.floats(0, 1))
def test_agreement_decides_below_fp32(text: str, agreement: float) -> None:
    """Each precision has its least agreement: reached it passes, below it is refused with both figures."""
    found = Fidelity(
        samples=1000,
        max_abs_error=1.0,
        max_abs_logit=10.0,
        snr_db=20.0,
        agreement=agreement,
        margin_disagreements=0,
        accuracy=agreement,
    )
    assert (refusal(found, Precision.parse(text)) is None) == (agreement >= MIN_AGREEMENT[text])


def test_every_known_precision_has_a_threshold() -> None:
    """None of them would end in a KeyError."""
    assert set(MIN_AGREEMENT) | {"fp32"} == set(KNOWN_PRECISIONS)
    assert MAX_ERROR == 1e-4


@given(st.lists(st.booleans(), max_size=70))
def test_packed_flags_come_back(flags: list[bool]) -> None:
    """Any number of them, also one that fills no byte."""
    assert unpack(pack(np.array(flags, bool))).tolist() == flags
