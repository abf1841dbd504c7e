"""The program of a package as plain values: constants already expanded, operations in their order."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekd.errors import InputError
from edgekd_coreml.package import Package
from edgekd_coreml.weights import EXPANDERS, STORED, TYPES, Array, elements, from_blob, from_immediate, plain


@dataclass(frozen=True, kw_only=True)
class Value:
    """A tensor that the program declares; `dtype` is fp32, fp16, int32, bool, …"""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """`inputs`: MIL parameter → names of the values bound to it (several for `values` of concat and stack)."""

    kind: str
    inputs: dict[str, tuple[str, ...]]
    outputs: tuple[Value, ...]


@dataclass(frozen=True, kw_only=True)
class MilProgram:
    inputs: tuple[Value, ...]
    constants: dict[str, Array | str]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]
    counts: dict[str, int]
    """Operations by kind, those included that expand compressed weights."""


def decode(package: Package) -> MilProgram:
    """The program of `package`. Raises InputError for anything that is not one flat function of static shapes."""
    try:
        with np.errstate(all="ignore"):
            return _Decoder(package).program()
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, MemoryError) as error:
        raise InputError(f"{package.path}: broken program: {error}") from error


class _Decoder:
    def __init__(self, package: Package) -> None:
        self._package = package
        self._blobs: dict[str, bytes] = {}
        self._constants: dict[str, Array | str] = {}
        self._operations: list[Operation] = []

    def program(self) -> MilProgram:
        functions = self._package.spec.mlProgram.functions
        if set(functions) != {"main"}:
            raise ValueError(f"functions {sorted(functions)}, expected main alone")
        function = functions["main"]
        if function.opset not in function.block_specializations:
            raise ValueError(f"there is no code for opset '{function.opset}'")
        block = function.block_specializations[function.opset]
        for operation in block.operations:
            self._add(operation)
        return MilProgram(
            inputs=tuple(_value(each) for each in function.inputs),
            constants={name: each if isinstance(each, str) else plain(each) for name, each in self._constants.items()},
            operations=tuple(self._operations),
            outputs=tuple(block.outputs),
            counts=dict(sorted(Counter(each.type for each in block.operations if each.type != "const").items())),
        )

    def _add(self, operation: Any) -> None:
        kind, outputs = operation.type, tuple(_value(each) for each in operation.outputs)
        if operation.blocks:
            raise ValueError(f"operation '{kind}' holds code of its own (a loop or a branch)")
        if not outputs:
            raise ValueError(f"operation '{kind}' has no output")
        if kind == "const":
            self._constants[outputs[0].name] = self._constant(operation.attributes["val"])
        elif kind in EXPANDERS:
            self._constants[outputs[0].name] = self._expanded(operation, outputs[0])
        else:
            self._operations.append(Operation(kind=kind, inputs=self._inputs(operation, outputs[0].name), outputs=outputs))

    def _expanded(self, operation: Any, output: Value) -> Array:
        """A compressed weight. Its parts are attributes; a later format binds them as inputs."""
        parts: dict[str, Any] = {key: self._constant(each) for key, each in operation.attributes.items() if key != "name"}
        for key, names in self._inputs(operation, output.name).items():
            parts[key] = self._constants[names[0]]
        dense: Array = EXPANDERS[operation.type](**parts)
        if dense.shape != output.shape:
            raise ValueError(f"weight '{output.name}' has shape {dense.shape}, declared {output.shape}")
        return dense

    def _inputs(self, operation: Any, owner: str) -> dict[str, tuple[str, ...]]:
        """Names by parameter; a value written in place of a name becomes a constant of its own."""
        found = {}
        for key, argument in operation.inputs.items():
            names = []
            for number, binding in enumerate(argument.arguments):
                name = binding.name
                if binding.WhichOneof("binding") == "value":
                    name = f"{owner}.{key}.{number}"
                    self._constants[name] = self._constant(binding.value)
                names.append(name)
            if not names:
                raise ValueError(f"operation '{operation.type}' has an empty argument '{key}'")
            found[key] = tuple(names)
        return found

    def _constant(self, value: Any) -> Array | str:
        dtype, shape = _type(value.type)
        if value.WhichOneof("value") == "blobFileValue":
            name = value.blobFileValue.fileName
            if name not in self._blobs:
                self._blobs[name] = self._package.blob_file(name)
            return from_blob(self._blobs[name], value.blobFileValue.offset, dtype, shape)
        return from_immediate(value.immediateValue.tensor, dtype, shape)


def _value(named: Any) -> Value:
    dtype, shape = _type(named.type)
    return Value(name=named.name, dtype=dtype, shape=shape)


def _type(message: Any) -> tuple[str, tuple[int, ...]]:
    """(type, shape). Raises ValueError for lists, unknown types and shapes that are not fixed."""
    if message.WhichOneof("type") != "tensorType":
        raise ValueError(f"a value of type '{message.WhichOneof('type')}', expected a tensor")
    tensor = message.tensorType
    dtype = TYPES.get(tensor.dataType)
    if dtype != "string" and dtype not in STORED:
        raise ValueError(f"a tensor of data type {tensor.dataType}, which iOS 17 programs do not have")
    if any(each.WhichOneof("dimension") != "constant" for each in tensor.dimensions):
        raise ValueError("a tensor whose shape is not fixed")
    shape = tuple(int(each.constant.size) for each in tensor.dimensions)
    elements(shape)
    return dtype, shape


def parameters(operation: Operation, values: Mapping[str, Any]) -> dict[str, Any]:
    """MIL parameter → value (a list for `values`). Raises KeyError for a name that nothing has given yet."""
    return {
        key: [values[name] for name in names] if key == "values" else values[names[0]] for key, names in operation.inputs.items()
    }
