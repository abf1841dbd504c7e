"""Per-operator times as a device answers them, read strictly, and what they add up to."""

import statistics
from dataclasses import dataclass
from typing import Any

from edgekd.bench.checked import keys, mapping, number, printable, text
from edgekd.errors import DeviceError

MAX_OPERATORS = 20_000
MAX_TIMES = 1_000_000
MAX_US = 1e9
MAX_NAME = 2000  # converters put a whole path of modules into a name; it is cut for printing


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One operator of a model: `kernel` is what ran it, a provider, delegate or primitive; `us` its times in the order taken."""

    name: str
    type: str
    kernel: str
    us: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class OperatorTimes:
    """All operators of `queries` queries, `how` they were had; or the reason why they were not."""

    operators: tuple[Operator, ...] = ()
    queries: int = 0
    how: str = ""
    unavailable: str | None = None

    def rows(self) -> list[dict[str, Any]]:
        """One an operator, the largest share first: name, type, kernel, calls, median_us of a call, share of all.

        What an operator takes of a query is its median times its calls a query. Clocks that count whole microseconds are
        why the median is the one of grouped data: 3, 3, 4 are somewhat less than 3.5.
        """
        medians = [statistics.median_grouped(operator.us, 1) for operator in self.operators]
        taken = [max(0.0, m) * len(o.us) / self.queries for m, o in zip(medians, self.operators, strict=True)]
        total = sum(taken) or 1.0
        rows = [
            {
                "name": operator.name,
                "type": operator.type,
                "kernel": operator.kernel,
                "calls": len(operator.us),
                "median_us": max(0.0, median),
                "share": us / total,
            }
            for operator, median, us in zip(self.operators, medians, taken, strict=True)
        ]
        return sorted(rows, key=lambda row: -row["share"])


def read_operators(document: Any, where: str) -> OperatorTimes:
    """What the mode `operators` answers under `profile`. Raises DeviceError for anything else than it should be."""
    found = mapping(document["profile"], "profile", where)
    if "unavailable" in found:
        return OperatorTimes(unavailable=text(keys(found, {"unavailable"}, set(), where)["unavailable"], "unavailable", where))
    found = keys(found, {"how", "queries", "operators"}, set(), where)
    entries = found["operators"]
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_OPERATORS:
        raise DeviceError(f"{where}: operators of the answer is not a list of 1 to {MAX_OPERATORS} entries")
    operators = tuple(_operator(entry, where) for entry in entries)
    if sum(len(operator.us) for operator in operators) > MAX_TIMES:
        raise DeviceError(f"{where}: the answer has more than {MAX_TIMES} times of operators")
    queries = int(number(found["queries"], "queries", 1, MAX_TIMES, where, whole=True))
    return OperatorTimes(operators=operators, queries=queries, how=text(found["how"], "how", where))


def _operator(values: Any, where: str) -> Operator:
    found = keys(values, {"name", "type", "kernel", "us"}, set(), where)
    us = found.pop("us")
    if not isinstance(us, list) or not 1 <= len(us) <= MAX_TIMES:
        raise DeviceError(f"{where}: the times of an operator are not a list of 1 to {MAX_TIMES} values")
    return Operator(
        **{key: _name(value, key, where) for key, value in found.items()},
        us=tuple(float(number(value, "us", 0, MAX_US, where)) for value in us),
    )


def _name(value: Any, key: str, where: str) -> str:
    """Names are a model's own, and may be anything: they are cut and made printable, not refused."""
    if not isinstance(value, str) or len(value) > MAX_NAME:
        raise DeviceError(f"{where}: {key} of an operator is not a text of at most {MAX_NAME} characters")
    return printable(value)
