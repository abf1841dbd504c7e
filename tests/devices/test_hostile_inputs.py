"""Model paths, device names, profile fields and runners' replies that somebody crafted: data, never a command, a path or a crash.

Addresses are in `test_hostile_addresses.py`. Each list below is explicit; Hypothesis adds to them elsewhere.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edgekd.bench.reply import parse
from edgekd.bench.runs import DEVICE_FILES, Runs
from edgekd.bench.settings import Settings
from edgekd.bench.transports import Completed
from edgekd.cli import app
from edgekd.device import Device, find_device, read_profile
from edgekd.errors import DeviceError, EdgekdError, InputError
from edgekd.null_target import NullTarget
from edgekd.probe import save

SHELL = [
    "$(touch pwned)", "`touch pwned`", ";touch pwned", "&touch pwned", "|touch pwned", "\ntouch pwned", "'; touch pwned; '",
    '"; touch pwned; "', "${IFS}touch", ">pwned", "<pwned", "*", "?", "~", "!!", "%h", "\\", "-rf", "--out=pwned", "-", "--",
    "a b", "\t", "\r", "\x1b[2J", "\x07", "\x7f", "\u202egnp", "\ufeff", "é", "😀", ".hidden", "..", "x" * 200,
]  # fmt: skip
ELSEWHERE = [
    "/etc/passwd", "../../etc/passwd", "/dev/zero", "/dev/null", "/dev/stdin", "/proc/self/mem", "/proc/self/environ", ".",
    "", "~/.ssh/id_ed25519", "file:///etc/passwd", "http://host/model.onnx", "\\\\host\\share\\m.onnx", "nul", "con.onnx",
    "missing.onnx", "missing.tflite", "missing.xml", "missing.mlpackage", "missing.npz", "a/../../missing.npz",
    "x" * 300 + ".npz",
    "$(touch pwned).npz", "-.npz", "model.npz/inner.npz", "loop.npz", "pipe.npz", "empty.npz", "folder.npz", "dangling.onnx",
    "noise.npz", "noise.onnx.npz", "text.npz",
]  # fmt: skip
NAMES = [
    *SHELL, "../local", "local/..", "/etc/passwd", "raspberry-pi-5.toml", "Raspberry-Pi-5", "raspberry pi 5", "raspberry-pi-5\n",
    "raspberry-pi-5\0", "raspberry–pi", "", " ", "-raspberry", "raspberry-", "a" * 300, "a" * 100_000, "ssh:pi", "adb:x", "con",
]  # fmt: skip
MODEL = {"weight": np.ones((2, 16), np.float32), "bias": np.zeros(2, np.float32), "scale": np.float32(1), "zero_point": 0}


@pytest.fixture(autouse=True)
def _away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


def in_one_line(error: BaseException | None) -> bool:
    """Expected errors are short and safe for a terminal."""
    return isinstance(error, EdgekdError) and str(error).isprintable() and len(str(error)) < 700


class Recorder:
    """A device that keeps what it is sent and told, and answers nothing."""

    python = "python3"

    def __init__(self) -> None:
        self.told: list[str] = []

    def push(self, local: Path, remote: str) -> None:
        self.told.append(remote)
        if remote == "job.json":
            self.told.append(local.read_text())

    def pull(self, remote: str, local: Path) -> None:
        self.told.append(remote)

    def run(self, argv: Sequence[str], timeout_s: float) -> Completed:
        self.told += argv
        return Completed(rc=0, stdout="", stderr="")

    def close(self) -> None:
        return


@pytest.mark.parametrize("name", SHELL, ids=ascii)
def test_a_models_name_never_reaches_the_device(name: str, tmp_path: Path) -> None:
    """Files go there under names of edgekd's own, whatever they are called here."""
    folder = tmp_path / "models"
    folder.mkdir()
    model = folder / f"{name}.npz"
    np.savez(model, **MODEL, shape=(1, 1, 16), dtype="float32")  # type: ignore[arg-type]
    device = Recorder()
    runs = Runs(model, find_device("raspberry-pi-5"), NullTarget(), device, 1, Settings.quick())
    runs.push()
    with pytest.raises(DeviceError):
        runs.run("memory")
    expected = {*DEVICE_FILES, "runner.py", "model.npz", "job.json", "python3", "harness.py"}
    assert {word for word in device.told if not word.startswith("{")} == expected
    (job,) = [json.loads(word) for word in device.told if word.startswith("{")]
    assert job["model"] == "model.npz"
    assert json.dumps(name)[1:-1] not in (json.dumps(job) if len(name) > 2 else "")
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("path", ELSEWHERE, ids=lambda path: ascii(path)[:40])
def test_a_path_that_is_no_model_is_told_in_one_line(path: str, tmp_path: Path) -> None:
    """Paths that lead elsewhere, to nothing, to devices, pipes, loops, folders and noise: an error that a user can read."""
    (tmp_path / "loop.npz").symlink_to("loop.npz")
    (tmp_path / "dangling.onnx").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "model.npz").write_bytes(b"PK")
    for file in ("noise.npz", "noise.onnx.npz"):
        (tmp_path / file).write_bytes(bytes(range(256)))
    (tmp_path / "text.npz").write_text("cos\nsystem\n(S'touch pwned'\ntR.")
    done = CliRunner().invoke(app, ["bench", "--queries", "1", "--", path])
    assert in_one_line(done.exception) or isinstance(done.exception, SystemExit)
    assert done.exit_code != 0
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:40])
def test_a_devices_name_is_no_path(name: str, tmp_path: Path) -> None:
    """A name that is none is refused where a profile is looked for, and where one would be written."""
    with pytest.raises(InputError) as caught:
        find_device(name)
    assert in_one_line(caught.value)
    if name not in ("con", "x" * 200):
        with pytest.raises(EdgekdError):
            save(find_device("raspberry-pi-5"), name)
    assert not list(tmp_path.rglob("*.toml"))


