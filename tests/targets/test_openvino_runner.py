"""OpenVINO's runner keeps inputs bound from query to query, and never answers for others than it was given."""

from pathlib import Path

import numpy as np
import pytest

from edgekd.session import load_runner
from edgekd.target import FloatArray
from edgekd_openvino import OpenVino

onnx = pytest.importorskip("onnx")
pytest.importorskip("openvino")


@pytest.fixture
def doubled(tmp_path: Path):
    """A loaded model that gives 2 x for x of shape (batch, 2, 3)."""
    from onnx import TensorProto, helper, numpy_helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2, 3]) for name in "xy")
    two = numpy_helper.from_array(np.float32(2), "two")
    graph = helper.make_graph([helper.make_node("Mul", ["x", "two"], ["y"])], "g", [x], [y], [two])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, tmp_path / "m.onnx")
    runner = OpenVino().runner
    assert runner is not None
    return load_runner(runner).load(str(tmp_path / "m.onnx"), 1)


def some(seed: int, batch: int = 1) -> FloatArray:
    return np.random.default_rng(seed).standard_normal((batch, 2, 3)).astype(np.float32)


def test_inputs_in_turn_give_their_own_answers(doubled) -> None:
    """Other arrays, the same arrays, the same list with another array, an array changed in place, another batch."""
    one, other = some(1), some(2)
    given = [one]
    first = doubled.run(given)[0]
    np.testing.assert_allclose(doubled.run([other])[0], 2 * other)
    np.testing.assert_allclose(doubled.run(given)[0], 2 * one)
    given[0] = other
    np.testing.assert_allclose(doubled.run(given)[0], 2 * other)
    other[:] = 5
    np.testing.assert_allclose(doubled.run(given)[0], np.full((1, 2, 3), 10))
    np.testing.assert_allclose(doubled.run([some(3, batch=4)])[0], 2 * some(3, batch=4))
    np.testing.assert_allclose(first, 2 * one)


def test_arrays_that_cannot_be_shared_are_copied(doubled) -> None:
    """Read-only ones, and such with gaps."""
    fixed, gaps = some(4), some(5, batch=2)[::2]
    fixed.flags.writeable = False
    np.testing.assert_allclose(doubled.run([fixed])[0], 2 * fixed)
    np.testing.assert_allclose(doubled.run([gaps.transpose(0, 1, 2)])[0], 2 * gaps)
    wide = np.asfortranarray(some(6))
    np.testing.assert_allclose(doubled.run([wide])[0], 2 * wide)
