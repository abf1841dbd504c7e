"""OpenVINO on CPUs: converted and run by openvino, quantized by nncf."""

from pathlib import Path

from edgekd.bench.planned import Lifetimes
from edgekd.device import Device
from edgekd.errors import did_you_mean
from edgekd.plugins import reading
from edgekd.session import RunnerSession
from edgekd.target import FloatArray, Program
from edgekd.types import Artifact, Contract, Precision

NO_PYTHON = "apps on {os} cannot start a Python runner: choose target 'coreml'"


class OpenVino:
    """See `edgekd.target.Target`. Artifacts are `model.xml` and `model.bin`."""

    name = "openvino"
    extra = "openvino"
    precisions: tuple[str, ...] = ("fp32", "fp16", "w8", "w8a8")
    runner: Path | None = Path(__file__).with_name("runner.py")

    def unsupported(self, precision: Precision, device: Device) -> str | None:
        if str(precision) not in self.precisions:
            return f"target 'openvino' has no precision {precision}" + did_you_mean(str(precision), self.precisions)
        return self.unmeasurable(device)

    def unmeasurable(self, device: Device) -> str | None:
        return NO_PYTHON.format(os=device.os) if device.os == "ios" else None

    def convert(self, program: Program, folder: Path) -> Artifact:
        from edgekd_openvino.convert import convert

        return convert(program, folder)

    def quantize(
        self, program: Program, artifact: Artifact, precision: Precision, calibration: FloatArray, folder: Path
    ) -> Artifact:
        from edgekd_openvino.quantize import quantize

        return quantize(program, artifact, precision, calibration, folder)

    def open(self, artifact: Path, threads: int = 1) -> RunnerSession:
        from edgekd_openvino import model

        contract = model.contract(artifact)
        assert self.runner is not None
        with reading(artifact, model.FORMAT, model.cause):
            return RunnerSession(self.runner, artifact, contract, threads)

    def contract(self, artifact: Path) -> Contract:
        from edgekd_openvino import model

        return model.contract(artifact)

    def lifetimes(self, model: Path) -> Lifetimes:
        from edgekd_openvino import lifetimes

        return lifetimes.lifetimes(model)

    def operators(self, artifact: Path) -> dict[str, int]:
        from edgekd_openvino import model

        return model.operators(artifact)