FINE = {"os": '"linux"', "arch": '"aarch64"'}
FIELDS = [
    'os = "linux; id"', 'os = 5', 'os = ["linux"]', 'os = ""', 'os = "LINUX"', 'arch = "aarch64\\nx"', 'arch = "../x"',
    "arch = true", 'soc = 5', 'soc = "\\u001b[2J"', 'soc = "a\\u0000b"', 'soc = "\\u202e"', f'soc = "{"x" * 5000}"',
    'soc = ["a"]', 'soc = "a\\nb"',
    "cores = 4", "cores = [-1]", "cores = [0]", "cores = [1e9]", 'cores = ["4"]', "cores = [true]", "cores = [99999999]",
    "max_mhz = [nan]", "max_mhz = [inf]", "max_mhz = [-5]", "max_mhz = [[1]]", "memory_bytes = -1", "memory_bytes = 1",
    "memory_bytes = 99999999999999999999999", 'memory_bytes = "1 GB"', "memory_bytes = nan", 'targets = "onnxruntime"',
    'targets = [5]', 'targets = ["\\u0007"]', 'isa = ["a\\u001b"]', 'isa = {a = 1}', 'accelerators = [["x"]]', 'meters = ["\\n"]',
    "power_w = [-1]", "power_w = [1e300]", 'connect = "ssh:-oX"', 'run = "touch pwned"', 'name = "other"', 'name = "../x"',
    '__class__ = "x"', '"$(touch pwned)" = 1', '"a\\u001b" = 1', 'notes = "x"', 'notes = ["\\u001b]0;x"]', "notes = [1]",
    'sources = "x"', 'sources = {os = 5}', 'sources = {pwned = "x"}', "untested_on_hardware = 1", 'untested_on_hardware = "no"',
    "os = ", "os", "[[os]]", "[os]", "\x00", "a = 1979-05-27T07:32:00Z", f"deep = {'[' * 3000}", "cores = [1, 2]\ncores = [3]",
    "os.x = 1",
]  # fmt: skip


@pytest.mark.parametrize("line", FIELDS, ids=lambda line: ascii(line)[:40])
def test_a_profiles_fields_are_facts_or_an_error(line: str, tmp_path: Path) -> None:
    """A profile with such a field is an input error in one line that a terminal can show."""
    file = tmp_path / "crafted.toml"
    keep = [f"{key} = {text}" for key, text in FINE.items() if not line.startswith(key)]
    sources = "" if line.startswith("sources") else '[sources]\nos = "x"\narch = "x"\n'
    key = line.partition(" = ")[0]
    if sources and key.isidentifier() and key in Device.__dataclass_fields__ and key not in FINE:
        sources += f'{key} = "x"\n'
    file.write_text("\n".join([*keep, line, sources]))
    with pytest.raises(InputError) as caught:
        read_profile(file)
    assert in_one_line(caught.value)


