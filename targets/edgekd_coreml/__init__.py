"""Core ML: ML program packages (`.mlpackage`) for iOS 17 and macOS 14 on; verified off a Mac by a reference executor."""

from pathlib import Path

from edgekd.device import Device
from edgekd.errors import InputError
from edgekd.target import FloatArray, Program, Session
from edgekd.types import Artifact, Contract, Precision

__all__ = ["CoreMl"]


class CoreMl:
    """Builds, compresses and reads `.mlpackage` folders. What it opens runs in NumPy, from the package alone."""

    name = "coreml"
    extra = "coreml"
    precisions = ("fp32", "fp16", "w8", "w4")
    runner: Path | None = None

    def unsupported(self, precision: Precision, device: Device) -> str | None:
        """Why this precision cannot be built; packages are the same for every device.

        Eight-bit activations are calibrated by running the model in Core ML, which exists on a Mac only (coremltools 9,
        `optimize.coreml.experimental.linear_quantize_activations`).
        """
        if str(precision) in self.precisions:
            return None
        return f"coreml builds {', '.join(self.precisions)}; quantized activations are calibrated by Core ML itself, on a Mac"

    def unmeasurable(self, device: Device) -> str | None:
        """Why latency, memory and energy cannot be measured: always, as no runner can be pushed to an Apple device."""
        if device.os in ("ios", "macos"):
            return "edgekd has no runner for Apple devices: use the performance report of Xcode"
        return "Core ML runs only on Apple devices"

    def convert(self, program: Program, folder: Path) -> Artifact:
        """Build `model.mlpackage` in float32. Raises StageError("convert", …)."""
        from edgekd_coreml.convert import convert

        return convert(program, Precision.parse("fp32"), folder)

    def quantize(
        self, program: Program, artifact: Artifact, precision: Precision, calibration: FloatArray, folder: Path
    ) -> Artifact:
        """Build fp16, w8 or w4 from the student; none of them needs calibration. Raises StageError("quantize", …)."""
        from edgekd_coreml.quantize import quantize

        return quantize(program, precision, folder)

    def open(self, artifact: Path, threads: int = 1) -> Session:
        """The package in the reference executor; `threads` are those of its matrix products.

        Raises InputError for a broken package, StageError("verify", …) for an operation that the executor does not know.
        """
        from edgekd_coreml.executor import ReferenceSession

        return ReferenceSession(artifact, threads)

    def contract(self, artifact: Path) -> Contract:
        """The contract in the package's metadata. Raises InputError where there is none or the package is broken."""
        from edgekd_coreml.package import CONTRACT_KEY, read

        metadata = read(artifact).spec.description.metadata.userDefined
        if CONTRACT_KEY not in metadata:
            raise InputError(f"{artifact}: holds no contract under '{CONTRACT_KEY}': it was not built by edgekd")
        return Contract.from_json(metadata[CONTRACT_KEY])

    def operators(self, artifact: Path) -> dict[str, int]:
        """How often each MIL operation occurs, constants left out. Raises InputError for a broken package."""
        from edgekd_coreml.package import read
        from edgekd_coreml.program import decode

        return decode(read(artifact)).counts
