"""Per-operator times: one schema from every runtime, in a run that times nothing else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.bench import operators
from edgekd.bench.jobs import Job
from edgekd.bench.operator_times import Operator, OperatorTimes
from edgekd.bench.profiling import feed, folded
from edgekd.bench.reply import parse
from edgekd.bench.settings import Use
from edgekd.bench.transports import Completed
from edgekd.errors import DeviceError
from edgekd.report.bench_text import bench_text
from edgekd.report.operators_report import SHOWN, operator_plot
from edgekd.testing import Case

QUERIES = 12
KERNELS = {"onnxruntime": "CPUExecutionProvider", "tflite": "XNNPACK", "openvino": "", "null": "numpy"}
TYPES = {"onnxruntime": "Conv", "tflite": "Convolution", "openvino": "Convolution", "null": "Linear"}


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "QUERIES", QUERIES)


def times(model: Path, target: str, **asked: Any) -> dict[str, Any]:
    """The operators, set against a latency of 2 ms."""
    with operators.opened([Job(model=model, target=target, **asked)]) as (runs,):
        return operators.operator_times(runs, [2.0, 2.0, 9.0], "measured")


@pytest.mark.parametrize("target", list(KERNELS))
def test_every_runtime_tells_its_operators(target: str, case: Callable[[str], Case]) -> None:
    """Rows of one schema: every operator ran in every query, shares add up, and what they take is set against the latency."""
    found = times(case(target).artifact("fp32").path, target)
    assert (found["queries"], found["provenance"]) == (QUERIES, "measured")
    assert all(set(row) == {"name", "type", "kernel", "calls", "median_us", "share"} for row in found["rows"])
    assert [row for row in found["rows"] if row["calls"] != QUERIES] == []
    assert sum(row["share"] for row in found["rows"]) == pytest.approx(1)
    assert [row["share"] for row in found["rows"]] == sorted((row["share"] for row in found["rows"]), reverse=True)
    assert any(row["type"].startswith(TYPES[target]) and KERNELS[target] in row["kernel"] for row in found["rows"])
    assert found["share_of_latency"] == pytest.approx(found["sum_ms"] / 2.0)


def test_a_record_has_its_operators_in_words(case: Callable[[str], Case]) -> None:
    """They are set against the latency that was measured without them."""
    job = Job(model=case("null").artifact("fp32").path, queries=3)
    record = operators.with_operators(job, job.measure())
    found = record["operators"]
    assert found["latency_ms"] == record["latency_ms"]["p50"]
    assert f"{found['share_of_latency']:.0%} of the plain latency" in bench_text(record)


def test_an_operator_that_xnnpack_is_kept_from_is_litert_s(case: Callable[[str], Case]) -> None:
    """The profile is of the options that are measured: without XNNPACK every operator runs in LiteRT's own kernels."""
    found = times(case("tflite").artifact("fp32").path, "tflite", use=Use(options=(("xnnpack", "off"),)))
    assert {row["kernel"] for row in found["rows"]} == {"LiteRT"}
    assert "CONV_2D" in {row["type"] for row in found["rows"]}


def test_a_runtime_of_another_version_is_a_reason(case: Callable[[str], Case], monkeypatch: pytest.MonkeyPatch) -> None:
    """LiteRT's structures are documented nowhere: what was not checked is not read."""
    target = case("tflite").target
    assert target.runner is not None
    source = target.runner.with_name("operators.py").read_text()
    namespace: dict[str, Any] = {"__name__": "operators"}
    exec(compile(source, "operators.py", "exec"), namespace)

    class Runner:
        @staticmethod
        def version() -> dict[str, str]:
            return {"ai-edge-litert": "9.9.1"}

    assert "here is 9.9.1" in namespace["unavailable"](Runner)


def test_a_target_without_a_profile_says_so(tmp_path: Path, case: Callable[[str], Case]) -> None:
    """No file `operators.py` beside the runner: unavailable, and the record is whole without it."""
    artifact, target = case("null").artifact("fp32").path, case("null").target
    assert target.runner is not None
    bare = tmp_path / "runner.py"
    bare.write_bytes(target.runner.read_bytes())
    job = Job(model=artifact, target="null", queries=3)
    with operators.opened([job]) as (runs,):
        runs.target = type("Bare", (), {"name": "bare", "runner": bare})()
        assert operators.operator_times(runs, [1.0], "measured") == {"unavailable": "target 'bare' has no per-operator times"}


