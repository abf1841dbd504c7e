"""The bench on real runtimes of this machine, with model files that edgekd did not build."""

import json
from pathlib import Path

import numpy as np
import pytest

from edgekd.bench.measure import measure_model
from edgekd.bench.settings import Settings
from edgekd.errors import InputError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
FEW = Settings(processes=2, warmup_queries=5)


def write_onnx(
    file: Path, *, features: int = 64, batch: int | str = 1, dtype: str = "float32", operator: str = "Identity"
) -> Path:
    """A bare model: one matrix product of float inputs, or one operator of integer ones."""
    from onnx import TensorProto, helper, numpy_helper

    kind = {"float32": TensorProto.FLOAT, "int8": TensorProto.INT8, "int64": TensorProto.INT64}[dtype]
    x = helper.make_tensor_value_info("x", kind, [batch, features])
    if dtype == "float32" and operator == "Identity":
        weight = np.random.default_rng(0).standard_normal((features, 8)).astype(np.float32)
        nodes, outputs, constants = [helper.make_node("MatMul", ["x", "w"], ["y"])], 8, [numpy_helper.from_array(weight, "w")]
    else:
        nodes, outputs, constants = [helper.make_node(operator, ["x"], ["y"])], features, []
    y = helper.make_tensor_value_info("y", kind, [batch, outputs])
    graph = helper.make_graph(nodes, "g", [x], [y], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), file)
    return file


def test_a_bare_onnx_file_is_measured(tmp_path: Path) -> None:
    """A foreign .onnx without a contract gives a full record with 200 values, a p90 and no p99."""
    record = measure_model(write_onnx(tmp_path / "m.onnx"), queries=200, settings=FEW)
    assert (record["target"], record["latency_ms"]["n"], record["latency_ms"]["provenance"]) == ("onnxruntime", 200, "measured")
    assert record["latency_ms"]["p50"] <= record["latency_ms"]["p90"]
    assert "p99" not in record["latency_ms"]
    assert "onnxruntime" in record["conditions"]["runtime"]
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_the_memory_of_a_model_holds_its_weights(tmp_path: Path) -> None:
    """64 MB of weights take at least so much peak memory, and a model without weights takes far less."""
    one = Settings(processes=1, warmup_queries=1, queries=1)
    big, small = (
        measure_model(write_onnx(tmp_path / f"{n}.onnx", features=n), settings=one)["peak_memory_bytes"]["value"]
        for n in (2_000_000, 8)
    )
    assert big > 64_000_000
    assert 0 < small < 40_000_000


@pytest.mark.parametrize(("batch", "dtype"), [("batch", "float32"), (1, "int8"), (1, "int64")])
def test_inputs_fit_the_model(tmp_path: Path, batch: int | str, dtype: str) -> None:
    """Free batches and integer inputs are fed in the model's own shape and type."""
    record = measure_model(write_onnx(tmp_path / "m.onnx", batch=batch, dtype=dtype), queries=3, settings=FEW)
    assert record["latency_ms"]["n"] == 3


@pytest.mark.parametrize("content", [b"not a model", bytes(1000), b"\x08\x0a" * 50])
def test_a_broken_onnx_file_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    """Garbage gives one line that names the file and the runtime."""
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(InputError, match=r"m\.onnx: onnxruntime cannot load this model") as raised:
        measure_model(tmp_path / "m.onnx", queries=1, settings=FEW)
    assert "\n" not in str(raised.value)


def test_a_truncated_onnx_file_is_an_input_error(tmp_path: Path) -> None:
    """Half a model does not load."""
    file = write_onnx(tmp_path / "m.onnx", features=512)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(InputError, match="cannot load this model"):
        measure_model(file, queries=1, settings=FEW)
