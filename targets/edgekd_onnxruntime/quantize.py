"""Fewer bits with ONNX Runtime's own tools. What each scheme does to 8-bit arithmetic on old CPUs: README.md."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.errors import StageError
from edgekd.plugins import need, vendor_errors
from edgekd.target import FloatArray, Program
from edgekd.types import Artifact, Precision
from edgekd_onnxruntime import model
from edgekd_onnxruntime.convert import tools, write

HINT = "try precision fp16, or another target"


def quantize(program: Program, artifact: Artifact, precision: Precision, calibration: FloatArray, folder: Path) -> Artifact:
    """Build `precision` from the fp32 model. Raises StageError."""
    schemes = {"fp16": _fp16, "w8a8-dynamic": _dynamic, "w8a8": _static}
    if str(precision) not in schemes:
        raise StageError(
            "quantize", f"target 'onnxruntime' cannot build {precision} from fp32", f"choose one of {', '.join(schemes)}"
        )
    need("onnxruntime", "onnxruntime", model.NEEDED_BY)
    proto = model.read(artifact.path)
    with vendor_errors("quantize", tools(), HINT):
        quantized = schemes[str(precision)](proto, calibration)
    return write(quantized, program, precision, folder)


def _fp16(proto: Any, calibration: FloatArray) -> Any:
    """Weights and arithmetic in half precision; input and output stay float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(proto, keep_io_types=True)


def _dynamic(proto: Any, calibration: FloatArray) -> Any:
    """Unsigned weights and activations: their products are summed in 32 bits on every x86 CPU, so all 8 bits can be used."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    return _by_file(proto, lambda source, made: quantize_dynamic(source, made, per_channel=True, weight_type=QuantType.QUInt8))


def _static(proto: Any, calibration: FloatArray) -> Any:
    """Signed, weights by channel in 7 of the 8 bits: see README.md. Logits stay float: their range is not known in advance."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    name = proto.graph.input[0].name
    return _by_file(
        proto,
        lambda source, made: quantize_static(
            source,
            made,
            _reader(name, calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
        ),
    )


def _by_file(proto: Any, build: Any) -> Any:
    """Run a quantizer that reads and writes files on the model as `quant_pre_process` simplifies it."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as scratch:
        source, made = Path(scratch, "source.onnx"), Path(scratch, "made.onnx")
        quant_pre_process(proto, source)
        build(source, made)
        return onnx.load(made)


def _reader(name: str, samples: FloatArray) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        """One sample a step: the model has a batch of 1."""

        def __init__(self) -> None:
            self._left: Iterator[FloatArray] = iter(np.asarray(samples, np.float32))

        def get_next(self) -> dict[str, FloatArray] | None:
            sample = next(self._left, None)
            return None if sample is None else {name: sample[None]}

    return Reader()
