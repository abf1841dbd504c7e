"""report.json: what is read, what is refused, and how it is written."""

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_document import report_document

from edgekd.errors import InputError, StorageError
from edgekd.report import read_report, write_report
from edgekd.report.document import check_report
from edgekd.report.schema import Kind
from edgekd.types import Provenance

REPORT = report_document()


def changed(*path: str | int, value: Any) -> dict[str, Any]:
    """The report with the value at `path` replaced."""
    report = copy.deepcopy(REPORT)
    place: Any = report
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return report


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """write_report leaves three files and nothing else; read_report gives the same document from the file or its folder."""
    paths = write_report(REPORT, tmp_path / "run")
    assert [p.name for p in paths] == ["report.json", "report.html", "report.md"]
    assert sorted(os.listdir(tmp_path / "run")) == ["report.html", "report.json", "report.md"]
    assert read_report(paths[0]) == REPORT
    assert read_report(tmp_path / "run") == REPORT


def test_keys_of_a_newer_edgekd_are_kept(tmp_path: Path) -> None:
    """A key that the reader does not know survives reading and writing."""
    write_report(changed("selected", 0, "carbon_mg", value=3), tmp_path)
    assert read_report(tmp_path)["selected"][0]["carbon_mg"] == 3


def test_the_smallest_report_can_be_written(tmp_path: Path) -> None:
    """A run that ended before anything was trained still has a report."""
    empty = {"selected": [], "trials": [], "timings_s": {}, "project": {}}
    write_report(REPORT | empty | {"teacher": {"name": "t", "params": None, "accuracy": None}}, tmp_path)
    assert "infeasible" in (tmp_path / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("schema", ["edgekd.run/2", "edgekd.contract/1", None, 1])
def test_other_schemas_are_refused(schema: Any) -> None:
    """The message names both schemas."""
    with pytest.raises(InputError, match=r"expected 'edgekd\.run/1'"):
        check_report(REPORT | {"schema": schema})


@pytest.mark.parametrize("document", [[], None, "report", 3, {}])
def test_other_json_is_refused(document: Any) -> None:
    """Any other JSON value is an input error, not a crash."""
    with pytest.raises(InputError):
        check_report(document)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("selected", 0, "latency_ms", "p50"), "fast", "selected.0.latency_ms.p50"),
        (("selected", 0, "latency_ms", "provenance"), "guessed", "selected.0.latency_ms.provenance"),
        (("selected", 1, "within_budget"), 1, "selected.1.within_budget"),
        (("trials", 2, "status"), "lost", "trials.2.status"),
        (("teacher",), None, "teacher"),
        (("trials",), {}, "trials"),
        (("trials", 0, "values"), {"width": [1]}, "trials.0.values.width"),
    ],
)
def test_a_wrong_value_is_named(path: tuple[str | int, ...], value: Any, named: str) -> None:
    """The message says where in the document the first bad value is."""
    with pytest.raises(InputError, match=named.replace(".", r"\.")):
        check_report(changed(*path, value=value))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "path", [("selected", 0, "latency_ms", "p50"), ("project", "seed"), ("selected", 0, "conditions", "load")]
)
def test_nan_is_refused_and_nothing_is_written(path: tuple[str | int, ...], value: float, tmp_path: Path) -> None:
    """No number that JSON does not have gets into a report, known key or not."""
    with pytest.raises(InputError):
        write_report(changed(*path, value=value), tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"schema": NaN}', "\x00"])
def test_a_broken_file_is_an_input_error(text: str, tmp_path: Path) -> None:
    """Broken JSON, too deep JSON and NaN are refused with the file's name."""
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(InputError, match=r"report\.json"):
        read_report(tmp_path)


def test_a_file_that_is_not_text_is_an_input_error(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are refused."""
    (tmp_path / "report.json").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(InputError, match="not a JSON document"):
        read_report(tmp_path)


def test_a_missing_report_says_what_leaves_one(tmp_path: Path) -> None:
    """The message names the command that makes reports."""
    with pytest.raises(InputError, match="edgekd distill --out"):
        read_report(tmp_path)


def test_an_unwritable_folder_is_a_storage_error(tmp_path: Path) -> None:
    """A file where the folder should be."""
    (tmp_path / "run").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        write_report(REPORT, tmp_path / "run")


def test_a_failed_write_leaves_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the rename fails, the old file stands and no temporary one stays."""
    write_report(REPORT, tmp_path)
    before = (tmp_path / "report.json").read_bytes()

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edgekd.report.document.os.replace", refuse)
    with pytest.raises(StorageError, match="No space left"):
        write_report(changed("created", value="later"), tmp_path)
    assert (tmp_path / "report.json").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["report.html", "report.json", "report.md"]


def test_lone_surrogates_survive(tmp_path: Path) -> None:
    """A name that is no valid Unicode, which JSON can carry, does not stop the report."""
    report = changed("data", "name", value=json.loads('"\\ud800x"'))
    write_report(report, tmp_path)
    assert read_report(tmp_path) == report


def test_provenances_are_those_of_the_types() -> None:
    """The schema knows every provenance, and no other."""
    assert set(Kind.__args__) == set(Provenance)


BEST = next(i for i, trial in enumerate(REPORT["trials"]) if trial["status"] == "selected")
PARTS: list[tuple[str | int, ...]] = [
    *[(key,) for key in ("teacher", "data", "environment", "timings_s")],
    *[("selected", 0, *rest) for rest in ((), ("fidelity",), ("budget",), ("accuracy",), ("latency_ms",), ("values",))],
    *[("trials", BEST, *rest) for rest in ((), ("curve", 0), ("rungs", 0), ("screening", 0), ("artifacts", 0))],
    *[("trials", BEST, "artifacts", 0, key) for key in ("latency_ms", "accuracy", "values")],
    ("infeasible", 0),
    *[("selected", 0, "teacher_fidelity", *rest) for rest in ((), ("student",), ("artifact",), ("cka",), ("robustness",))],
    *[("selected", 0, "teacher_fidelity", "student", *rest) for rest in (("student",), ("classes", 0), ("new_confusions", 0))],
    *[("selected", 0, "teacher_fidelity", "student", "teacher", "reliability", 14), ("teacher", "check")],
    *[("selected", 0, "teacher_fidelity", "robustness", *rest) for rest in (("conditions", 0), ("networks", "student"))],
    *[("honest", 0, *rest) for rest in ((), ("variants", 0), ("gains", 0), ("transfer_effectiveness",))],
    *[("teacher", "check", "advice", 0), ("advice", 0)],
]
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.lists(st.integers(), max_size=2))


@settings(max_examples=150, deadline=None)
@given(part=st.sampled_from(PARTS), data=st.data())
def test_a_damaged_report_is_refused_or_rendered(part: tuple[str | int, ...], data: st.DataObject) -> None:
    """Whatever one value is replaced by, a report is either refused as an input error or rendered: nothing else is raised."""
    from edgekd.report import render_html, render_markdown

    place: Any = REPORT
    for key in part:
        place = place[key]
    key = data.draw(st.sampled_from(sorted(place)))
    try:
        report = check_report(changed(*part, key, value=data.draw(VALUES)))
    except InputError:
        return
    assert render_html(report)
    assert render_markdown(report)
