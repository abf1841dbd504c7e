"""The real adb client and the real adbd of an emulated board, first by themselves, then through edgekd."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from adb_daemon import Server, needs_adb
from typer.testing import CliRunner

from edgekd.emulate.board import Running

pytestmark = needs_adb


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("adb"))
    yield made
    made.stop()


@pytest.fixture
def serial(server: Server, board: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The board's, of a server of the test's own."""
    server.enter(monkeypatch, tmp_path)
    assert board.adb_serial is not None
    return board.adb_serial


def adb(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["adb", *arguments], capture_output=True, text=True, check=False, timeout=120)


def write_convolutions(file: Path) -> Path:
    """A small ONNX model: two convolutions, a pooling, a matrix product."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    shapes = {"a": (8, 3, 3, 3), "b": (8, 1, 3, 3), "c": (8, 10)}
    weights = [numpy_helper.from_array(rng.standard_normal(s).astype(np.float32) / 4, name) for name, s in shapes.items()]
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["p"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["p"], ["q"]),
        helper.make_node("Conv", ["q", "b"], ["r"], pads=[1] * 4, group=8),
        helper.make_node("GlobalAveragePool", ["r"], ["s"]),
        helper.make_node("Flatten", ["s"], ["t"]),
        helper.make_node("MatMul", ["t", "c"], ["y"]),
    ]
    sides = {"x": [1, 3, 32, 32], "y": [1, 10]}
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in sides.items())
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), file)
    return file


def test_adb_itself(serial: str, tmp_path: Path) -> None:
    """Connect, shell with exit codes and a crash, push, pull: adb meets a device of ARM with shell_v2."""
    assert "connected to" in adb("connect", serial).stdout
    assert "shell_v2" in adb("-s", serial, "features").stdout
    assert adb("-s", serial, "shell", "uname -m").stdout == "aarch64\n"
    assert [adb("-s", serial, "shell", f"exit {code}").returncode for code in (0, 7)] == [0, 7]
    assert adb("-s", serial, "shell", "sh -c 'kill -SEGV $$'").returncode == 139
    told = adb("-s", serial, "shell", "echo out; echo err >&2")
    assert (told.stdout, told.stderr) == ("out\n", "err\n")
    (tmp_path / "bytes").write_bytes(bytes(range(256)) * 4000)
    assert adb("-s", serial, "push", str(tmp_path / "bytes"), "/data/local/tmp/bytes").returncode == 0
    assert adb("-s", serial, "shell", "wc -c < /data/local/tmp/bytes").stdout.strip() == "1024000"
    assert adb("-s", serial, "pull", "/data/local/tmp/bytes", str(tmp_path / "back")).returncode == 0
    assert (tmp_path / "back").read_bytes() == (tmp_path / "bytes").read_bytes()
    adb("-s", serial, "shell", "rm /data/local/tmp/bytes")


def test_a_benchmark_with_its_instructions(serial: str, tmp_path: Path) -> None:
    """The real ONNX Runtime there is measured and counted over adb; figures say emulated, and nothing stays on the board."""
    from edgekd.cli import app

    model = write_convolutions(tmp_path / "model.onnx")
    argv = ["bench", str(model), "--device", "raspberry-pi-5", "--connect", f"adb:{serial}", "--queries", "1"]
    done = CliRunner().invoke(app, [*argv, "--count-instructions", "--json", "-"], catch_exceptions=False)
    record = json.loads(done.stdout)
    assert (record["latency_ms"]["provenance"], record["conditions"]["arch"]) == ("emulated", "aarch64")
    assert "onnxruntime 1.32" in record["conditions"]["runtime"]
    counted = record["instructions_per_inference"]
    assert (counted["machine"], counted["cpu"], counted["provenance"]) == ("aarch64", "cortex-a76", "emulated")
    assert len(counted["values"]) == 2
    # 73,728 multiply-adds of NEON's four at once, and what the runtime and Python need around them.
    assert 30_000 < counted["value"] < 2_000_000
    assert "instructions" in done.stderr
    assert adb("-s", serial, "shell", "ls /data/local/tmp/edgekd").stdout == ""
