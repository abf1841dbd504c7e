"""The null target runs linear students with numpy: all stages of a target, without torch."""

from dataclasses import replace

import numpy as np
import pytest

from edgekd.errors import InputError, StageError
from edgekd.null_target import LinearModule, NullTarget
from edgekd.target import Program
from edgekd.testing import check_target
from edgekd.types import Contract, Precision

TARGET = NullTarget()


@pytest.fixture(scope="module")
def student() -> tuple[Program, np.ndarray]:
    """A linear student of ten well separated classes, and 600 samples (N, 1, 8, 8) of them."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((10, 64)).astype(np.float32)
    samples = centres[rng.integers(0, 10, 600)] + 0.3 * rng.standard_normal((600, 64)).astype(np.float32)
    module = LinearModule(centres, -0.5 * (centres**2).sum(1))
    contract = Contract(classes=tuple("abcdefghij"), mean=(0.0,), std=(1.0,), value_max=1.0, shape=(1, 8, 8))
    return Program(module=module, input_shape=(1, 8, 8), contract=contract, parent="p"), samples.reshape(-1, 1, 8, 8)


def test_null_target_conforms(student):
    """It passes the conformance suite that all targets pass."""
    program, samples = student
    results = check_target(TARGET, program=program, inputs=samples)
    assert {result.outcome for result in results} == {"passed"}


def test_integers_are_fed_and_read(student, tmp_path):
    """With w8a8 the artifact takes int8, and its logits are those of the student to within the steps of 8 bits."""
    program, samples = student
    fp32 = TARGET.convert(program, tmp_path)
    (tmp_path / "int8").mkdir()
    artifact = TARGET.quantize(program, fp32, Precision.parse("w8a8"), samples[:100], tmp_path / "int8")
    assert artifact.contract.inputs[0].dtype == "int8"
    logits, expected = TARGET.open(artifact.path).run(samples), program.module(samples)
    assert 0 < np.abs(logits - expected).max() < 0.05 * np.abs(expected).max()


def test_flat_features(tmp_path):
    """A student of plain features (F,) is built with layout NC."""
    module = LinearModule(np.eye(3, dtype=np.float32), np.zeros(3, np.float32))
    contract = Contract(classes=("a", "b", "c"), mean=(0.0,), std=(1.0,), value_max=1.0, shape=(3,))
    artifact = TARGET.convert(Program(module=module, input_shape=(3,), contract=contract, parent=""), tmp_path)
    assert artifact.contract.inputs[0].layout == "NC"
    assert TARGET.open(artifact.path).run(np.array([[1, 2, 3]], np.float32)).tolist() == [[1, 2, 3]]


def test_other_students_fail_the_stage(student, tmp_path):
    """A module that is not linear, or does not fit the input, is a StageError."""
    program, _ = student
    with pytest.raises(StageError, match="object has no weight and bias"):
        TARGET.convert(replace(program, module=object()), tmp_path)
    with pytest.raises(StageError, match=r"weight has shape \(10, 64\), expected \(10, 49\)"):
        TARGET.convert(replace(program, input_shape=(1, 7, 7)), tmp_path)


def test_pickles_are_refused(tmp_path):
    """An archive with pickled objects is refused and not executed."""
    fields = ("weight", "bias", "scale", "shape", "zero_point", "dtype", "contract")
    np.savez(tmp_path / "model.npz", **{name: np.array([Exploding()], object) for name in fields})
    with pytest.raises(InputError, match="cannot be read as a null model"):
        TARGET.open(tmp_path / "model.npz")


class Exploding:
    """Fails the test that unpickles it."""

    def __reduce__(self):
        return pytest.fail, ("it was unpickled",)


def test_other_archives_are_named(tmp_path):
    """An archive of something else says what it lacks."""
    np.savez(tmp_path / "model.npz", weight=1)
    with pytest.raises(InputError, match="is not a null model: it has no bias, contract"):
        TARGET.contract(tmp_path / "model.npz")
