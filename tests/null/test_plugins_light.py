"""Members are found by name without importing what they need; what is missing or wrong is said in one line."""

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.errors import InputError, MissingExtraError, StageError
from edgekd.plugins import find_target, load_attribute, need, target_names, vendor_errors, versions

TARGETS = ("coreml", "onnxruntime", "openvino", "tflite", "null")


def test_the_four_targets_and_the_null_one_are_found() -> None:
    """Names are sorted, the null target last."""
    assert target_names() == TARGETS


def test_an_unknown_target_offers_the_nearest() -> None:
    """A misspelt runtime is answered with the one that was meant."""
    with pytest.raises(InputError, match="did you mean 'onnxruntime'"):
        find_target("onnx-runtime")


def test_a_missing_module_names_the_command() -> None:
    """The message is the exact pip command with the extra."""
    with pytest.raises(MissingExtraError) as found:
        need("no_such_module_at_all", "hailo", "target 'hailo'")
    expected = "target 'hailo' needs no_such_module_at_all, which is not installed: pip install \"edgekd[hailo]\""
    assert str(found.value) == expected


def test_a_broken_module_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that is there but lacks a library of its own is not called missing."""
    (tmp_path / "broken_vendor.py").write_text("import no_such_part_of_it")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match=r"cannot be imported \(No module named 'no_such_part_of_it'\)"):
        need("broken_vendor", "x", "a test")


def test_versions_are_of_what_is_installed() -> None:
    """What is not installed has no version and no entry."""
    assert list(versions("numpy", "no-such-distribution")) == ["numpy"]


def test_a_file_beside_the_project_comes_first(tmp_path: Path) -> None:
    """`json:answer` takes json.py of the project's folder, and leaves the real json and sys.path as they were."""
    import json

    (tmp_path / "neighbour.py").write_text("ANSWER = 42")
    (tmp_path / "json.py").write_text("import neighbour\nanswer = neighbour.ANSWER")
    before = list(sys.path)
    try:
        assert load_attribute("json:answer", tmp_path) == 42
    finally:
        sys.modules.pop("neighbour", None)
    assert sys.path == before
    assert sys.modules["json"] is json


def test_two_projects_may_have_modules_of_one_name(tmp_path: Path) -> None:
    """`teacher.py` of one project is not taken for that of another, nor an edited one for the old."""
    found = []
    for name, value in (("a", 1), ("b", 2), ("a", 3)):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "teacher.py").write_text(f"value = {value}")
        found.append(load_attribute("teacher:value", tmp_path / name))
    assert found == [1, 2, 3]


@pytest.mark.parametrize(
    ("code", "reference", "expected"),
    [
        ("def net(): pass", "mine:nte", "did you mean 'net'"),
        ("1 / 0", "mine:net", "ZeroDivisionError"),
        ("import no_such_thing_of_mine", "mine:net", "no_such_thing_of_mine"),
        ("def net(:", "mine:net", "SyntaxError"),
        ("raise KeyError", "mine:net", "KeyError"),
        ("", "yours:net", "no module 'yours'"),
        ("", "mine", "expected module:name"),
        ("", "../mine:net", "expected module:name"),
        ("", "mine:", "expected module:name"),
    ],
)
def test_a_users_module_that_fails_says_why(code: str, reference: str, expected: str, tmp_path: Path) -> None:
    """Whatever the user's file raises becomes one line that names the reference."""
    (tmp_path / "mine.py").write_text(code)
    with pytest.raises(InputError, match=expected) as found:
        load_attribute(reference, tmp_path)
    assert reference in str(found.value)


@given(st.text(max_size=20))
def test_no_text_escapes_as_another_error(text: str) -> None:
    """Any text is refused with an InputError: nothing is imported by a path."""
    with pytest.raises(InputError):
        load_attribute(text + ":no_such_attribute_here", None)


def test_a_vendors_error_is_one_line_with_versions() -> None:
    """Pages of a toolchain become stage, first line, type and versions; errors of edgekd pass as they are."""
    with pytest.raises(StageError) as found, vendor_errors("convert", {"tool": "1.2"}, "try fp16"):
        raise RuntimeError("first\nsecond")
    assert str(found.value) == "convert: first [RuntimeError; tool 1.2] (try fp16)"
    with pytest.raises(InputError, match="mine"), vendor_errors("convert", {}, ""):
        raise InputError("mine")
