"""The conformance suite finds what is wrong with a target: each fault here is one that a real target could have."""

import json
from pathlib import Path

import numpy as np
import pytest

from edgekd.artifact import contract_file
from edgekd.errors import InputError
from edgekd.null_target import LinearModule, NullTarget
from edgekd.target import Program
from edgekd.testing import CHECKS, Case, check_target, run_check
from edgekd.types import Contract


class Nameless(NullTarget):
    name = "Null Target"


class Boundless(NullTarget):
    def unsupported(self, precision, device):
        return None


class Overwritten(NullTarget):
    def convert(self, program, folder):
        artifact = super().convert(program, folder)
        artifact.path.write_bytes(artifact.path.read_bytes() + b" ")
        return artifact


class Forgetful(NullTarget):
    def convert(self, program, folder):
        artifact = super().convert(program, folder)
        beside = contract_file(artifact.path)
        beside.write_text(json.dumps(json.loads(beside.read_text()) | {"value_max": 2.0}))
        return artifact


class Wrong(NullTarget):
    def open(self, artifact, threads=1):
        session, run = super().open(artifact, threads), None
        run = session.run
        session.run = lambda inputs: run(-inputs)
        return session


class Threaded(NullTarget):
    def open(self, artifact, threads=1):
        session = super().open(artifact, threads)
        run = session.run
        session.run = lambda inputs: run(inputs) * threads
        return session


class Padded(NullTarget):
    def quantize(self, program, artifact, precision, calibration, folder):
        made = super().quantize(program, artifact, precision, calibration, folder)
        object.__setattr__(made, "size_bytes", 10**9)
        return made


class Uncounted(NullTarget):
    def operators(self, artifact):
        return {}


class Trusting(NullTarget):
    def open(self, artifact, threads=1):
        try:
            return super().open(artifact, threads)
        except InputError:
            return None


class Dated(NullTarget):
    builds = 0

    def convert(self, program, folder):
        Dated.builds += 1
        biased = LinearModule(program.module.weight, program.module.bias + np.float32(Dated.builds / 1e5))
        changed = Program(module=biased, input_shape=program.input_shape, contract=program.contract, parent=program.parent)
        return super().convert(changed, folder)


class ForeignRunner(NullTarget):
    runner = Path(__file__)


class Heavy(NullTarget):
    def __init__(self) -> None:
        import scipy  # noqa: F401


FAULTS = {
    "names_are_sound": Nameless,
    "construction_is_light": Heavy,
    "unsupported_has_reasons": Boundless,
    "artifact_is_described": Overwritten,
    "contract_travels": Forgetful,
    "outputs_match_the_student": Wrong,
    "batches_and_threads_change_nothing": Threaded,
    "smaller_precisions_are_smaller": Padded,
    "operators_are_counted": Uncounted,
    "runner_stands_alone": ForeignRunner,
    "broken_files_are_refused": Trusting,
    "builds_are_reproducible": Dated,
}


@pytest.fixture(scope="module")
def program() -> Program:
    rng = np.random.default_rng(1)
    contract = Contract(classes=tuple("abcd"), mean=(0.0,), std=(1.0,), value_max=1.0, shape=(1, 4, 4))
    module = LinearModule(rng.standard_normal((4, 16)).astype(np.float32), np.zeros(4, np.float32))
    return Program(module=module, input_shape=(1, 4, 4), contract=contract, parent="p")


@pytest.fixture(scope="module")
def inputs() -> np.ndarray:
    return np.random.default_rng(2).standard_normal((400, 1, 4, 4)).astype(np.float32)


@pytest.mark.parametrize(("check", "fault"), FAULTS.items())
def test_fault_is_found(check, fault, program, inputs, tmp_path, monkeypatch):
    """The check that is meant for a fault fails on a target that has it, and passes on one that has not."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    assert run_check(Case(fault(), program, inputs, tmp_path / "faulty"), check).outcome == "failed"
    assert run_check(Case(NullTarget(), program, inputs, tmp_path / "sound"), check).outcome == "passed"


def test_all_failures_are_told(program, inputs):
    """`check_target` raises one AssertionError that lists each check that failed."""
    with pytest.raises(AssertionError, match="target 'null':\noperators_are_counted failed: fp32: none"):
        check_target(Uncounted(), program=program, inputs=inputs)


def test_expected_failures_are_strict(program, inputs, tmp_path):
    """A known failure is accepted with its reason; a listed check that passes is an error."""
    faulty, sound = (Case(kind(), program, inputs, tmp_path / kind.__name__) for kind in (Uncounted, NullTarget))
    expected = run_check(faulty, "operators_are_counted", "not counted yet")
    assert (expected.good, expected.outcome, expected.detail) == (True, "failed as expected", "not counted yet")
    unexpected = run_check(sound, "operators_are_counted", "not counted yet")
    assert (unexpected.good, unexpected.outcome) == (False, "passed unexpectedly")


def test_runner_may_be_absent(program, inputs, tmp_path):
    """A target without a runner is not put to the checks of runners."""
    target = NullTarget()
    target.runner = None
    assert run_check(Case(target, program, inputs, tmp_path), "runner_stands_alone").outcome == "not applicable"


def test_arguments_are_checked(program):
    """Unknown checks and a program without inputs are refused."""
    with pytest.raises(ValueError, match="which are not among"):
        check_target(NullTarget(), expected_failures={"no_such_check": "reason"})
    with pytest.raises(ValueError, match="go together"):
        check_target(NullTarget(), program=program)


def test_every_check_says_what_it_checks():
    """Each check has a one-line docstring: it is what a report shows."""
    assert [name for name, check in CHECKS.items() if not (check.__doc__ or "").strip().endswith(".")] == []
