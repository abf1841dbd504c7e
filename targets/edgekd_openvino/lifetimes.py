"""How long each tensor of an OpenVINO model lives, from its graph."""

import math
from pathlib import Path
from typing import Any

from edgekd.bench.planned import Lifetimes, Step
from edgekd_openvino import model as files

OVER = frozenset(
    (
        "Add",
        "Clamp",
        "Convert",
        "Divide",
        "Elu",
        "Exp",
        "FakeQuantize",
        "Gelu",
        "HSigmoid",
        "HSwish",
        "LeakyRelu",
        "Multiply",
        "PRelu",
        "Relu",
        "Reshape",
        "Sigmoid",
        "Sqrt",
        "Squeeze",
        "Subtract",
        "Swish",
        "Tanh",
        "Unsqueeze",
    )
)
"""Element-wise operators and changes of shape."""


def lifetimes(path: Path) -> Lifetimes:
    """Raises InputError where the file is broken; a size that is known at run time only is left out."""
    sizes: dict[str, int] = {}
    steps: list[Step] = []
    inputs: list[str] = []
    outputs: list[str] = []
    for operator in files.read(path).get_ordered_ops():
        kind = operator.get_type_name()
        reads = tuple(_name(given.get_source_output()) for given in operator.inputs())
        writes = tuple(_name(made) for made in operator.outputs())
        if kind == "Result":
            outputs += reads
            continue
        if kind == "Parameter":
            inputs += writes
        else:
            steps.append(Step(reads=reads, writes=writes, over=kind in OVER))
        sizes |= {_name(made): size for made in operator.outputs() if (size := _bytes(operator, kind, made)) is not None}
    return Lifetimes(sizes=sizes, inputs=tuple(inputs), outputs=tuple(outputs), steps=tuple(steps))


def _name(output: Any) -> str:
    return f"{output.get_node().get_friendly_name()}:{output.get_index()}"


def _bytes(operator: Any, kind: str, output: Any) -> int | None:
    """A first dimension that is free is a batch of 1; what FakeQuantize gives in up to 256 levels the plugins keep in a byte."""
    shape = [dim.get_length() if dim.is_static else None for dim in output.get_partial_shape()]
    shape = [1, *shape[1:]] if shape and shape[0] is None else shape
    if any(size is None for size in shape):
        return None
    byte = kind == "FakeQuantize" and int(operator.get_attributes()["levels"]) <= 256
    return math.prod(size for size in shape if size is not None) * (1 if byte else int(output.get_element_type().size))
