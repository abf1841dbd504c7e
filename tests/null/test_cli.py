"""The command: help everywhere, usage errors of one line, exit codes that scripts can rely on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import edgekd.__main__ as command
from edgekd import errors
from edgekd.cli import app

COMMANDS = {info.name or info.callback.__name__ for info in app.registered_commands if info.callback}
GROUPS = {group.name for group in app.registered_groups}
PINNED = {"demo", "distill", "export", "verify", "bench", "report", "devices", "targets", "doctor"}


def edgekd(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "edgekd", *arguments], capture_output=True, text=True, cwd=cwd, check=False)


def run_here(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """The command in this process: its exit code, stdout and stderr."""

    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(sys, "argv", ["edgekd", *arguments])
    monkeypatch.setattr(command.os, "_exit", leave)
    code = 0
    try:
        command.main()
    except SystemExit as end:
        code = int(end.code or 0)
    return (code, *capfd.readouterr())


def test_the_pinned_commands_are_there() -> None:
    """Scripts call these."""
    assert COMMANDS | GROUPS >= PINNED


@pytest.mark.parametrize("name", sorted(PINNED))
def test_every_command_has_help(name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """`edgekd NAME --help` exits 0, says what the command does, and takes --json."""
    code, out, err = run_here([name, "--help"], monkeypatch, capfd)
    assert (code, err) == (0, "")
    assert f"edgekd {name}" in out
    assert "--json" in out


def test_without_arguments_help_is_shown(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """`edgekd` alone lists the commands."""
    code, out, err = run_here([], monkeypatch, capfd)
    assert (code, err) == (0, "")
    assert all(name in out for name in PINNED)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["distill", "--nope"], "--nope"),
        (["distll"], "distill"),
        (["bench"], "Missing argument"),
        (["bench", "m.onnx", "--threads", "two"], "--threads"),
        (["bench", "m.onnx", "--threads", "0"], "--threads"),
        (["export", "run"], "--target"),
        (["distill", "a.toml", "b.toml"], "b.toml"),
        (["distill"], "distill --init"),
        (["distill", "a.toml", "--out"], "--out"),
        (["bench", "no-such.onnx"], "no-such.onnx"),
        (["report", "no-such-run"], "no-such-run"),
        (["export", "no-such-run", "--target", "null"], "no-such-run"),
        (["export", "run", "--target", "null", "--precision", "fp31"], "did you mean 'fp32'"),
    ],
)
def test_a_usage_error_is_one_line(
    arguments: list[str], expected: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Wrong usage exits 2 with one line on stderr that says what is wrong, and nothing on stdout."""
    code, out, err = run_here(arguments, monkeypatch, capfd)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("edgekd: ")
    assert expected in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InputError("x"), 2),
        (errors.InfeasibleError("x"), 3),
        (errors.MissingExtraError("x"), 4),
        (errors.DeviceError("x"), 5),
        (errors.NothingPassedError("x"), 6),
        (errors.StageError("verify", "x"), 6),
        (errors.StorageError("x"), 7),
        (KeyboardInterrupt(), 130),
        (MemoryError(), 1),
        (ZeroDivisionError("x"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_each_error_has_its_exit_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever a command raises, the exit code is the documented one and stderr has one line without a traceback."""

    def fails() -> None:
        raise error

    monkeypatch.setattr("edgekd.doctor.examine", fails)
    found, out, err = run_here(["doctor"], monkeypatch, capfd)
    assert (found, out) == (code, "")
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err


def test_an_internal_error_leaves_its_traceback_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The line names the file, and the file has the traceback."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("edgekd.doctor.examine", lambda: 1 // 0)
    _, _, err = run_here(["doctor"], monkeypatch, capfd)
    (file,) = tmp_path.iterdir()
    assert str(file) in err
    assert "ZeroDivisionError" in file.read_text()


def test_json_goes_where_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """`--json -` puts one JSON document on stdout and nothing else; a file gets the same."""
    _, out, err = run_here(["targets", "--json", "-"], monkeypatch, capfd)
    assert {"null", "onnxruntime", "openvino", "tflite", "coreml"} == {item["name"] for item in json.loads(out)}
    assert "null" in err
    run_here(["targets", "--json", str(tmp_path / "t.json")], monkeypatch, capfd)
    assert (tmp_path / "t.json").read_text() == out


def test_a_json_file_that_cannot_be_written_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The folder of --json must be there."""
    code, _, err = run_here(["targets", "--json", str(tmp_path / "no" / "t.json")], monkeypatch, capfd)
    assert code == 7
    assert len(err.splitlines()) == 1


def test_the_installed_command_behaves_the_same(tmp_path: Path) -> None:
    """In a process of its own: init writes the template once, refuses to overwrite it, and an unknown option exits 2."""
    first, second, third = (edgekd(*a, cwd=tmp_path) for a in (["distill", "--init"], ["distill", "--init"], ["demo", "--nope"]))
    assert (first.returncode, second.returncode, third.returncode) == (0, 2, 2)
    assert (tmp_path / "project.toml").is_file()
    assert "exists already" in second.stderr
    assert len(third.stderr.splitlines()) == 1
