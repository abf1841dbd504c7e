"""`onnx:FILE`: any batch, layout and type of number is fed as the model wants it; what is damaged or reaches out is refused."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.data import Data
from edgekd.data.settings import DataSettings
from edgekd.data.sources import load_data
from edgekd.errors import InputError
from edgekd.teachers.load import load_teacher
from edgekd.teachers.onnx_file import load_onnx

SHAPE = (3, 4, 5)
WEIGHT = np.random.default_rng(0).normal(size=(60, 7)).astype(np.float32)
INPUTS = np.random.default_rng(1).normal(size=(10, *SHAPE)).astype(np.float32)
EXPECTED = INPUTS.reshape(10, 60) @ WEIGHT


def model(
    batch: int | str = "batch", *, last: bool = False, dtype: int = TensorProto.FLOAT, softmax: bool = False
) -> onnx.ModelProto:
    """Flatten and multiply; `last` has the channels last and turns them first itself."""
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    dims = (4, 5, 3) if last else SHAPE
    nodes = [helper.make_node("Transpose", ["x"], ["first"], perm=[0, 3, 1, 2])] if last else []
    nodes.append(helper.make_node("Flatten", ["first" if last else "x"], ["flat"]))
    nodes.append(helper.make_node("MatMul", ["flat", "w"], ["raw" if softmax else "y"]))
    nodes += [helper.make_node("Softmax", ["raw"], ["y"], axis=1)] if softmax else []
    inputs = [helper.make_tensor_value_info("x", dtype, [batch, *dims])]
    outputs = [helper.make_tensor_value_info("y", dtype, [batch, 7])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [numpy_helper.from_array(WEIGHT.astype(kind), "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.parametrize("batch", ["batch", 1, 4])
@pytest.mark.parametrize("last", [False, True])
def test_batches_and_layouts(tmp_path: Path, batch: int | str, last: bool) -> None:
    """A fixed batch is filled up, channels are turned: the answers are those of the matrix."""
    onnx.save(model(batch, last=last), tmp_path / "m.onnx")
    teacher = load_onnx("t", tmp_path / "m.onnx", SHAPE)
    np.testing.assert_allclose(teacher.outputs(INPUTS).logits, EXPECTED, atol=1e-4)
    assert teacher.params == 420


@pytest.mark.parametrize("dtype", [TensorProto.DOUBLE, TensorProto.FLOAT16])
def test_other_floats(tmp_path: Path, dtype: int) -> None:
    """Doubles and halves are given as such and come back as float32."""
    onnx.save(model(dtype=dtype), tmp_path / "m.onnx")
    found = load_onnx("t", tmp_path / "m.onnx", SHAPE).outputs(INPUTS).logits
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, EXPECTED, atol=0.1)


def test_softmax_is_undone(tmp_path: Path) -> None:
    """A model that ends in a softmax gives logits, through load_teacher."""
    onnx.save(model(softmax=True), tmp_path / "m.onnx")
    labels = np.arange(70) % 7
    np.savez(tmp_path / "a.npz", x=np.random.default_rng(2).normal(size=(70, *SHAPE)), y=labels)
    data: Data = load_data(DataSettings(source="npz:a.npz", mean=(0.0,) * 3, std=(1.0,) * 3), base=tmp_path)
    found = load_teacher("onnx:m.onnx", None, data=data, base=tmp_path, seed=0).outputs(INPUTS).logits
    np.testing.assert_allclose(found - found[:, :1], EXPECTED - EXPECTED[:, :1], atol=1e-3)


def test_other_shapes_are_refused(tmp_path: Path) -> None:
    """Both shapes are in the message."""
    onnx.save(model(), tmp_path / "m.onnx")
    with pytest.raises(InputError, match=r"takes samples of shape \(3, 4, 5\), those of the data are \(1, 28, 28\)"):
        load_onnx("t", tmp_path / "m.onnx", (1, 28, 28))


def test_weights_beside_the_model(tmp_path: Path) -> None:
    """External weights in the model's folder are used, and change the fingerprint; a missing file is named."""
    onnx.save(model(), tmp_path / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0)
    first = load_onnx("t", tmp_path / "m.onnx", SHAPE)
    np.testing.assert_allclose(first.outputs(INPUTS).logits, EXPECTED, atol=1e-4)
    (tmp_path / "m.bin").write_bytes(bytes((tmp_path / "m.bin").stat().st_size))
    assert load_onnx("t", tmp_path / "m.onnx", SHAPE).fingerprint != first.fingerprint
    (tmp_path / "m.bin").unlink()
    with pytest.raises(InputError, match=r"'m\.bin', which is not beside it"):
        load_onnx("t", tmp_path / "m.onnx", SHAPE)


@pytest.mark.parametrize("place", ["../secret.bin", "/etc/hostname", "link.bin"])
def test_weights_outside_are_refused(tmp_path: Path, place: str) -> None:
    """A model may not read files out of its folder: not by .., not by an absolute path, not by a link."""
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(WEIGHT.tobytes())
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    made = model()
    tensor = made.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, place)
    tensor.ClearField("raw_data")
    (folder / "m.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(InputError, match="outside of its folder: refused"):
        load_onnx("t", folder / "m.onnx", SHAPE)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    """Cut off, noise, empty and missing: one line each."""
    whole = model().SerializeToString()
    for content in (whole[:-100], whole[:10], b"\xff" * 50, b""):
        (tmp_path / "m.onnx").write_bytes(content)
        with pytest.raises(InputError, match=r"m\.onnx") as caught:
            load_onnx("t", tmp_path / "m.onnx", SHAPE)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="does not exist"):
        load_onnx("t", tmp_path / "none.onnx", SHAPE)
