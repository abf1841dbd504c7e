"""A project file is read strictly: what is wrong is named in one line, and nothing else is ever raised."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekd.errors import InputError
from edgekd.project import make_project, read_project, template

SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
KEYS = re.findall(r"^([a-z_]+) *=", template(), re.MULTILINE)
PINNED = ["source", "model", "losses", "task_weight", "epochs", "family", "trials", "seed", "device", "target", "precisions"]
PINNED += ["latency_ms", "peak_memory_bytes", "size_bytes", "max_accuracy_drop"]


def line(key: str, value: str) -> Callable[[str], str]:
    return lambda text: re.sub(rf"^{key} *=[^#\n]*", f"{key} = {value} ", text, flags=re.MULTILINE)


MUTATIONS: dict[str, tuple[Callable[[str], str], str]] = {
    "unknown key": (lambda t: t.replace("\nlatency_ms", "\nlatncy_ms"), "did you mean 'latency_ms'?"),
    "unknown table": (lambda t: t.replace("[students]", "[studnets]"), "did you mean 'students'?"),
    "unknown precision": (line("precisions", '["fp31"]'), "did you mean 'fp32'?"),
    "not TOML": (lambda t: "x = [\n", "is not TOML"),
    "empty": (lambda t: "", "is empty"),
    "comments only": (lambda t: "# nothing\n", "is empty"),
    "text for a number": (line("latency_ms", '"fast"'), "latency_ms"),
    "number for text": (line("source", "3"), "[data] source"),
    "boolean for a number": (line("epochs", "true"), "[distill] epochs"),
    "fraction for a whole number": (line("epochs", "2.5"), "[distill] epochs"),
    "negative": (line("latency_ms", "-3"), "latency_ms is -3"),
    "zero": (line("size_bytes", "0"), "size_bytes is 0"),
    "nan": (line("latency_ms", "nan"), "latency_ms"),
    "infinite": (line("latency_ms", "inf"), "latency_ms"),
    "a date": (line("latency_ms", "2024-01-01"), "latency_ms"),
    "no epochs": (line("epochs", "0"), "[distill] epochs is 0"),
    "no trials": (line("trials", "0"), "[search] trials is 0"),
    "no precision": (line("precisions", "[]"), "precisions is empty"),
    "drop above one": (line("max_accuracy_drop", "5"), "max_accuracy_drop is 5"),
    "deploy with one bracket": (lambda t: t.replace("[[deploy]]", "[deploy]"), "two brackets"),
    "deploy as a number": (lambda t: re.sub(r"\[\[deploy\]\].*", "", "deploy = 3\n" + t, flags=re.DOTALL), "two brackets"),
    "no teacher": (lambda t: re.sub(r"\[teacher\].*?\n\n", "", t, flags=re.DOTALL), "table [teacher] is missing"),
    "no model": (lambda t: re.sub(r"^model.*\n", "", t, flags=re.MULTILINE), "[teacher] needs a key 'model'"),
    "a table as text": (lambda t: re.sub(r"\[search\].*?\n\n", "", 'search = "much"\n' + t, flags=re.DOTALL), "[search]"),
    "losses as text": (line("losses", '"soft_targets"'), "losses"),
    "a loss without a name": (line("losses", "[{ weight = 0.9 }]"), "losses"),
    "a loss with a negative weight": (line("losses", '[{ name = "soft_targets", weight = -1.0 }]'), "weight of loss"),
    "all weights zero": (lambda t: line("task_weight", "0.0")(line("losses", "[]")(t)), "all weights are 0"),
    "5,000 digits": (line("epochs", "9" * 5000), "is not TOML"),
    "deep nesting": (lambda t: "x = " + "[" * 3000, "is not TOML"),
}


def refused(tmp_path: Path, content: str | bytes) -> str:
    path = tmp_path / "project.toml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError) as found:
        read_project(path)
    message = str(found.value)
    assert len(message.splitlines()) == 1
    assert "project.toml" in message
    return message


def test_the_template_is_a_project(tmp_path: Path) -> None:
    """What --init writes reads without an error, has one deployment, and is bound to its folder."""
    path = tmp_path / "project.toml"
    path.write_text(template())
    project = read_project(path)
    assert len(project.deploy) == 1
    assert (project.data.source, project.base) == ("digits", tmp_path.resolve())
    assert [loss.name for loss in project.distill.losses] == ["soft_targets"]
    assert project.distill.losses[0].numbers == {"temperature": 4.0}


@pytest.mark.parametrize("key", PINNED)
def test_the_template_has_the_pinned_keys(key: str) -> None:
    """Scripts edit the template by its key names: each has a line of its own, once."""
    assert len(re.findall(rf"^{key} *= ", template(), re.MULTILINE)) == 1


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mistake_is_named_in_one_line(name: str, tmp_path: Path) -> None:
    """Each mistake in the template gives an InputError of one line that says what it is about."""
    change, expected = MUTATIONS[name]
    assert change(template()) != template()
    assert expected in refused(tmp_path, change(template()))


def test_no_file_says_how_to_get_one(tmp_path: Path) -> None:
    """A project that is not there, or is a folder, is refused with the command that writes one."""
    for path in (tmp_path / "missing.toml", tmp_path):
        with pytest.raises(InputError, match="distill --init"):
            read_project(path)


@SETTINGS
@given(data=st.data())
def test_any_misspelt_key_is_refused(data: st.DataObject, tmp_path: Path) -> None:
    """Whatever letter of whatever key is changed, the project is refused and the message quotes what was written."""
    key = data.draw(st.sampled_from(KEYS))
    place = data.draw(st.integers(0, len(key) - 1))
    letter = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz_"))
    wrong = data.draw(st.sampled_from([key[:place] + letter + key[place:], key[:place] + key[place + 1 :] or "x"]))
    text = re.sub(rf"^{key} *=", f"{wrong} =", template(), count=1, flags=re.MULTILINE)
    if wrong in KEYS or text == template():
        return
    assert f"'{wrong}'" in refused(tmp_path, text)


@SETTINGS
@given(content=st.binary(max_size=400))
def test_noise_is_an_input_error(content: bytes, tmp_path: Path) -> None:
    """No bytes make reading raise anything but an InputError."""
    refused(tmp_path, content)


@SETTINGS
@given(key=st.sampled_from(KEYS), value=st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
))  # fmt: skip
def test_any_value_is_taken_or_refused(key: str, value: object) -> None:
    """A key with any value whatever either makes a project or an InputError of one line."""
    raw = tomllib.loads(template())
    for table in (*(raw[name] for name in ("data", "teacher", "distill", "students", "search")), raw["deploy"][0]):
        if key in table:
            table[key] = value
    try:
        make_project(raw, Path())
    except InputError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017


def test_rungs_are_never_longer_than_trainings(tmp_path: Path) -> None:
    """The short training has a fifth of the epochs unless told, and at most as many as the full one."""
    raw = tomllib.loads(template())
    for told, epochs, expected in ((None, 30, 6), (None, 3, 1), (10, 4, 4), (2, 4, 2)):
        raw["distill"]["epochs"] = epochs
        raw["search"].pop("rung_epochs", None)
        if told:
            raw["search"]["rung_epochs"] = told
        assert make_project(raw, tmp_path).rung_epochs == expected


def test_any_change_changes_the_fingerprint() -> None:
    """The fingerprint follows what was written, not in which order."""
    raw = tomllib.loads(template())
    same = dict(reversed(raw.items()))
    other = {**raw, "search": {**raw["search"], "seed": 1}}
    prints = [make_project(item, Path()).fingerprint for item in (raw, same, other)]
    assert prints[0] == prints[1] != prints[2]
