"""Teacher `onnx:FILE`: any ONNX model with one input and logits or probabilities as its first output."""

import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import InputError, first_line
from edgekd.plugins import need, reading
from edgekd.teachers import TeacherOutputs
from edgekd.teachers.layout import in_layout, layout_of
from edgekd.teachers.loaded import LoadedTeacher

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


def load_onnx(name: str, file: Path, shape: tuple[int, ...]) -> LoadedTeacher:
    """The model in `file`, run by ONNX Runtime on the CPU, for samples of `shape`; channels last where it wants that.

    Raises InputError where the file is damaged, reaches outside of its folder, or takes other inputs.
    """
    need("onnx", "onnxruntime", "a teacher 'onnx:FILE'")
    model = _read(file)
    session = _open(file)
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in DTYPES:
        found = ", ".join(f"{item.name}: {item.type}" for item in inputs)
        raise InputError(f"teacher {name} takes {found or 'nothing'}, expected one input of floating-point numbers")
    (batch, *dims), dtype = inputs[0].shape, DTYPES[inputs[0].type]
    layout = layout_of(name, dims, shape)
    outputs = [session.get_outputs()[0].name]

    def run(values: NDArray[Any]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = session.run(outputs, {inputs[0].name: values})[0].astype(np.float32)
        return logits

    def answer(values: NDArray[np.float32]) -> TeacherOutputs:
        native = in_layout(values, layout).astype(dtype, copy=False)
        return TeacherOutputs(logits=_by_fixed_batch(run, native, batch) if isinstance(batch, int) else run(native))

    return LoadedTeacher(
        name=name,
        params=_count(model),
        fingerprint=_fingerprint(file, model),
        runtime="onnxruntime",
        answer=answer,
    )


def _by_fixed_batch(run: Any, values: NDArray[Any], size: int) -> NDArray[np.float32]:
    """Answers of a model whose batch is fixed: the last batch is filled up with copies of its last sample."""
    missing = -len(values) % size
    padded = np.concatenate([values, np.repeat(values[-1:], missing, axis=0)])
    return np.concatenate([run(padded[start : start + size]) for start in range(0, len(padded), size)])[: len(values)]


def _read(file: Path) -> "ModelProto":
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(file, load_external_data=False)
    except FileNotFoundError as error:
        raise InputError(f"teacher file {file} does not exist") from error
    except (OSError, DecodeError) as error:
        raise InputError(f"{file} is not a whole ONNX model: {first_line(error)}") from error
    folder = file.parent.resolve()
    for place in _external(model):
        if not (folder / place).resolve().is_relative_to(folder):
            raise InputError(f"{file} keeps its weights in '{place}', outside of its folder: refused")
        if not (folder / place).is_file():
            raise InputError(f"{file} keeps its weights in '{place}', which is not beside it")
    return model


def _open(file: Path) -> Any:
    onnxruntime = need("onnxruntime", "onnxruntime", "a teacher 'onnx:FILE'")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # fatal only: its errors come as exceptions
    with reading(file, "a model by ONNX Runtime"):
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _weights(model: "ModelProto") -> list["TensorProto"]:
    """Initializers, and constants among the nodes."""
    constants = [a.t for node in model.graph.node if node.op_type == "Constant" for a in node.attribute if a.HasField("t")]
    return [*model.graph.initializer, *constants]


def _external(model: "ModelProto") -> list[str]:
    return sorted({entry.value for tensor in _weights(model) for entry in tensor.external_data if entry.key == "location"})


def _count(model: "ModelProto") -> int:
    """Floating-point weights; the statistics of a batch normalisation count, as the format does not tell them apart."""
    from onnx import TensorProto

    floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
    return sum(math.prod(tensor.dims) for tensor in _weights(model) if tensor.data_type in floats and tensor.dims)


def _fingerprint(file: Path, model: "ModelProto") -> str:
    sha = hashlib.sha256(file.read_bytes())
    for place in _external(model):
        sha.update((file.parent / place).read_bytes())
    return sha.hexdigest()
