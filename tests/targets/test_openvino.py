"""What OpenVINO's target promises beyond the conformance suite."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from edgekd.errors import InputError, MissingExtraError, StageError
from edgekd.plugins import find_target, need
from edgekd.session import load_runner
from edgekd.target import Program
from edgekd.types import Precision

pytest.importorskip("openvino")
pytest.importorskip("nncf")
TARGET = find_target("openvino")


@pytest.fixture(scope="module")
def built(case):
    return case("openvino").artifact


def weights(path) -> list[tuple[str, np.ndarray]]:
    """(operator, its stored weights) of all convolutions and linear layers of the model."""
    ov = need("openvino", "openvino", "this test")
    found = []
    for operator in ov.Core().read_model(path).get_ops():
        if operator.get_type_name() in ("Convolution", "GroupConvolution", "MatMul"):
            node = operator.input_value(1).get_node()
            while node.get_type_name() != "Constant":
                node = node.input_value(0).get_node()
            found.append((operator.get_type_name(), node.get_data()))
    return found


def test_weight_compression_reaches_every_layer(built):
    """w8 stores all weights, those of depthwise convolutions too, in 8 bits."""
    assert {array.dtype.name for _, array in weights(built("w8").path)} == {"int8"}
    sizes = {p: built(p).path.with_suffix(".bin").stat().st_size for p in ("fp32", "fp16", "w8")}
    assert sizes["w8"] < 0.35 * sizes["fp32"]
    assert sizes["fp16"] < 0.55 * sizes["fp32"]


def test_static_weights_leave_headroom(built):
    """Two products of 8-bit activations and these weights fit 16 bits: 2 · 255 · 64 < 32,768.

    Depthwise convolutions add no two products before they widen, and keep all 8 bits.
    """
    found = weights(built("w8a8").path)
    assert {array.dtype.name for _, array in found} == {"int8"}
    dense = [int(np.abs(array.astype(np.int32)).max()) for operator, array in found if operator != "GroupConvolution"]
    assert len(dense) > 5
    assert 60 <= max(dense) <= 64


def test_notes_of_converters_are_dropped(built):
    """The model holds its contract and OpenVINO's version, and nothing of how and where it was made."""
    for precision in TARGET.precisions:
        text = built(precision).path.read_text()
        assert "edgekd" in text
        assert not [word for word in ("nncf", "conversion_parameters", "site-packages", "aten::") if word in text]


def test_threads_are_honoured(built):
    """The compiled model runs on as many threads as asked for, in one stream, in float32."""
    model = load_runner(TARGET.runner).load(str(built("fp32").path), 2)
    compiled = model._request.get_compiled_model()
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 2
    assert compiled.get_property("NUM_STREAMS") == 1
    assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"


def test_outputs_survive_the_next_run(built, case):
    """What a run returned is not overwritten by the run after it."""
    model = load_runner(TARGET.runner).load(str(built("fp32").path), 1)
    first, second = case("openvino").samples[:1], case("openvino").samples[1:2]
    kept = model.run([first])[0]
    copy = kept.copy()
    model.run([second])
    assert np.array_equal(kept, copy)


def test_weights_come_from_beside_the_model(built, tmp_path):
    """A link instead of the weights is refused: an artifact never reaches outside itself."""
    source = built("fp32").path
    shutil.copyfile(source, tmp_path / "model.xml")
    (tmp_path / "model.bin").symlink_to(source.with_suffix(".bin"))
    with pytest.raises(InputError, match=r"model\.bin is missing, or is a link"):
        TARGET.open(tmp_path / "model.xml")


def test_model_of_others_has_no_contract(built, tmp_path):
    """A model that edgekd did not build is read, and its missing contract is named."""
    ov = need("openvino", "openvino", "this test")
    model = ov.Core().read_model(built("fp32").path)
    ov.save_model(ov.Model(model.get_results(), model.get_parameters(), "other"), tmp_path / "model.xml")
    with pytest.raises(InputError, match=r"no rt_info 'edgekd\.contract'"):
        TARGET.open(tmp_path / "model.xml")
    assert TARGET.operators(tmp_path / "model.xml")["Convolution"] > 5


def test_other_suffix_is_refused(tmp_path):
    """A file that is not an .xml is refused by its name."""
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(InputError, match=r"ends in \.xml"):
        TARGET.open(tmp_path / "model.onnx")


def test_unconvertible_student_fails_its_stage(student, tmp_path):
    """A student that cannot be traced is a StageError with its cause, the versions and a hint; the cause is chained."""
    import torch

    class Broken(torch.nn.Module):
        def forward(self, x):
            raise RuntimeError("no such thing\nat all")

    program = Program(module=Broken(), input_shape=(1, 8, 8), contract=student.contract, parent="")
    with pytest.raises(StageError, match=r"convert: .*openvino 20.*choose another family") as caught:
        TARGET.convert(program, tmp_path)
    assert caught.value.__cause__ is not None
    assert "\n" not in str(caught.value)


def test_unknown_operator_is_named(student, tmp_path):
    """An operator that OpenVINO cannot convert is named, out of the many lines that OpenVINO says."""
    import torch

    class Exotic(torch.nn.Module):
        def forward(self, x):
            return torch.linalg.qr(x)[0]

    program = Program(module=Exotic(), input_shape=(1, 8, 8), contract=student.contract, parent="")
    with pytest.raises(StageError, match=r"convert: No conversion rule found for operations: aten::linalg_qr"):
        TARGET.convert(program, tmp_path)


def test_reason_of_a_broken_file_is_told(built, tmp_path):
    """The reason is told, not the line in OpenVINO's source that noticed it."""
    source = built("fp32").path
    shutil.copyfile(source, tmp_path / "model.xml")
    (tmp_path / "model.bin").write_bytes(source.with_suffix(".bin").read_bytes()[:1000])
    with pytest.raises(InputError, match=r"model\.xml: cannot be read as an OpenVINO model: Incorrect weights in bin file"):
        TARGET.open(tmp_path / "model.xml")


def test_unknown_precision_fails_its_stage(case, tmp_path):
    """`quantize` to a precision that is not declared says which ones are."""
    found = case("openvino")
    with pytest.raises(StageError, match="cannot build w4"):
        TARGET.quantize(found.program, found.artifact("fp32"), Precision.parse("w4"), found.calibration, tmp_path)


@pytest.mark.parametrize("module", ["openvino", "nncf"])
def test_missing_package_names_the_command(module, case, monkeypatch, tmp_path):
    """Without one of its packages the target says which, and the exact command."""
    found = case("openvino")
    source = found.artifact("fp32")
    monkeypatch.setitem(sys.modules, module, None)
    arguments = (found.program, source, Precision.parse("w8"), found.calibration, tmp_path)
    with pytest.raises(MissingExtraError) as caught:
        TARGET.quantize(*arguments)
    assert str(caught.value) == f"target 'openvino' needs {module}, which is not installed: pip install \"edgekd[openvino]\""


def test_tools_do_not_report_home(tmp_path):
    """Neither openvino nor nncf find the package that reports conversions over the network."""
    code = (
        "from edgekd.plugins import need; ov = need('openvino', '', ''); need('nncf', '', ''); import torch\n"
        "ov.convert_model(torch.nn.Linear(2, 2), example_input=torch.zeros(1, 2))\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "CI"} | {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True)
    assert not (tmp_path / "intel").exists()
