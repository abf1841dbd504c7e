"""Fewer bits with NNCF, or with OpenVINO's own weight compression. Why these options: README.md."""

from pathlib import Path
from typing import Any

import numpy as np

from edgekd.errors import StageError
from edgekd.plugins import need, vendor_errors
from edgekd.target import FloatArray, Program
from edgekd.types import Artifact, Precision
from edgekd_openvino import model
from edgekd_openvino.convert import tools, write

HINT = "try precision fp16, or another target"


def quantize(program: Program, artifact: Artifact, precision: Precision, calibration: FloatArray, folder: Path) -> Artifact:
    """Build `precision` from the fp32 model. Raises StageError."""
    schemes = {"fp16": _fp16, "w8": _weights, "w8a8": _static}
    if str(precision) not in schemes:
        raise StageError(
            "quantize", f"target 'openvino' cannot build {precision} from fp32", f"choose one of {', '.join(schemes)}"
        )
    source = model.read(artifact.path)
    with vendor_errors("quantize", tools(), HINT, model.cause):
        return write(schemes[str(precision)](source, calibration), program, precision, folder)


def _fp16(source: Any, calibration: FloatArray) -> Any:
    """Nothing to do but to store the weights in half precision, which `write` does."""
    return source


def _weights(source: Any, calibration: FloatArray) -> Any:
    """Weights of all convolutions and linear layers in 8 bits by channel, symmetric; arithmetic in float32."""
    nncf = need("nncf", "openvino", model.NEEDED_BY)
    return nncf.compress_weights(source, mode=nncf.CompressWeightsMode.INT8_SYM)


def _static(source: Any, calibration: FloatArray) -> Any:
    """Weights by channel in 7 of the 8 bits, activations symmetric over all that calibration shows."""
    nncf = need("nncf", "openvino", model.NEEDED_BY)
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    samples = [sample[None] for sample in np.asarray(calibration, np.float32)]
    return nncf.quantize(
        source,
        nncf.Dataset(samples),
        preset=nncf.QuantizationPreset.PERFORMANCE,
        subset_size=len(samples),
        advanced_parameters=AdvancedQuantizationParameters(
            overflow_fix=OverflowFix.ENABLE, activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
        ),
    )
