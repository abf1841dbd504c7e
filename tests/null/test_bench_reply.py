"""Answers of devices are data from outside: all that is not complete and plausible is refused in plain words."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.bench import reply
from edgekd.bench.reply import Reply, RunFailed, parse
from edgekd.bench.transports import Completed
from edgekd.errors import DeviceError

STATE = {"clock_s": 1.0, "process_s": 0.5, "load_1m": 0.1, "governor": "performance", "temperature_c": 40.0}
GOOD: dict[str, Any] = {
    "schema": "edgekd.reply/1",
    "mode": "latency",
    "versions": {"numpy": "1.24.4"},
    "machine": {"system": "Linux", "arch": "aarch64", "python": "3.8.18", "cpus": 4},
    "latency_ns": [1200, 1100, 1300],
    "before": STATE,
    "after": STATE,
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)


def answer(document: Any, rc: int = 0, stderr: str = "") -> Completed:
    return Completed(rc=rc, stdout="noise of a runtime\n" + json.dumps(document) + "\n", stderr=stderr)


def changed(**changes: Any) -> dict[str, Any]:
    return {**GOOD, **changes}


def read(document: Any) -> Reply:
    return parse(answer(document), "latency", where="pi", queries=3)


def test_a_good_answer_is_read_as_it_is() -> None:
    """Raw values stay in order; facts and states are kept."""
    found = read(GOOD)
    assert (found.latency_ns, found.cpus, found.machine["arch"]) == ((1200, 1100, 1300), 4, "aarch64")
    assert found.states[0].governor == "performance"
    assert found.states[1].values["temperature_c"] == 40.0


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (changed(latency_ns=[1200, -1, 1300]), "latency_ns of the answer is -1"),
        (changed(latency_ns=[1200, 0, 1300]), "latency_ns of the answer is 0"),
        (changed(latency_ns=[1200, 1.5, 1300]), "expected a whole number"),
        (changed(latency_ns=[1200, True, 1300]), "latency_ns of the answer is True"),
        (changed(latency_ns=[1200, "9", 1300]), "latency_ns"),
        (changed(latency_ns=[1200, 10**15, 1300]), "latency_ns"),
        (changed(latency_ns=[1200, float("nan"), 1300]), "without a JSON answer"),
        (changed(latency_ns=[1200, float("inf"), 1300]), "without a JSON answer"),
        (changed(latency_ns=[1200, 1300]), "3 queries were asked for, 2 came back"),
        (changed(latency_ns=[]), "list of 1 to"),
        (changed(latency_ns={"0": 1}), "list of 1 to"),
        (changed(mode="memory"), "asked for mode latency"),
        (changed(schema="edgekd.reply/2"), "not of schema"),
        (changed(extra=1), "unknown key 'extra'"),
        (changed(before={**STATE, "clock_s": None}), "clock_s"),
        (changed(after={**STATE, "temperature_c": 4000}), "temperature_c"),
        (changed(versions={"numpy": "1" * 500}), "versions.numpy"),
        (changed(versions={str(i): "1" for i in range(50)}), "50 entries"),
        (changed(versions={"numpy": "1\x1b[31m"}), "versions.numpy"),
        (changed(machine={**GOOD["machine"], "cpus": 0}), "cpus"),
        (changed(machine={"system": "Linux", "cpus": 1}), "lacks arch, python"),
        ([1, 2], "not of schema"),
        (17, "not of schema"),
    ],
)
def test_an_implausible_answer_is_refused(document: Any, message: str) -> None:
    """Wrong numbers, counts, types, keys and texts each give a device error that names the device and the field."""
    with pytest.raises(DeviceError, match=message) as raised:
        read(document)
    assert str(raised.value).startswith("pi: ")


@pytest.mark.parametrize("missing", sorted(GOOD))
def test_a_missing_part_is_refused(missing: str) -> None:
    """Each part of an answer is needed."""
    with pytest.raises(DeviceError):
        read({key: value for key, value in GOOD.items() if key != missing})


@pytest.mark.parametrize(
    ("value", "message"), [(0, "peak_rss_bytes"), (-5, "peak_rss_bytes"), (2**60, "peak_rss_bytes"), (1.5, "whole number")]
)
def test_implausible_memory_is_refused(value: Any, message: str) -> None:
    """Peak memory is a positive whole number of bytes that a machine can have."""
    document = {key: GOOD[key] for key in ("schema", "versions", "machine")} | {
        "mode": "memory",
        "memory": {"peak_rss_bytes": value},
    }
    with pytest.raises(DeviceError, match=message):
        parse(answer(document), "memory", where="pi")


@pytest.mark.parametrize(
    ("completed", "message"),
    [
        (Completed(rc=0, stdout="", stderr=""), "no answer: the run ended with exit code 0"),
        (Completed(rc=-11, stdout="", stderr=""), "was ended by SIGSEGV"),
        (Completed(rc=-9, stdout="", stderr="loading\n"), r"SIGKILL: out of memory\? \(loading\)"),
        (Completed(rc=127, stdout="", stderr="sh: python: not found\n"), "exit code 127 .sh: python: not found"),
        (Completed(rc=0, stdout="{" * 200000, stderr=""), "without a JSON answer"),
        (Completed(rc=0, stdout="[" * 200000, stderr=""), "without a JSON answer"),
        (Completed(rc=0, stdout='{"a": ' + "1" * 5000 + "}", stderr=""), "without a JSON answer"),
    ],
)
def test_says_how_a_run_without_answer_ended(completed: Completed, message: str) -> None:
    """Crashes, kills, missing interpreters and broken JSON are told apart."""
    with pytest.raises(DeviceError, match=message):
        parse(completed, "latency", where="pi")


def test_a_good_answer_of_a_run_that_then_crashed_is_refused() -> None:
    """An exit code other than 0 counts, whatever was printed before."""
    with pytest.raises(DeviceError, match="answered and then was ended by SIGABRT"):
        parse(answer(GOOD, rc=-6), "latency", where="pi")


def test_too_long_an_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The length is checked before anything is parsed."""
    monkeypatch.setattr(reply, "MAX_LINE", 100)
    with pytest.raises(DeviceError, match="expected at most 100"):
        read(GOOD)


def test_a_failure_told_by_the_harness_keeps_its_stage() -> None:
    """The harness's own error is told with its stage, its first line only, without control characters."""
    document = {"schema": "edgekd.reply/1", "stage": "load", "error": "\nbad \x1b[2Jmodel\nat line 1\n"}
    with pytest.raises(RunFailed) as raised:
        parse(answer(document, rc=1), "latency", where="pi")
    assert (raised.value.stage, raised.value.cause) == ("load", "bad  [2Jmodel")


@given(document=json_values, key=st.sampled_from(sorted(GOOD)))
def test_no_json_whatever_gets_past_as_something_else(document: Any, key: str) -> None:
    """Any JSON in any place gives a reply or a device error on one printable line, and no other exception."""
    for candidate in (document, changed(**{key: document})):
        refusal = ""
        try:
            parse(answer(candidate), "latency", where="pi")
        except DeviceError as error:
            refusal = str(error)
        assert refusal.isprintable()
