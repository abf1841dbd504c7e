"""What a `.tflite` file says about itself: its contract, its input and output, its operators. Read without trust.

The contract lies in the `metadata` table of the model, under `edgekd.contract`. Nothing here needs the runtime.
Source: slots are those of tensorflow/compiler/mlir/lite/schema/schema.fbs (version 3, file identifier TFL3).
"""

from collections import Counter
from pathlib import Path

from edgekd.errors import InputError
from edgekd.types import Contract, TensorSpec
from edgekd_tflite.flatbuffer import Buffer, Table

CONTRACT_KEY = "edgekd.contract"
IDENTIFIER = b"TFL3"
MODEL_OPERATOR_CODES, MODEL_SUBGRAPHS, MODEL_BUFFERS, MODEL_METADATA = 1, 2, 4, 6
GRAPH_TENSORS, GRAPH_INPUTS, GRAPH_OUTPUTS, GRAPH_OPERATORS = 0, 1, 2, 3
TENSOR_SHAPE, TENSOR_TYPE, TENSOR_NAME, TENSOR_QUANTIZATION = 0, 1, 3, 4
QUANTIZATION_SCALE, QUANTIZATION_ZERO_POINT = 2, 3
OPERATOR_CODE = 0
CODE_OLD, CODE_CUSTOM, CODE_NEW = 0, 1, 3
METADATA_NAME, METADATA_BUFFER = 0, 1
BUFFER_DATA = 0
DTYPES = {0: "float32", 9: "int8"}
"""Of inputs and outputs, by `TensorType`: what edgekd builds."""
CUSTOM = 32
"""`BuiltinOperator.CUSTOM`: the operator's name is in its code."""
LONGEST_NAME = 256
"""Of a custom operator, in bytes; thousands of them could share one name as long as the file."""


def contract(path: Path) -> Contract:
    """The contract in the file. Raises InputError where there is none, or it does not describe the model around it."""
    model = model_of(path)
    text = _entry(model, CONTRACT_KEY)
    if text is None:
        raise InputError(f"{path}: has no metadata '{CONTRACT_KEY}': it was not built by edgekd")
    try:
        found = Contract.from_json(text.decode())
    except (InputError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: its contract cannot be read: {error}; build the artifact again") from error
    if (found.inputs, found.outputs) != ends(model, str(path)):
        raise InputError(f"{path}: its contract describes other inputs or outputs than it has; build the artifact again")
    return found


def operators(path: Path) -> dict[str, int]:
    """How often each operator occurs. Raises InputError for a broken file, MissingExtraError without the runtime."""
    from edgekd.plugins import need

    known = vars(need("ai_edge_litert.schema_py_generated", "tflite", "target 'tflite'").BuiltinOperator)
    names = {code: name for name, code in known.items() if isinstance(code, int)}
    model = model_of(path)
    counts = Counter(operator.number(OPERATOR_CODE, "I") for operator in graph_of(model, str(path)).tables(GRAPH_OPERATORS))
    found: Counter[str] = Counter()
    for index, count in counts.items():
        found[_operator_name(model.item(MODEL_OPERATOR_CODES, index), names)] += count
    return dict(sorted(found.items()))


def ends(model: Table, what: str) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """The inputs and the outputs that the model has. Raises InputError unless it is one of each, of a type edgekd builds."""
    graph = graph_of(model, what)
    inputs, outputs = graph.numbers(GRAPH_INPUTS, "i"), graph.numbers(GRAPH_OUTPUTS, "i")
    if len(inputs) != 1 or len(outputs) != 1:
        raise InputError(f"{what}: has {len(inputs)} inputs and {len(outputs)} outputs, expected one of each")
    first, last = (_spec(graph.item(GRAPH_TENSORS, int(index)), what) for index in (*inputs, *outputs))
    return (first,), (last,)


def root(data: bytes, what: str) -> Table:
    """The model table of a file's bytes. Raises InputError where they are not a TFLite model."""
    return Table.root(Buffer(data, what), IDENTIFIER)


def model_of(path: Path) -> Table:
    """The model table of a file. Raises InputError where it cannot be read or is of another format."""
    try:
        return root(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def graph_of(model: Table, what: str) -> Table:
    """The only graph of a model. Raises InputError where there are more."""
    if model.count(MODEL_SUBGRAPHS) != 1:
        raise InputError(f"{what}: has {model.count(MODEL_SUBGRAPHS)} graphs, expected one")
    return model.item(MODEL_SUBGRAPHS, 0)


def _entry(model: Table, name: str) -> bytes | None:
    for entry in model.tables(MODEL_METADATA):
        # The length first: a damaged file may make every entry's name as long as the file.
        if entry.count(METADATA_NAME) == len(name) and entry.bytes(METADATA_NAME) == name.encode():
            return model.item(MODEL_BUFFERS, entry.number(METADATA_BUFFER, "I")).bytes(BUFFER_DATA)
    return None


def _spec(tensor: Table, what: str) -> TensorSpec:
    code = tensor.number(TENSOR_TYPE, "b")
    shape = tuple(int(size) for size in tensor.numbers(TENSOR_SHAPE, "i"))
    if code not in DTYPES or len(shape) not in (2, 4):
        raise InputError(
            f"{what}: has an input or output of type {code} and shape {shape}, expected float32 or int8, rank 2 or 4"
        )
    quantization = tensor.table(TENSOR_QUANTIZATION)
    scales = quantization.numbers(QUANTIZATION_SCALE, "f") if quantization else ()
    zero_points = quantization.numbers(QUANTIZATION_ZERO_POINT, "q") if quantization else ()
    return TensorSpec(
        name=tensor.bytes(TENSOR_NAME).decode(errors="replace"),
        shape=shape,
        dtype=DTYPES[code],
        layout="NHWC" if len(shape) == 4 else "NC",
        scale=scales[0] if scales else None,
        zero_point=int(zero_points[0]) if zero_points else None,
    )


def _operator_name(code: Table, names: dict[int, str]) -> str:
    # Codes beyond 127 are in the newer field only; older files have only the older one (schema.fbs, OperatorCode).
    number = max(code.number(CODE_OLD, "b"), code.number(CODE_NEW, "i"))
    if number == CUSTOM and code.count(CODE_CUSTOM) <= LONGEST_NAME:
        return code.bytes(CODE_CUSTOM).decode(errors="replace")
    return names.get(number, f"BUILTIN_{number}")
