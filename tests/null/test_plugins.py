"""Finding members by name: what is missing or wrong is said in one line, with what to do."""

import sys

import pytest

from edgekd.errors import InputError, MissingExtraError, StageError
from edgekd.null_target import NullTarget
from edgekd.plugins import find_target, load_attribute, need, reading, target_names, vendor_errors, versions


def test_targets_are_found_by_entry_point():
    """All four targets and the null one are found; each has the name that it was found by."""
    assert target_names() == ("coreml", "onnxruntime", "openvino", "tflite", "null")
    assert isinstance(find_target("null"), NullTarget)
    assert find_target("openvino").name == "openvino"


def test_unknown_target_suggests_a_name():
    """A misspelt target is an InputError with the name that was meant."""
    with pytest.raises(InputError, match=r"target 'onnxruntme' is not known \(did you mean 'onnxruntime'\?\)"):
        find_target("onnxruntme")


def test_need_returns_the_module():
    """A module that is there is imported and returned, by its dotted name too."""
    assert need("json.decoder", "x", "this test").__name__ == "json.decoder"


def test_need_names_the_command():
    """A missing module is named with who needs it and the exact command."""
    with pytest.raises(MissingExtraError) as caught:
        need("coremltoolz.proto", "coreml", "target 'coreml'")
    assert str(caught.value) == (
        "target 'coreml' needs coremltoolz.proto, which is not installed: pip install \"edgekd[coreml]\""
    )
    assert caught.value.exit_code == 4


def test_need_tells_broken_from_missing(tmp_path, monkeypatch):
    """A module that is there but does not import is not called missing: the cause is told."""
    (tmp_path / "half_installed.py").write_text("import not_there_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match=r"cannot be imported \(No module named 'not_there_at_all'\)"):
        need("half_installed", "train", "this test")


def test_versions_leaves_out_what_is_missing():
    """Versions are read without importing; a package that is not installed is left out."""
    assert list(versions("numpy", "no-such-package")) == ["numpy"]


def test_vendor_errors_become_stage_errors():
    """A vendor's error leaves with its stage, first line, versions and hint, the cause chained."""
    with pytest.raises(StageError) as caught, vendor_errors("convert", {"tool": "1.2"}, "do this"):
        raise RuntimeError("\n  first\nsecond")
    assert str(caught.value) == "convert: first [RuntimeError; tool 1.2] (do this)"
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_own_errors_pass_through(tmp_path):
    """Errors of edgekd are not wrapped again."""
    mine = InputError("mine")
    with pytest.raises(InputError) as caught, vendor_errors("convert", {}, ""):
        raise mine
    assert caught.value is mine
    with pytest.raises(InputError) as caught, reading(tmp_path, "a model"):
        raise mine
    assert caught.value is mine


def test_unreadable_file_is_named(tmp_path):
    """A runtime's error while reading names the file and what it should have been."""
    with (
        pytest.raises(InputError, match=r"m\.onnx: cannot be read as an ONNX model: bad magic"),
        reading(tmp_path / "m.onnx", "an ONNX model"),
    ):
        raise ValueError("bad magic")


def test_attribute_of_an_installed_module():
    """`module:name` reaches an installed module, dotted modules and dotted attributes."""
    import json.decoder

    assert load_attribute("json.decoder:JSONDecoder.decode", None) is json.decoder.JSONDecoder.decode


def test_file_beside_the_project_counts_first(tmp_path):
    """A file in the project's folder is taken before an installed module; its neighbours can be imported by it."""
    (tmp_path / "json.py").write_text("from helper_of_json import VALUE\nclass Mine:\n    value = VALUE")
    (tmp_path / "helper_of_json.py").write_text("VALUE = 41")
    before = list(sys.path)
    assert load_attribute("json:Mine", tmp_path).value == 41
    assert sys.path == before
    assert sys.modules["json"].__file__ != str(tmp_path / "json.py")


def test_file_is_imported_once_and_again_when_it_changes(tmp_path):
    """The same file gives the same object; a changed one, or one in another project, gives its own."""
    other = tmp_path / "other"
    other.mkdir()
    for folder, value in ((tmp_path, 1), (other, 2)):
        (folder / "teacher.py").write_text(f"value = [{value}]")
    first = load_attribute("teacher:value", tmp_path)
    assert load_attribute("teacher:value", tmp_path) is first
    assert load_attribute("teacher:value", other) == [2]
    (tmp_path / "teacher.py").write_text("value = [3]")
    assert load_attribute("teacher:value", tmp_path) == [3]


def test_dataclass_in_a_project_file(tmp_path):
    """A dataclass with postponed annotations, which looks its module up by name, can be defined in a project file."""
    (tmp_path / "family.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass Family:\n    width: int = 3"
    )
    assert load_attribute("family:Family", tmp_path)().width == 3


@pytest.mark.parametrize("reference", ["module", ":name", "module:", "../x:y", "a b:c", "a:b:c", "/etc/passwd:x"])
def test_malformed_reference(reference, tmp_path):
    """Anything but module:name is refused before anything is imported."""
    with pytest.raises(InputError, match="expected module:name"):
        load_attribute(reference, tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"no module 'mine' is installed, and there is no .*mine\.py"),
        ("import nothing_such", "importing mine failed: No module named 'nothing_such'"),
        ("def (", "importing mine failed: SyntaxError"),
        ("1 / 0", "importing mine failed: ZeroDivisionError: division by zero"),
        ("valeu = 1", r"mine has no 'value' \(did you mean 'valeu'\?\)"),
    ],
)
def test_what_is_wrong_with_a_project_file(content, message, tmp_path):
    """A missing file, a failing import, a syntax error and a missing name are told apart."""
    if content is not None:
        (tmp_path / "mine.py").write_text(content)
    with pytest.raises(InputError, match=message):
        load_attribute("mine:value", tmp_path)