GOOD: dict[str, Any] = {
    "schema": "edgekd.reply/1", "mode": "latency", "versions": {"numpy": "2"}, "latency_ns": [5, 6, 7],
    "machine": {"system": "Linux", "arch": "aarch64", "python": "3.11", "cpus": 4},
    "before": {"clock_s": 1.0, "process_s": 0.1}, "after": {"clock_s": 2.0, "process_s": 0.2},
}  # fmt: skip
MACHINE, STATE = GOOD["machine"], GOOD["before"]
CHANGES: list[dict[str, Any]] = [
    *({key: value} for key in GOOD for value in (None, 5, "x", [], True, [[]], "\x1b[2J", "../../x", 1e308)),
    *({key: {}} for key in GOOD if key != "versions"),
    *({"latency_ns": [5, 6, bad]} for bad in (-1, 0, 1.5, True, None, "7", [7], 10**13, 10**400, {"a": 1})),
    *({"latency_ns": values} for values in ([5, 6], [5] * 4, [5] * 2_000)),
    *({"machine": {**MACHINE, "cpus": bad}} for bad in (0, -1, 1.5, "4", 10**9, None, True)),
    *({"machine": {**MACHINE, key: bad}} for key in ("system", "arch", "cpu") for bad in (5, "a\nb", "\x07", "x" * 999, ["x"])),
    *({"machine": {**MACHINE, extra: "x"}} for extra in ("run", "__class__", "$(id)", "\x1b")),
    *({"before": {**STATE, "clock_s": bad}} for bad in ("1", None, True, [1], {})),
    *({"after": {**STATE, "temperature_c": bad}} for bad in (4000, -300, "hot", True)),
    *({"after": {**STATE, "governor": bad}} for bad in (5, "a\x1b", "x" * 999, ["x"])),
    *({"versions": bad} for bad in ({"a\n": "1"}, {"a": 1}, {"a": "\x1b"}, {str(i): "1" for i in range(99)}, {"a": "x" * 999})),
    *({extra: "touch pwned"} for extra in ("run", "shell", "stdout", "__import__", "\x1b[2J", "$(touch pwned)", "x" * 5000)),
    *({"schema": bad} for bad in ("edgekd.reply/2", "edgekd.reply/1\n", "EDGEKD.REPLY/1")),
    *({"mode": bad} for bad in ("memory", "latency\n", "Latency", "__dict__")),
]
RAW = [
    "", " ", "\n\n", "{", "}", "[]", "null", "true", "5", '"x"', "NaN", "Infinity", '{"schema": NaN}', "[" * 50_000,
    '{"a":' * 50_000,
    "\0" * 1000, "\x1b[2J", "<html>", "Killed", "Segmentation fault (core dumped)", json.dumps(GOOD)[:-1], json.dumps(GOOD) + "x",
    json.dumps(GOOD) * 2, json.dumps([GOOD]), json.dumps(json.dumps(GOOD)), json.dumps(GOOD) + "\nlater words",
    '{"schema": "edgekd.reply/1", "error": 5, "stage": "run"}', '{"schema": "edgekd.reply/1", "error": "x"}',
    '{"schema": "edgekd.reply/1", "error": "x", "stage": ["run"]}', '{"schema": "edgekd.reply/1", "error": "x", "stage": "\\n"}',
    '{"schema": "edgekd.reply/1", "error": "\\u001b[2J\\nmore", "stage": "run"}', "\ud800", "9" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: ascii(change)[:50])
def test_a_reply_that_lies_is_refused(change: dict[str, Any]) -> None:
    """One wrong part makes the whole answer a device error in one printable line."""
    with pytest.raises(DeviceError) as caught:
        parse(Completed(rc=0, stdout=json.dumps({**GOOD, **change}), stderr=""), "latency", where="pi", queries=3)
    assert in_one_line(caught.value)


@pytest.mark.parametrize("text", RAW, ids=lambda text: ascii(text)[:40])
def test_a_reply_that_is_none_is_refused(text: str) -> None:
    """Whatever else is printed is a device error in one printable line."""
    with pytest.raises(DeviceError) as caught:
        parse(Completed(rc=0, stdout=text, stderr="\x1b[2Jsaid"), "latency", where="pi", queries=3)
    assert in_one_line(caught.value)


def test_there_are_enough() -> None:
    """The lists are as long as they claim to be."""
    assert len(set(SHELL)) + len(set(ELSEWHERE)) + len(set(NAMES)) + len(set(FIELDS)) + len(CHANGES) + len(RAW) >= 300
