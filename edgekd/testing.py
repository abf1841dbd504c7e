"""A conformance suite for targets, those of other projects too: `check_target(MyTarget())`.

It builds a small trained student at every precision that the target declares and checks what the pipeline relies on:
that the artifact carries its contract, answers as the student does, comes out the same twice, and is refused when broken.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgekd._conformance import CHECKS
from edgekd._conformance_case import Case, NotApplicable
from edgekd.errors import first_line
from edgekd.target import FloatArray, Program, Target

__all__ = ["CHECKS", "Case", "CheckResult", "check_target", "example_student", "run_check"]

Outcome = Literal["passed", "failed", "not applicable", "failed as expected", "passed unexpectedly"]
GOOD: tuple[Outcome, ...] = ("passed", "not applicable", "failed as expected")


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """What came of one check; `detail` is the reason of any outcome but `passed`."""

    name: str
    outcome: Outcome
    detail: str = ""

    @property
    def good(self) -> bool:
        return self.outcome in GOOD


def check_target(
    target: Target,
    *,
    program: Program | None = None,
    inputs: FloatArray | None = None,
    folder: Path | None = None,
    expected_failures: Mapping[str, str] | None = None,
) -> list[CheckResult]:
    """Run every check of `CHECKS` on a target.

    Args:
        target: what is to be checked.
        program: the student to build, trained; by default `example_student()`, which needs torch.
        inputs: (N, C, H, W) normalised samples like those that it was trained on, with `program`; 500 or more. A quarter,
            at most 200, calibrates; the answers to the others are compared.
        folder: where artifacts are left to be looked at; by default they are removed.
        expected_failures: check → reason; a check that is listed and passes is an error, so that the list stays true.

    Returns:
        One result a check, in order.

    Raises:
        AssertionError: listing each check that failed, or passed unexpectedly.
        ValueError: if `expected_failures` names no check, or `program` and `inputs` are not given together.
    """
    unknown = sorted(set(expected_failures or {}) - set(CHECKS))
    if unknown:
        raise ValueError(f"expected_failures names {unknown}, which are not among {sorted(CHECKS)}")
    if (program is None) != (inputs is None):
        raise ValueError("program and inputs go together")
    if program is None or inputs is None:
        program, inputs = example_student()
    with tempfile.TemporaryDirectory() as scratch:
        case = Case(target, program, inputs, folder or Path(scratch))
        results = [run_check(case, name, (expected_failures or {}).get(name)) for name in CHECKS]
    bad = [f"{r.name} {r.outcome}: {r.detail}" for r in results if not r.good]
    if bad:
        raise AssertionError(f"target '{target.name}':\n" + "\n".join(bad))
    return results


def run_check(case: Case, name: str, expected_failure: str | None = None) -> CheckResult:
    """Run one check; `expected_failure` is the reason why it is known to fail, or None."""
    check: Callable[[Case], None] = CHECKS[name]
    try:
        check(case)
    except NotApplicable as reason:
        return CheckResult(name=name, outcome="not applicable", detail=str(reason))
    except Exception as error:  # whatever a target raises is the finding
        if expected_failure is not None:
            return CheckResult(name=name, outcome="failed as expected", detail=expected_failure)
        kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
        return CheckResult(name=name, outcome="failed", detail=kind + first_line(error, limit=1000))
    if expected_failure is not None:
        return CheckResult(name=name, outcome="passed unexpectedly", detail=f"no longer true: {expected_failure}")
    return CheckResult(name=name, outcome="passed")


def example_student() -> tuple[Program, FloatArray]:
    """A small inverted-residual student with 10 classes, trained for a few seconds, and 1,000 fresh samples (N, 1, 16, 16).

    The samples are ten smooth random pictures, shifted and covered with noise: structured as real ones are, so that
    quantizers find ranges worth finding, yet drawn from a seed, so that nothing has to be downloaded.
    """
    from edgekd._conformance_student import example_student as build

    return build()
