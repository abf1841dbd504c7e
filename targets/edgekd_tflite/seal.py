"""The last step of a build: short tensor names, the contract in the model's metadata, tensor data aligned.

Imported only once a model was built: it needs the runtime's schema.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert.schema_py_generated import BufferT, MetadataT
from ai_edge_litert.tools.flatbuffer_utils import read_model_from_bytearray

from edgekd.artifact import finish
from edgekd.errors import storage_errors
from edgekd.target import Program
from edgekd.types import Artifact, Contract, Precision
from edgekd_tflite import metadata

ALIGNMENT = 16
"""Bytes; `force_align` of `Buffer.data` in schema.fbs, which the generated Python writer does not heed."""


def seal(model: bytes, program: Program, precision: Precision, tools: dict[str, str], folder: Path) -> Artifact:
    """Write `model.tflite` with the contract that its own input and output complete."""
    path = folder / "model.tflite"
    data, contract = with_contract(model, program.contract)
    with storage_errors(str(path)):
        path.write_bytes(data)
    return finish(path, target="tflite", precision=precision, contract=contract, parent=program.parent, tools=tools)


def with_contract(model: bytes, contract: Contract) -> tuple[bytes, Contract]:
    """The model's bytes with the contract inside, and that contract with the input and output of this model."""
    tree = read_model_from_bytearray(model)
    _shorten_names(tree)
    inputs, outputs = metadata.ends(metadata.root(_pack(tree), "the built model"), "the built model")
    contract = replace(contract, inputs=inputs, outputs=outputs)
    _set_entry(tree, contract.to_json().encode())
    return _pack(tree), contract


def _shorten_names(tree: Any) -> None:
    """`input`, `logits`, and numbers between: the converter's names, a whole module path each, are half of a small file."""
    for graph in tree.subgraphs:
        for index, tensor in enumerate(graph.tensors):
            tensor.name = f"t{index}"
        for ends, name in ((graph.inputs, "input"), (graph.outputs, "logits")):
            for index in ends:
                graph.tensors[index].name = name
    for signature in tree.signatureDefs:
        for ends, name in ((signature.inputs, "input"), (signature.outputs, "logits")):
            for end in ends:
                end.name = name


def _set_entry(tree: Any, data: bytes) -> None:
    found = [entry for entry in tree.metadata if entry.name == metadata.CONTRACT_KEY.encode()]
    if not found:
        found = [MetadataT(name=metadata.CONTRACT_KEY, buffer=len(tree.buffers))]
        tree.metadata.append(found[0])
        tree.buffers.append(BufferT())
    tree.buffers[found[0].buffer].data = data


def _pack(tree: Any) -> bytes:
    for buffer in tree.buffers:
        if buffer.data is not None:
            buffer.data = np.frombuffer(buffer.data, np.uint8)
    for tensor in (tensor for graph in tree.subgraphs for tensor in graph.tensors):
        if tensor.quantization is not None and tensor.quantization.zeroPoint is not None:
            tensor.quantization.zeroPoint = np.array(tensor.quantization.zeroPoint, np.int64)
    builder = _Builder(1024)
    builder.Finish(tree.Pack(builder), file_identifier=metadata.IDENTIFIER)
    return bytes(builder.Output())


class _Builder(flatbuffers.Builder):
    """Aligns tensor data, and writes equal arrays once: 8 bytes of zero a channel, twice, outweigh small int8 weights.

    Arrays are what `_pack` made arrays: reading the model made lists of all else.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: Any) -> int:
        key = (x.dtype.name, x.tobytes())
        if key not in self._written:
            if x.dtype == np.uint8:
                self.Prep(ALIGNMENT, x.nbytes)
            self._written[key] = int(super().CreateNumpyVector(x))
        return self._written[key]
