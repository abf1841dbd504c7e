"""A student through PyTorch's own exporter to an ONNX model in one file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekd.artifact import finish
from edgekd.plugins import need, vendor_errors, versions
from edgekd.target import Program
from edgekd.types import Artifact, Contract, Layout, Precision, TensorSpec
from edgekd_onnxruntime import model

HINT = "the student uses something that torch.onnx cannot export: choose another family, or another target"


def convert(program: Program, folder: Path) -> Artifact:
    """The fp32 model, batch 1. Batch normalisation is folded into the convolutions before it."""
    torch = need("torch", "train", "converting a student")
    need("onnxscript", "onnxruntime", model.NEEDED_BY)
    with vendor_errors("convert", tools(), HINT):
        example = torch.zeros(1, *program.input_shape)
        exported = torch.onnx.export(
            program.module,
            (example,),
            dynamo=True,
            external_data=False,
            input_names=["input"],
            output_names=["logits"],
            verbose=False,
        )
        proto = exported.model_proto
    return write(proto, program, Precision.parse("fp32"), folder)


def write(proto: Any, program: Program, precision: Precision, folder: Path) -> Artifact:
    """Write a ModelProto with the contract that its own inputs and outputs complete."""
    path = folder / "model.onnx"
    contract = complete(program.contract, proto)
    model.write(proto, path, contract)
    return finish(path, target="onnxruntime", precision=precision, contract=contract, parent=program.parent, tools=tools())


def complete(contract: Contract, proto: Any) -> Contract:
    """The contract with the names, types and shapes that the model has."""
    return replace(
        contract,
        inputs=tuple(_spec(value) for value in proto.graph.input),
        outputs=tuple(_spec(value) for value in proto.graph.output),
    )


def tools() -> dict[str, str]:
    return versions("torch", "onnx", "onnxscript", "onnxruntime")


def _spec(value: Any) -> TensorSpec:
    from onnx.helper import tensor_dtype_to_np_dtype

    kind = value.type.tensor_type
    shape = tuple(dim.dim_value for dim in kind.shape.dim)
    layout: Layout = "NCHW" if len(shape) == 4 else "NC"
    return TensorSpec(name=value.name, shape=shape, dtype=tensor_dtype_to_np_dtype(kind.elem_type).name, layout=layout)
