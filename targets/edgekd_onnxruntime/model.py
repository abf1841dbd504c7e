"""An ONNX file on disk: read without trust, written without what the exporter says about this machine."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgekd.errors import InputError, storage_errors
from edgekd.plugins import need, reading
from edgekd.types import Contract

CONTRACT_KEY = "edgekd.contract"
NEEDED_BY = "target 'onnxruntime'"
FORMAT = "an ONNX model"
STANDARD_DOMAINS = ("", "ai.onnx")


def read(path: Path) -> Any:
    """The ModelProto at `path`.

    Raises InputError where it does not parse, has no operators, or has tensors in other files: one file is what an
    artifact is, and a path in an untrusted model is never followed.
    """
    onnx = need("onnx", "onnxruntime", NEEDED_BY)
    with reading(path, FORMAT):
        model = onnx.load(path, format="protobuf", load_external_data=False)
    if not model.graph.node:
        raise InputError(f"{path}: cannot be read as {FORMAT}: it has no operators")
    for message in _messages(model):
        if message.DESCRIPTOR.name == "TensorProto" and message.data_location == onnx.TensorProto.EXTERNAL:
            raise InputError(f"{path}: tensor '{message.name}' is stored in another file; save the model with its weights inside")
    return model


def write(model: Any, path: Path, contract: Contract) -> None:
    """Write the model, with its contract as its only metadata.

    The exporter notes the stack of every operator (paths of this machine, half the file of a small student), and the
    quantizer the shape of every tensor, which the runtime infers again, under names that take a third of its file.
    """
    for message in _messages(model):
        for noted in ("metadata_props", "doc_string", "value_info"):
            if noted in message.DESCRIPTOR.fields_by_name:
                message.ClearField(noted)
    _shorten_names(model.graph)
    entry = model.metadata_props.add()
    entry.key, entry.value = CONTRACT_KEY, contract.to_json()
    with storage_errors(str(path)):
        path.write_bytes(model.SerializeToString(deterministic=True))


def contract(path: Path) -> Contract:
    """The contract in the model's metadata. Raises InputError where there is none."""
    for entry in read(path).metadata_props:
        if entry.key == CONTRACT_KEY:
            with reading(path, FORMAT):
                return Contract.from_json(entry.value)
    raise InputError(f"{path}: has no metadata '{CONTRACT_KEY}': it was not built by edgekd")


def operators(path: Path) -> dict[str, int]:
    """How often each operator occurs, in branches and functions too; those outside ONNX itself with their domain."""
    nodes = [message for message in _messages(read(path)) if message.DESCRIPTOR.name == "NodeProto"]
    with reading(path, FORMAT):  # a name that is not UTF-8 is read as bytes
        names = [n.op_type if n.domain in STANDARD_DOMAINS else f"{n.domain}.{n.op_type}" for n in nodes]
        return dict(sorted(Counter(names).items()))


def _shorten_names(graph: Any) -> None:
    """Number all tensors but the graph's inputs and outputs, and leave operators unnamed."""
    kept = {value.name for value in (*graph.input, *graph.output)} | {""}
    short: dict[str, str] = {}
    for message in _messages(graph):
        kind = message.DESCRIPTOR.name
        if kind == "NodeProto":
            message.ClearField("name")
            for names in (message.input, message.output):
                names[:] = [name if name in kept else short.setdefault(name, f"t{len(short)}") for name in names]
        elif kind in ("TensorProto", "ValueInfoProto") and message.name not in kept:
            message.name = short.setdefault(message.name, f"t{len(short)}")


def _messages(message: Any) -> Iterator[Any]:
    """The message and all messages inside it, at any depth: tensors hide in attributes, branches and functions."""
    pending = [message]
    while pending:
        current = pending.pop()
        yield current
        for field, value in current.ListFields():
            if field.message_type is not None:
                pending.extend([value] if hasattr(value, "DESCRIPTOR") else value)
