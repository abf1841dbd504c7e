"""How long each tensor of an ONNX file lives, from its graph and ONNX's own shape inference."""

import math
from pathlib import Path
from typing import Any

from edgekd.bench.planned import Lifetimes, Step
from edgekd.errors import InputError
from edgekd.plugins import need, reading
from edgekd_onnxruntime import model as files

OVER = frozenset(
    (
        "Add",
        "BatchNormalization",
        "Clip",
        "DequantizeLinear",
        "Div",
        "Dropout",
        "Elu",
        "Erf",
        "Exp",
        "Flatten",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "LeakyRelu",
        "Mul",
        "Neg",
        "PRelu",
        "QuantizeLinear",
        "Relu",
        "Reshape",
        "Sigmoid",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Tanh",
        "Unsqueeze",
    )
)
"""Element-wise operators and changes of shape."""


def lifetimes(path: Path) -> Lifetimes:
    """Raises InputError where the file is broken, has control flow, or has sizes that are known at run time only."""
    onnx = need("onnx", "onnxruntime", files.NEEDED_BY)
    with reading(path, files.FORMAT):
        graph = onnx.shape_inference.infer_shapes(files.read(path), data_prop=True).graph
    if any(attribute.type == onnx.AttributeProto.GRAPH for node in graph.node for attribute in node.attribute):
        raise InputError(f"{path}: has control flow: its peak is known at run time only")
    weights = {tensor.name for tensor in graph.initializer}
    infos = {info.name: info for part in (graph.value_info, graph.input, graph.output) for info in part}
    sizes = {name: size for name, info in infos.items() if (size := _bytes(onnx, info)) is not None}
    for node in graph.node:  # what is quantized stays so in memory: runtimes fuse the way back into the operator that reads it
        if node.op_type == "DequantizeLinear" and node.input[0] in sizes:
            sizes[node.output[0]] = sizes[node.input[0]]
    return Lifetimes(
        sizes=sizes,
        inputs=tuple(info.name for info in graph.input if info.name not in weights),
        outputs=tuple(info.name for info in graph.output),
        steps=tuple(
            Step(reads=tuple(filter(None, node.input)), writes=tuple(filter(None, node.output)), over=node.op_type in OVER)
            for node in graph.node
        ),
    )


def _bytes(onnx: Any, info: Any) -> int | None:
    """Of one tensor; a first dimension that is free is a batch of 1."""
    kind = info.type.tensor_type
    if not kind.elem_type or not kind.HasField("shape"):
        return None
    shape = [dim.dim_value for dim in kind.shape.dim]
    shape = [1, *shape[1:]] if shape and shape[0] <= 0 else shape
    if any(size <= 0 for size in shape):
        return None
    return int(math.prod(shape)) * int(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).itemsize)
