"""A student through OpenVINO's PyTorch frontend to a model with a static batch of 1."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekd.artifact import finish
from edgekd.plugins import need, vendor_errors, versions
from edgekd.target import Program
from edgekd.types import Artifact, Contract, Layout, Precision, TensorSpec
from edgekd_openvino import model

HINT = "the student uses something that OpenVINO cannot convert: choose another family, or another target"


def convert(program: Program, folder: Path) -> Artifact:
    """The fp32 model. Batch normalisation is folded into the convolutions before it."""
    torch = need("torch", "train", "converting a student")
    ov = need("openvino", "openvino", model.NEEDED_BY)
    with vendor_errors("convert", tools(), HINT, model.cause):
        shape = (1, *program.input_shape)
        converted = ov.convert_model(program.module, example_input=torch.zeros(shape), input=[list(shape)])
        converted.inputs[0].get_tensor().set_names({"input"})
        converted.outputs[0].get_tensor().set_names({"logits"})
        converted.validate_nodes_and_infer_types()
        return write(converted, program, Precision.parse("fp32"), folder)


def write(converted: Any, program: Program, precision: Precision, folder: Path) -> Artifact:
    """Write a model with the contract that its own inputs and outputs complete."""
    path = folder / "model.xml"
    contract = complete(program.contract, converted)
    model.write(converted, path, contract, half=str(precision) == "fp16")
    return finish(path, target="openvino", precision=precision, contract=contract, parent=program.parent, tools=tools())


def complete(contract: Contract, converted: Any) -> Contract:
    """The contract with the names, types and shapes that the model has."""
    return replace(
        contract,
        inputs=tuple(_spec(port) for port in converted.inputs),
        outputs=tuple(_spec(port) for port in converted.outputs),
    )


def tools() -> dict[str, str]:
    return versions("torch", "openvino", "nncf")


def _spec(port: Any) -> TensorSpec:
    import numpy as np

    shape = tuple(port.get_shape())
    layout: Layout = "NCHW" if len(shape) == 4 else "NC"
    return TensorSpec(
        name=port.get_any_name(), shape=shape, dtype=np.dtype(port.get_element_type().to_dtype()).name, layout=layout
    )