def test_the_second_of_a_name_is_another_operator() -> None:
    """Two nodes of one name in each query are two rows, each with a time a query."""
    rows = folded([[("a", "T", "K", 1.0), ("a", "T", "K", 5.0)], [("a", "T", "K", 2.0), ("a", "T", "K", 6.0)]])
    assert [(row["name"], row["us"]) for row in rows] == [("a", [1.0, 2.0]), ("a (2)", [5.0, 6.0])]


def test_a_slow_model_is_profiled_as_often_as_time_allows() -> None:
    """Past its time the feed ends, but not before three queries after the warm-up."""
    job = {"warmup_queries": 2, "queries": 50, "max_seconds": 0.0}
    assert len(list(feed([[np.zeros(1)]], job))) == 5


def test_whole_microseconds_are_read_as_what_they_were_cut_from() -> None:
    """Of 3, 3, 3, 4 the median lies a little above 3; a clock that always says 0 gives no share below nothing."""
    found = OperatorTimes(
        queries=4,
        operators=(
            Operator(name="a", type="T", kernel="K", us=(3, 3, 3, 4)),
            Operator(name="b", type="T", kernel="K", us=(0, 0, 0, 0)),
        ),
    )
    first, second = found.rows()
    assert 3 < first["median_us"] < 3.5
    assert second["median_us"] >= 0
    assert first["share"] + second["share"] == pytest.approx(1)


def answer(profile: Any) -> Completed:
    machine = {"system": "Linux", "arch": "x86_64", "python": "3.11", "cpus": 2}
    document = {"schema": "edgekd.reply/1", "mode": "operators", "versions": {"x": "1"}, "machine": machine, "profile": profile}
    return Completed(rc=0, stdout=json.dumps(document), stderr="")


ENTRY = {"name": "conv", "type": "Conv", "kernel": "jit", "us": [1.5, 2.0]}
GOOD = {"how": "a clock", "queries": 2, "operators": [ENTRY]}


def test_a_good_answer_is_read() -> None:
    """Names are made printable, however odd: they are the model's."""
    found = parse(answer({**GOOD, "operators": [{**ENTRY, "name": "a\x1b[31m\nb"}]}), "operators", where="pi").operators
    assert found is not None
    assert found.operators[0].name == "a [31m b"


@pytest.mark.parametrize(
    "profile",
    [
        None,
        [],
        {},
        {**GOOD, "operators": []},
        {**GOOD, "operators": [{**ENTRY, "us": []}]},
        {**GOOD, "operators": [{**ENTRY, "us": [-1.0]}]},
        {**GOOD, "operators": [{**ENTRY, "us": ["1"]}]},
        {**GOOD, "operators": [{**ENTRY, "name": 3}]},
        {**GOOD, "operators": [{**ENTRY, "name": "x" * 3000}]},
        {**GOOD, "operators": [{**ENTRY, "more": 1}]},
        {**GOOD, "operators": [ENTRY] * 30_000},
        {**GOOD, "queries": 0},
        {**GOOD, "how": "two\nlines"},
        {"unavailable": 7},
        {"unavailable": "x", "operators": []},
    ],
)
def test_a_bad_answer_is_refused(profile: Any) -> None:
    """Whatever is not a profile is a device error on one line."""
    with pytest.raises(DeviceError) as raised:
        parse(answer(profile), "operators", where="pi")
    assert "\n" not in str(raised.value)


def test_many_operators_are_summed_up() -> None:
    """The text shows ten and the share of the others; the plot has a bar for them; names cannot write HTML."""
    rows = [{"name": f"<b>{i}", "type": "T", "kernel": "K", "calls": 2, "median_us": 1.0, "share": 1 / 40} for i in range(40)]
    told = {"rows": rows, "sum_ms": 0.04, "latency_ms": 0.05, "share_of_latency": 0.8, "queries": 2, "how": "h"}
    record = {"operators": {**told, "provenance": "measured"}, "artifact": "m", "device": "d", "target": "t"}
    shown = operator_plot(record)
    assert shown is not None
    labels = [label for trace in shown.plot["data"] for label in trace["y"]]
    assert len(labels) == 31
    assert not any("<b>" in label for label in labels)
    assert sum(us for trace in shown.plot["data"] for us in trace["x"]) == pytest.approx(40)
    assert SHOWN == 10
