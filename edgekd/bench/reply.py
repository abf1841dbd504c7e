"""The answer of a run on a device, read strictly: it is data from outside, and nothing in it is taken on trust."""

import json
import math
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgekd.bench.transport import Completed
from edgekd.errors import DeviceError, did_you_mean

SCHEMA = "edgekd.reply/1"
MAX_LINE = 16 << 20
MAX_QUERIES = 1_000_000
MAX_LATENCY_NS = 10**12
MAX_MEMORY_BYTES = 2**45
MAX_TEXT = 200

TEXT_FACTS = {"system", "arch", "python", "cpu"}
STATE_LIMITS = {
    "clock_s": (-math.inf, math.inf),
    "process_s": (0, math.inf),
    "load_1m": (0, 1e6),
    "ticks_total": (0, 2**63),
    "ticks_idle": (0, 2**63),
    "ticks_steal": (0, 2**63),
    "frequency_mhz": (0, 1e6),
    "temperature_c": (-40, 150),
}


class RunFailed(DeviceError):
    """The harness answered that it failed: at `stage` (import, load or run), for the reason that the runtime gave."""

    def __init__(self, where: str, stage: str, cause: str) -> None:
        super().__init__(f"{where}: {stage} failed: {cause}")
        self.stage, self.cause = stage, cause


@dataclass(frozen=True, kw_only=True)
class State:
    """The machine at one moment; what it could not read is absent from `values`."""

    values: dict[str, float]
    governor: str = ""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A checked answer. `latency_ns` in the order taken, empty unless that was asked; memory in bytes, else None."""

    versions: dict[str, str]
    machine: dict[str, str]
    cpus: int
    latency_ns: tuple[int, ...] = ()
    peak_rss_bytes: int | None = None
    pss_bytes: int | None = None
    states: tuple[State, ...] = field(default=())


def parse(completed: Completed, mode: str, *, where: str, queries: int | None = None) -> Reply:
    """Read the last line of a run's stdout.

    Args:
        completed: how the run ended.
        mode: `empty`, `memory` or `latency`: what it was asked for.
        where: the device's name, for messages.
        queries: the exact number of latencies that was asked for, or None.

    Raises:
        RunFailed: where the harness itself says that it failed.
        DeviceError: for anything else that is not a complete and plausible answer.
    """
    document = _document(completed, where)
    if "error" in document:
        keys = _keys(document, {"schema", "error", "stage"}, set(), where)
        raise RunFailed(where, _text(keys["stage"], "stage", where), _cause(keys["error"], where))
    if completed.rc != 0:
        raise DeviceError(f"{where}: the run answered and then {_ending(completed)}")
    wanted = {"latency_ns", "before", "after"} if mode == "latency" else {"memory"}
    _keys(document, {"schema", "mode", "versions", "machine"} | wanted, set(), where)
    if document["mode"] != mode:
        raise DeviceError(f"{where}: asked for mode {mode}, answered another")
    machine = dict(_mapping(document["machine"], "machine", where))
    cpus = _number(machine.pop("cpus", None), "cpus", 1, 4096, where, whole=True)
    facts = _texts(_keys(machine, {"system", "arch", "python"}, TEXT_FACTS, where), "machine", where)
    common: dict[str, Any] = {"versions": _texts(document["versions"], "versions", where), "machine": facts, "cpus": int(cpus)}
    if mode == "latency":
        states = tuple(_state(document[key], where) for key in ("before", "after"))
        return Reply(**common, latency_ns=_latencies(document["latency_ns"], queries, where), states=states)
    return Reply(**common, **_memory(document["memory"], where))


def _document(completed: Completed, where: str) -> dict[str, Any]:
    lines = completed.stdout.strip().rsplit("\n", 1)
    line = lines[-1]
    if not line:
        raise DeviceError(f"{where}: no answer: the run {_ending(completed)}")
    if len(line) > MAX_LINE:
        raise DeviceError(f"{where}: the answer has {len(line)} characters, expected at most {MAX_LINE}")
    try:
        document = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise DeviceError(f"{where}: the run {_ending(completed)} without a JSON answer in its last line") from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise DeviceError(f"{where}: the answer is not of schema '{SCHEMA}': is that edgekd's harness?")
    return document


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a number")


def _ending(completed: Completed) -> str:
    """How the process ended, with the last line that it said on stderr."""
    code = completed.rc
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        text = f"was ended by {name}" + (": out of memory?" if name == "SIGKILL" else "")
    else:
        text = f"ended with exit code {code}"
    said = [line for line in completed.stderr.splitlines() if line.strip()]
    return text + (f" ({printable(said[-1])})" if said else "")


def printable(text: str) -> str:
    """A device's text on one line, without control characters (terminals obey them), cut to 200 characters."""
    return "".join(c if c.isprintable() else " " for c in text).strip()[:MAX_TEXT]


def _cause(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise DeviceError(f"{where}: the answer's error is not a text")
    lines = [line for line in value.splitlines() if line.strip()]
    return printable(lines[0]) if lines else "no reason given"


def _keys(values: Any, required: set[str], optional: set[str], where: str) -> dict[str, Any]:
    found = _mapping(values, "answer", where)
    missing = sorted(required - found.keys())
    if missing:
        raise DeviceError(f"{where}: the answer lacks {', '.join(missing)}")
    for key in found.keys() - required - optional:
        raise DeviceError(f"{where}: the answer has an unknown key '{printable(key)}'" + did_you_mean(key, required | optional))
    return dict(found)


def _mapping(value: Any, what: str, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise DeviceError(f"{where}: {what} of the answer is not an object")
    return value


def _texts(values: Any, what: str, where: str) -> dict[str, str]:
    found = _mapping(values, what, where)
    if len(found) > 20:
        raise DeviceError(f"{where}: {what} of the answer has {len(found)} entries")
    return {_text(key, what, where): _text(value, f"{what}.{key}", where) for key, value in found.items()}


def _text(value: Any, what: str, where: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise DeviceError(f"{where}: {printable(what)} of the answer is not a short text")
    return value


def _number(value: Any, what: str, low: float, high: float, where: str, *, whole: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise DeviceError(f"{where}: {what} of the answer is {printable(repr(value))}, expected {kind} from {low:g} to {high:g}")
    return value


def _latencies(values: Any, queries: int | None, where: str) -> tuple[int, ...]:
    if not isinstance(values, list) or not 1 <= len(values) <= MAX_QUERIES:
        raise DeviceError(f"{where}: latency_ns of the answer is not a list of 1 to {MAX_QUERIES} values")
    if queries is not None and len(values) != queries:
        raise DeviceError(f"{where}: {queries} queries were asked for, {len(values)} came back")
    return tuple(int(_number(v, "latency_ns", 1, MAX_LATENCY_NS, where, whole=True)) for v in values)


def _memory(values: Any, where: str) -> dict[str, Any]:
    found = _keys(values, {"peak_rss_bytes"}, {"pss_bytes"}, where)
    return {key: int(_number(value, key, 1, MAX_MEMORY_BYTES, where, whole=True)) for key, value in found.items()}


def _state(values: Any, where: str) -> State:
    found = _keys(values, {"clock_s", "process_s"}, set(STATE_LIMITS) | {"governor"}, where)
    governor = _text(found.pop("governor", ""), "governor", where)
    return State(values={k: _number(v, k, *STATE_LIMITS[k], where) for k, v in found.items()}, governor=governor)
