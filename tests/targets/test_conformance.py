"""Every target, ours and the null one, does what the pipeline relies on."""

import pytest

from edgekd.plugins import target_names
from edgekd.testing import CHECKS, run_check

EXPECTED_FAILURES: dict[tuple[str, str], str] = {}
"""(target, check) → why it is known to fail. Strict: a check that passes must leave this list."""


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", target_names())
def test_target_conforms(name, check, case):
    """The target passes the check, or fails it for the reason that is listed."""
    result = run_check(case(name), check, EXPECTED_FAILURES.get((name, check)))
    assert result.good, f"{result.outcome}: {result.detail}"
