"""Models whose cost is known to differ: the same operator so many times more often."""

from pathlib import Path

import numpy as np

LAYERS = 100
"""One layer more is 1 % more work."""
CHANNELS, SIDE = 16, 24


def planted_model(path: Path, layers: int, seed: int = 0) -> Path:
    """An ONNX file of `layers` 3x3 convolutions, each of 16 channels on 24x24; the first ones are alike whatever their number."""
    from onnx import TensorProto, checker, helper, numpy_helper, save

    rng = np.random.default_rng(seed)
    scale = np.sqrt(2 / (9 * CHANNELS))
    nodes, weights, last = [], [], "input"
    for layer in range(layers):
        weight = (scale * rng.standard_normal((CHANNELS, CHANNELS, 3, 3))).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"weight{layer}"))
        nodes.append(helper.make_node("Conv", [last, f"weight{layer}"], [f"sum{layer}"], pads=[1, 1, 1, 1]))
        last = "output" if layer == layers - 1 else f"active{layer}"
        nodes.append(helper.make_node("Relu", [f"sum{layer}"], [last]))
    shape = [1, CHANNELS, SIDE, SIDE]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("input", "output")]
    graph = helper.make_graph(nodes, "planted", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model)
    save(model, path)
    return path
