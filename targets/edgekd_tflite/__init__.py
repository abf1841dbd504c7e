"""TFLite (LiteRT): converted by litert-torch, quantized by ai-edge-quantizer, run by XNNPACK on CPUs."""

from pathlib import Path

from edgekd.bench.planned import Lifetimes
from edgekd.device import Device
from edgekd.errors import did_you_mean
from edgekd.session import RunnerSession
from edgekd.target import FloatArray, Program
from edgekd.types import Artifact, Contract, Precision

__all__ = ["Tflite"]

NO_PYTHON = "apps on {os} cannot start a Python runner: choose target 'coreml', or measure model.tflite inside your app"


class Tflite:
    """See `edgekd.target.Target`. Artifacts are one `model.tflite`, input channel-last, contract inside."""

    name = "tflite"
    extra = "tflite"
    precisions: tuple[str, ...] = ("fp32", "fp16", "w8a8-dynamic", "w8a8")
    runner: Path | None = Path(__file__).with_name("runner.py")

    def unsupported(self, precision: Precision, device: Device) -> str | None:
        """Why this precision cannot be built, or None: the same file runs on every device that has the runtime."""
        if str(precision) in self.precisions:
            return None
        return f"target 'tflite' has no precision {precision}" + did_you_mean(str(precision), self.precisions)

    def unmeasurable(self, device: Device) -> str | None:
        return NO_PYTHON.format(os=device.os) if device.os == "ios" else None

    def convert(self, program: Program, folder: Path) -> Artifact:
        from edgekd_tflite.convert import convert

        return convert(program, folder)

    def quantize(
        self, program: Program, artifact: Artifact, precision: Precision, calibration: FloatArray, folder: Path
    ) -> Artifact:
        from edgekd_tflite.quantize import quantize

        return quantize(program, artifact, precision, calibration, folder)

    def open(self, artifact: Path, threads: int = 1) -> RunnerSession:
        from edgekd_tflite.session import open_session

        return open_session(artifact, threads)

    def contract(self, artifact: Path) -> Contract:
        from edgekd_tflite.metadata import contract

        return contract(artifact)

    def lifetimes(self, model: Path) -> Lifetimes:
        from edgekd_tflite import lifetimes

        return lifetimes.lifetimes(model)

    def operators(self, artifact: Path) -> dict[str, int]:
        from edgekd_tflite.metadata import operators

        return operators(artifact)
