"""PyTorch → Core ML ML program: torch.export, coremltools, and a package whose bytes depend on the student alone."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekd.artifact import finish
from edgekd.errors import storage_errors
from edgekd.target import Program
from edgekd.types import Artifact, Contract, Precision, TensorSpec
from edgekd_coreml.package import CONTRACT_KEY, write
from edgekd_coreml.toolchain import toolchain, tools

INPUT, OUTPUT = "input", "logits"
DATE_KEY = "com.github.apple.coremltools.conversion_date"


def convert(program: Program, precision: Precision, folder: Path) -> Artifact:
    """Build `folder/model.mlpackage` in fp32 or fp16. Raises StageError("convert", …)."""
    with toolchain("convert") as coremltools:
        model = to_mil(coremltools, program, str(precision))
    return save(model, program, precision, folder)


def to_mil(coremltools: Any, program: Program, compute: str) -> Any:
    """The student as a coremltools MLModel that computes in `compute` (fp32 or fp16); both take and give float32.

    The sample that torch traces is all zeros: only its shape matters.
    """
    import torch

    shape = (1, *program.input_shape)
    exported = torch.export.export(program.module, (torch.zeros(shape),))
    return coremltools.convert(
        exported.run_decompositions({torch.ops.aten.gelu.default: spelled_out}),
        convert_to="mlprogram",
        minimum_deployment_target=coremltools.target.iOS17,
        compute_precision=coremltools.precision.FLOAT32 if compute == "fp32" else coremltools.precision.FLOAT16,
        inputs=[coremltools.TensorType(name=INPUT, shape=shape, dtype=float)],
        outputs=[coremltools.TensorType(name=OUTPUT, dtype=float)],
    )


def spelled_out(x: Any, *, approximate: str = "none") -> Any:
    """GELU's tanh approximation by its formula, for coremltools 9 drops the keyword and would build the exact one.

    Source: apple/coremltools pull request 2863.

    Its own passes then find the formula and make it one operation again.
    """
    if approximate == "none":
        return NotImplemented
    return 0.5 * x * (1 + (math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)).tanh())


def save(model: Any, program: Program, precision: Precision, folder: Path) -> Artifact:
    """Write the MLModel with its contract as `folder/model.mlpackage`, and the contract beside it."""
    contract, path = fill(program), folder / "model.mlpackage"
    spec = model.get_spec()
    metadata = spec.description.metadata
    metadata.userDefined[CONTRACT_KEY] = contract.to_json()
    metadata.userDefined.pop(DATE_KEY, None)
    weights = Path(model.weights_dir) / "weight.bin"
    with storage_errors(str(path)):
        write(path, spec, weights.read_bytes() if weights.is_file() else b"")
    return finish(path, target="coreml", precision=precision, contract=contract, parent=program.parent, tools=tools())


def fill(program: Program) -> Contract:
    """The student's contract with what a package of it takes and gives."""
    shape = (1, *program.input_shape)
    inputs = TensorSpec(name=INPUT, shape=shape, dtype="float32", layout="NCHW" if len(shape) == 4 else "NC")
    outputs = TensorSpec(name=OUTPUT, shape=(1, len(program.contract.classes)), dtype="float32", layout="NC")
    return replace(program.contract, inputs=(inputs,), outputs=(outputs,))
