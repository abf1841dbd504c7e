"""The answer of a run on a device, read strictly: it is data from outside, and nothing in it is taken on trust."""

import json
import math
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from edgekd.bench.checked import keys, mapping, number, printable, text, texts
from edgekd.bench.operator_times import OperatorTimes, read_operators
from edgekd.bench.transports import Completed
from edgekd.errors import DeviceError

SCHEMA = "edgekd.reply/1"
MAX_LINE = 16 << 20
MAX_QUERIES = 1_000_000
MAX_LATENCY_NS = 10**12
MAX_MEMORY_BYTES = 2**45
MAX_STREAMS = 256
MAX_WINDOWS = 100_000
MAX_OUTPUTS = 64

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
    "tracer_pid": (1, 2**31),
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
class Window:
    """A stretch of a sustained run: when it ended, since the start; its queries and their median; the state at its end."""

    end_s: float
    queries: int
    median_ns: int
    temperature_c: float | None = None
    frequency_mhz: float | None = None


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A checked answer: what its mode measures is there, all else is empty or None. Times in the order taken."""

    versions: dict[str, str]
    machine: dict[str, str]
    cpus: int
    states: tuple[State, ...] = field(default=())
    peak_rss_bytes: int | None = None
    pss_bytes: int | None = None
    latency_ns: tuple[int, ...] = ()
    windows: tuple[Window, ...] = ()
    dense_ns: tuple[int, ...] = ()
    late: int = 0
    streams: tuple[tuple[int, ...], ...] = ()
    wall_ns: int = 0
    import_ns: int = 0
    load_ns: int = 0
    first_ns: int = 0
    resident: float | None = None
    operators: OperatorTimes | None = None
    outputs: int = 0


def parse(completed: Completed, mode: str, *, where: str, queries: int | None = None) -> Reply:
    """Read the last line of a run's stdout.

    Args:
        completed: how the run ended.
        mode: what it was asked for, one of `MODES`.
        where: the device's name, for messages.
        queries: the exact number of latencies that was asked for, or None.

    Raises:
        RunFailed: where the harness itself says that it failed.
        DeviceError: for anything else that is not a complete and plausible answer.
    """
    document = _document(completed, where)
    if "error" in document:
        found = keys(document, {"schema", "error", "stage"}, set(), where)
        raise RunFailed(where, text(found["stage"], "stage", where), _cause(found["error"], where))
    if completed.rc != 0:
        raise DeviceError(f"{where}: the run answered and then {_ending(completed)}")
    wanted, read = MODES[mode]
    keys(document, {"schema", "mode", "versions", "machine"} | wanted, set(), where)
    if document["mode"] != mode:
        raise DeviceError(f"{where}: asked for mode {mode}, answered another")
    machine = dict(mapping(document["machine"], "machine", where))
    cpus = number(machine.pop("cpus", None), "cpus", 1, 4096, where, whole=True)
    facts = texts(keys(machine, {"system", "arch", "python"}, TEXT_FACTS, where), "machine", where)
    states = tuple(_state(document[key], where) for key in ("before", "after") if key in wanted)
    common: dict[str, Any] = {"versions": texts(document["versions"], "versions", where), "machine": facts, "cpus": int(cpus)}
    return Reply(**common, states=states, **read(document, queries, where))


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
        ended = f"was ended by {name}" + (": out of memory?" if name == "SIGKILL" else "")
    else:
        ended = f"ended with exit code {code}"
    said = [line for line in completed.stderr.splitlines() if line.strip()]
    return ended + (f" ({printable(said[-1])})" if said else "")


def _cause(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise DeviceError(f"{where}: the answer's error is not a text")
    lines = [line for line in value.splitlines() if line.strip()]
    return printable(lines[0]) if lines else "no reason given"


def _list(values: Any, what: str, most: int, where: str) -> list[Any]:
    if not isinstance(values, list) or not 1 <= len(values) <= most:
        raise DeviceError(f"{where}: {what} of the answer is not a list of 1 to {most} values")
    return values


def _times(values: Any, what: str, where: str, queries: int | None = None, least: int = 1) -> tuple[int, ...]:
    found = _list(values, what, MAX_QUERIES, where)
    if queries is not None and len(found) != queries:
        raise DeviceError(f"{where}: {queries} queries were asked for, {len(found)} came back")
    return tuple(_time(v, what, where, least) for v in found)


def _time(value: Any, what: str, where: str, least: int = 1) -> int:
    return int(number(value, what, least, MAX_LATENCY_NS, where, whole=True))


def _state(values: Any, where: str) -> State:
    found = keys(values, {"clock_s", "process_s"}, set(STATE_LIMITS) | {"governor"}, where)
    governor = text(found.pop("governor", ""), "governor", where)
    return State(values={k: number(v, k, *STATE_LIMITS[k], where) for k, v in found.items()}, governor=governor)


Read = Callable[[dict[str, Any], int | None, str], dict[str, Any]]


def _memory(document: dict[str, Any], queries: int | None, where: str) -> dict[str, Any]:
    found = keys(document["memory"], {"peak_rss_bytes"}, {"pss_bytes"}, where)
    return {key: int(number(value, key, 1, MAX_MEMORY_BYTES, where, whole=True)) for key, value in found.items()}


def _latency(document: dict[str, Any], queries: int | None, where: str) -> dict[str, Any]:
    return {"latency_ns": _times(document["latency_ns"], "latency_ns", where, queries)}


def _cold(document: dict[str, Any], queries: int | None, where: str) -> dict[str, Any]:
    times = {key: _time(document[key], key, where) for key in ("import_ns", "load_ns", "first_ns")}
    share = document["resident"]
    return {**times, "resident": None if share is None else number(share, "resident", 0, 1, where)}


def _sustained(document: dict[str, Any], queries: int | None, where: str) -> dict[str, Any]:
    windows = tuple(_window(values, where) for values in _list(document["windows"], "windows", MAX_WINDOWS, where))
    return {"windows": windows, "latency_ns": _times(document["latency_ns"], "latency_ns", where)}


def _window(values: Any, where: str) -> Window:
    found = keys(values, {"end_s", "queries", "median_ns"}, {"temperature_c", "frequency_mhz"}, where)
    state = {key: number(found[key], key, *STATE_LIMITS[key], where) for key in found.keys() & STATE_LIMITS.keys()}
    return Window(
        end_s=number(found["end_s"], "end_s", 0, 1e6, where),
        queries=int(number(found["queries"], "queries", 1, 10**9, where, whole=True)),
        median_ns=_time(found["median_ns"], "median_ns", where),
        **state,
    )


def _duty(document: dict[str, Any], queries: int | None, where: str) -> dict[str, Any]:
    late = int(number(document["late"], "late", 0, MAX_QUERIES, where, whole=True))
    return {**_latency(document, queries, where), "late": late, "dense_ns": _times(document["dense_ns"], "dense_ns", where)}


def _throughput(document: dict[str, Any], queries: int | None, where: str) -> dict[str, Any]:
    """A stream may have ended no query in time where the others let it wait."""
    lists = _list(document["streams"], "streams", MAX_STREAMS, where)
    streams = tuple(() if values == [] else _times(values, "streams", where) for values in lists)
    if not any(streams):
        raise DeviceError(f"{where}: no stream of the answer has a query")
    return {"streams": streams, "wall_ns": _time(document["wall_ns"], "wall_ns", where)}


def _outputs(document: dict[str, Any], queries: int | None, where: str) -> dict[str, Any]:
    return {"outputs": int(number(document["outputs"], "outputs", 1, MAX_OUTPUTS, where, whole=True))}


def _operators(document: dict[str, Any], queries: int | None, where: str) -> dict[str, Any]:
    return {"operators": read_operators(document, where)}


STATES = {"before", "after"}
MODES: dict[str, tuple[set[str], Read]] = {
    "empty": ({"memory"}, _memory),
    "memory": ({"memory"}, _memory),
    "latency": ({"latency_ns"} | STATES, _latency),
    "cold": ({"import_ns", "load_ns", "first_ns", "resident"} | STATES, _cold),
    "sustained": ({"windows", "latency_ns"} | STATES, _sustained),
    "duty": ({"latency_ns", "dense_ns", "late"} | STATES, _duty),
    "throughput": ({"streams", "wall_ns"} | STATES, _throughput),
    "operators": ({"profile"}, _operators),
    "outputs": ({"outputs"}, _outputs),
}
"""What each mode answers beside the common parts, and how that is read."""
