"""What a gate says of one comparison, and what the command that asked ends with."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    PASS = "PASS"
    IMPROVED = "IMPROVED"
    REGRESSED = "REGRESSED"
    INCONCLUSIVE = "INCONCLUSIVE"
    ACKED = "ACKED"
    NEW = "NEW"
    REMOVED = "REMOVED"
    NOT_COMPARABLE = "NOT_COMPARABLE"
    UNSTABLE = "UNSTABLE"
    ERROR = "ERROR"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One metric of one candidate against its baseline. `details` is what reports show beyond the sentence."""

    metric: str
    verdict: Verdict
    text: str
    details: dict[str, Any] = field(default_factory=dict)


GREEN, REGRESSED, DOUBTFUL, UNSTABLE, ERROR = 0, 10, 11, 12, 14
EXITS = {
    Verdict.ERROR: ERROR,
    Verdict.UNSTABLE: UNSTABLE,
    Verdict.NOT_COMPARABLE: UNSTABLE,
    Verdict.REGRESSED: REGRESSED,
}
STRICT_EXITS = {Verdict.INCONCLUSIVE: DOUBTFUL, Verdict.NEW: DOUBTFUL, Verdict.REMOVED: DOUBTFUL}
"""What turns a build red only where `--strict` is given."""


def exit_code(verdicts: Iterable[Verdict], *, strict: bool) -> int:
    """The first that applies of 14 error, 12 unstable or not comparable, 10 regressed, 11 inconclusive (strict); else 0."""
    exits = EXITS | (STRICT_EXITS if strict else {})
    found = {exits.get(verdict, GREEN) for verdict in verdicts}
    return next((code for code in (ERROR, UNSTABLE, REGRESSED, DOUBTFUL) if code in found), GREEN)
