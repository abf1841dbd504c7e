"""Planned peaks of real files, against what is counted by hand."""

from pathlib import Path

import pytest

from edgekd.bench.planned import planned_peak
from edgekd.plugins import find_target


def small_onnx(file: Path, batch: int | str = 1) -> Path:
    """x (1, 2, 8, 8) → convolution to 4 channels → Relu → convolution to 1 channel, no padding."""
    onnx, np = pytest.importorskip("onnx"), pytest.importorskip("numpy")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    arrays = {"w": np.ones((4, 2, 3, 3), np.float32), "v": np.ones((1, 4, 3, 3), np.float32)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "v"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", kind, [batch, 2, 8, 8])
    y = helper.make_tensor_value_info("y", kind, [batch, 1, 4, 4])
    weights = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), file)
    return file


X, A = 2 * 64 * 4, 4 * 36 * 4


@pytest.mark.parametrize("batch", [1, "batch"])
def test_onnx(tmp_path: Path, batch: int | str) -> None:
    """The input and the first convolution's answer live at once; Relu writes over it; a free batch is 1."""
    found = planned_peak(find_target("onnxruntime"), small_onnx(tmp_path / "m.onnx", batch))
    assert found == {"value": X + A, "provenance": "modelled"}


def test_openvino(tmp_path: Path) -> None:
    """The same network as OpenVINO's own file."""
    ov = pytest.importorskip("openvino")
    ov.save_model(ov.convert_model(small_onnx(tmp_path / "m.onnx")), tmp_path / "m.xml", compress_to_fp16=False)
    assert planned_peak(find_target("openvino"), tmp_path / "m.xml") == {"value": X + A, "provenance": "modelled"}


@pytest.mark.parametrize(("target", "name"), [("onnxruntime", "m.onnx"), ("openvino", "m.xml"), ("tflite", "m.tflite")])
def test_a_broken_file_has_a_reason(tmp_path: Path, target: str, name: str) -> None:
    """It is read without trust: no traceback, no figure."""
    (tmp_path / name).write_bytes(b"not a model")
    (tmp_path / name).with_suffix(".bin").write_bytes(b"")
    found = planned_peak(find_target(target), tmp_path / name)
    assert found["value"] is None
    assert found["reason"]
