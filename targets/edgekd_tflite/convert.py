"""A student through litert-torch to a TFLite model with channel-last input."""

from pathlib import Path

from edgekd.plugins import need, vendor_errors, versions
from edgekd.target import Program
from edgekd.types import Artifact, Precision

NEEDED_BY = "target 'tflite'"
HINT = "the student uses something that litert-torch cannot convert: choose another family, or another target"


def convert(program: Program, folder: Path) -> Artifact:
    """The fp32 model, batch 1. Batch normalisation and activations are folded into the convolutions."""
    with vendor_errors("convert", tools(), HINT):
        model = _converted(program)
        from edgekd_tflite.seal import seal

        return seal(model, program, Precision.parse("fp32"), tools(), folder)


def tools() -> dict[str, str]:
    """Versions of what builds a model."""
    return versions("torch", "litert-torch", "litert-converter", "ai-edge-quantizer", "ai-edge-litert")


def _converted(program: Program) -> bytes:
    torch = need("torch", "train", "converting a student")
    litert_torch = need("litert_torch", "tflite", NEEDED_BY)
    module, shape = program.module, program.input_shape
    if len(shape) == 3:
        # TFLite computes channel-last: an input that is so already spares a transposition in every query.
        module, shape = litert_torch.to_channel_last_io(module, args=[0]), (*shape[1:], shape[0])
    model: bytes = litert_torch.convert(module.eval(), (torch.zeros(1, *shape),)).model_content()
    return model
