"""What ONNX Runtime's target promises beyond the conformance suite."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekd.device import Device
from edgekd.errors import InputError, MissingExtraError, StageError
from edgekd.plugins import find_target
from edgekd.session import load_runner
from edgekd.target import Program
from edgekd.types import Precision

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
TARGET = find_target("onnxruntime")


@pytest.fixture(scope="module")
def built(case):
    return case("onnxruntime").artifact


def initializers(path: Path) -> list[np.ndarray]:
    return [onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer]


def test_metadata_is_the_contract_alone(built):
    """Nothing that the exporter knows about this machine is shipped."""
    for precision in TARGET.precisions:
        content = built(precision).path.read_bytes()
        assert [entry.key for entry in onnx.load_from_string(content).metadata_props] == ["edgekd.contract"]
        assert b"site-packages" not in content


def test_static_weights_leave_headroom(built):
    """Two products of 8-bit activations and these weights fit 16 bits: 2 · 255 · 64 < 32,768."""
    weights = [a for a in initializers(built("w8a8").path) if a.dtype == np.int8 and a.ndim > 1]
    assert len(weights) > 10
    assert max(int(np.abs(w.astype(np.int32)).max()) for w in weights) == 64


def test_dynamic_weights_are_unsigned(built):
    """Unsigned products are summed in 32 bits on every x86 CPU, so dynamic weights use all 8 bits."""
    weights = [a for a in initializers(built("w8a8-dynamic").path) if a.ndim > 1 and a.itemsize == 1]
    assert {w.dtype.name for w in weights} == {"uint8"}
    assert max(int(w.max()) for w in weights) > 127


def test_static_logits_stay_float(built):
    """The output is not quantized: logits outside the calibrated range are not cut off."""
    graph = onnx.load(built("w8a8").path).graph
    (last,) = [node for node in graph.node if graph.output[0].name in node.output]
    assert last.op_type == "Gemm"


def test_half_precision_halves_the_file(built):
    """fp16 weights take half the space; input and output stay float32."""
    assert built("fp16").size_bytes < 0.6 * built("fp32").size_bytes
    assert built("fp16").contract.inputs == built("fp32").contract.inputs


def test_threads_are_honoured(built):
    """A model loaded with three threads starts two more than with one."""
    runner = load_runner(TARGET.runner)

    def started(threads: int) -> int:
        before = len(os.listdir("/proc/self/task"))
        model = runner.load(str(built("fp32").path), threads)
        after = len(os.listdir("/proc/self/task"))
        del model
        return after - before

    if not Path("/proc/self/task").exists():
        pytest.skip("counts threads in /proc")
    assert started(1) == 0
    assert started(3) == 2


def external(name: str) -> "onnx.TensorProto":
    tensor = onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../secret"
    return tensor


@pytest.mark.parametrize("where", ["initializer", "constant", "branch", "sparse"])
def test_external_data_is_refused(where, tmp_path):
    """A model that keeps a tensor in another file is refused, wherever in the model it hides it."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes, initializer, sparse = [helper.make_node("Add", ["x", "w"], ["y"])], [], []
    constant = helper.make_node("Constant", [], ["w"], value=external("hidden"))
    if where == "initializer":
        initializer = [external("w")]
    elif where == "constant":
        nodes.insert(0, constant)
    elif where == "sparse":
        sparse = [onnx.SparseTensorProto(values=external("w"), dims=[1])]
    else:
        branch = helper.make_graph([constant], "branch", [], [helper.make_tensor_value_info("w", kind, [1])])
        nodes.insert(0, helper.make_node("If", ["c"], ["w"], then_branch=branch, else_branch=branch))
        initializer = [helper.make_tensor("c", onnx.TensorProto.BOOL, [], [True])]
    values = [helper.make_tensor_value_info(name, kind, [1]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], initializer, sparse_initializer=sparse)
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    for call in (TARGET.contract, TARGET.operators, TARGET.open):
        with pytest.raises(InputError, match="in another file"):
            call(path)


def test_names_that_are_not_text_are_refused(built, tmp_path):
    """An operator's name that is not UTF-8 is an InputError."""
    content = built("fp32").path.read_bytes()
    (tmp_path / "model.onnx").write_bytes(content.replace(b"Relu", b"R\xfflu", 1))
    with pytest.raises(InputError, match="cannot be read as an ONNX model"):
        TARGET.operators(tmp_path / "model.onnx")


def test_model_of_others_has_no_contract(built, tmp_path):
    """A model that edgekd did not build is read, and its missing contract is named."""
    model = onnx.load(built("fp32").path)
    model.ClearField("metadata_props")
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(InputError, match=r"no metadata 'edgekd\.contract'"):
        TARGET.open(tmp_path / "model.onnx")
    assert TARGET.operators(tmp_path / "model.onnx")["Conv"] > 5


def test_unexportable_student_fails_its_stage(student, tmp_path):
    """A student that cannot be exported is a StageError with its cause, the versions and a hint; the cause is chained."""
    import torch

    class Branching(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1) if x.sum() > 0 else -x.flatten(1)

    program = Program(module=Branching(), input_shape=(1, 8, 8), contract=student.contract, parent="")
    with pytest.raises(StageError, match=r"convert: .*torch 2.*choose another family") as caught:
        TARGET.convert(program, tmp_path)
    assert caught.value.__cause__ is not None
    assert "\n" not in str(caught.value)


def test_unknown_precision_has_reason(case, tmp_path):
    """A precision that is not declared has a reason in `unsupported` and fails `quantize`."""
    device = Device(name="x", os="linux", arch="x86_64")
    assert TARGET.unsupported(Precision.parse("w4"), device).startswith("target 'onnxruntime' has no precision w4")
    assert "coreml" in TARGET.unsupported(Precision.parse("fp32"), Device(name="x", os="ios", arch="aarch64"))
    found = case("onnxruntime")
    with pytest.raises(StageError, match="cannot build w4"):
        TARGET.quantize(found.program, found.artifact("fp32"), Precision.parse("w4"), found.calibration, tmp_path)


@pytest.mark.parametrize("module", ["onnx", "onnxscript", "onnxruntime"])
def test_missing_package_names_the_command(module, case, monkeypatch, tmp_path):
    """Without one of its packages the target says which, and the exact command."""
    found = case("onnxruntime")
    path = found.artifact("fp32").path
    monkeypatch.setitem(sys.modules, module, None)
    expected = f"target 'onnxruntime' needs {module}, which is not installed: pip install \"edgekd[onnxruntime]\""
    with pytest.raises(MissingExtraError) as caught:
        TARGET.convert(found.program, tmp_path) if module == "onnxscript" else TARGET.open(path)
    assert str(caught.value) == expected


def test_runtime_does_not_report_home(built, tmp_path):
    """Opening a model leaves nothing of the runtime's telemetry in the home folder, and starts no thread for it."""
    code = (
        "import sys, os, pathlib; from edgekd.plugins import find_target\n"
        "find_target('onnxruntime').open(pathlib.Path(sys.argv[1]), 1)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("ORT_DISABLE_TELEMETRY", "CI")} | {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code, str(built("fp32").path)], check=True, env=environment)
    assert list(tmp_path.iterdir()) == []
