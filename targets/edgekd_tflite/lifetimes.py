"""How long each tensor of a `.tflite` file lives, from the file alone. Nothing here needs the runtime.

Sizes are rounded up to the arena's alignment. Sources: schema.fbs (version 3); tensorflow/lite/util.h (kDefaultTensorAlignment).
"""

import math
from pathlib import Path

from edgekd.bench.planned import Lifetimes, Step
from edgekd.errors import InputError
from edgekd_tflite import metadata
from edgekd_tflite.flatbuffer import Table

OPERATOR_INPUTS, OPERATOR_OUTPUTS = 1, 2
RESHAPES = {22, 43, 70}
"""RESHAPE, SQUEEZE, EXPAND_DIMS: the runtime leaves their data where it is."""
BYTES = {0: 4, 1: 2, 2: 4, 3: 1, 4: 8, 6: 1, 7: 2, 9: 1, 10: 8}
"""Of an element, by `TensorType`: float32, float16, int32, uint8, int64, bool, int16, int8, float64."""
ALIGNMENT = 64


def lifetimes(path: Path) -> Lifetimes:
    """Raises InputError where the file is broken, or has sizes that are known at run time only."""
    model = metadata.model_of(path)
    graph = metadata.graph_of(model, str(path))
    codes = [max(code.number(metadata.CODE_OLD, "b"), code.number(metadata.CODE_NEW, "i")) for code in _codes(model)]
    steps = []
    for operator in graph.tables(metadata.GRAPH_OPERATORS):
        kind = operator.number(metadata.OPERATOR_CODE, "I")
        if kind >= len(codes):
            raise InputError(f"{path}: an operator has no code; build or copy the file again")
        reads, writes = (_names(operator.numbers(slot, "i")) for slot in (OPERATOR_INPUTS, OPERATOR_OUTPUTS))
        steps.append(Step(reads=reads, writes=writes, over=codes[kind] in RESHAPES))
    ends = (_names(graph.numbers(slot, "i")) for slot in (metadata.GRAPH_INPUTS, metadata.GRAPH_OUTPUTS))
    inputs, outputs = ends
    return Lifetimes(sizes=_sizes(graph), inputs=inputs, outputs=outputs, steps=tuple(steps))


def _codes(model: Table) -> list[Table]:
    return list(model.tables(metadata.MODEL_OPERATOR_CODES))


def _names(indices: tuple[int | float, ...]) -> tuple[str, ...]:
    """An index below 0 is an optional input that is not given."""
    return tuple(str(int(index)) for index in indices if index >= 0)


def _sizes(graph: Table) -> dict[str, int]:
    found = {}
    for index, tensor in enumerate(graph.tables(metadata.GRAPH_TENSORS)):
        shape, width = tensor.numbers(metadata.TENSOR_SHAPE, "i"), BYTES.get(tensor.number(metadata.TENSOR_TYPE, "b"))
        if width is not None and all(size >= 0 for size in shape):
            found[str(index)] = -(-int(math.prod(shape)) * width // ALIGNMENT) * ALIGNMENT
    return found
