"""The null target: a linear model in an `.npz` file, run by numpy. The whole pipeline runs on it in a second, without torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.artifact import finish
from edgekd.device import Device
from edgekd.errors import InputError, StageError, did_you_mean, storage_errors
from edgekd.plugins import reading, versions
from edgekd.session import RunnerSession
from edgekd.target import FloatArray, Program
from edgekd.types import Artifact, Contract, Precision, TensorSpec

FIELDS = {"weight", "bias", "scale", "shape", "zero_point", "dtype", "contract"}


@dataclass(frozen=True)
class LinearModule:
    """A student for the null target: logits (B, classes) = flattened inputs @ weight.T + bias; weight (classes, features)."""

    weight: FloatArray
    bias: FloatArray

    def __call__(self, inputs: FloatArray) -> FloatArray:
        return inputs.reshape(len(inputs), -1) @ self.weight.T + self.bias


class NullTarget:
    """Builds any program whose module has `weight` (classes, features) and `bias` (classes,) arrays."""

    name = "null"
    extra = ""
    precisions: tuple[str, ...] = ("fp32", "w8", "w8a8")
    runner: Path | None = Path(__file__).with_name("runner.py")

    def unsupported(self, precision: Precision, device: Device) -> str | None:
        if str(precision) not in self.precisions:
            return f"target 'null' has no precision {precision}" + did_you_mean(str(precision), self.precisions)
        return f"{device.os} apps cannot start a Python runner" if device.os == "ios" else None

    def unmeasurable(self, device: Device) -> str | None:
        return f"{device.os} apps cannot start a Python runner" if device.os == "ios" else None

    def convert(self, program: Program, folder: Path) -> Artifact:
        weight, bias = _parameters(program)
        arrays = {"weight": weight, "bias": bias, "scale": np.float32(1)}
        return _write(
            program, folder, Precision.parse("fp32"), arrays, TensorSpec(name="input", dtype="float32", **_input(program))
        )

    def quantize(
        self, program: Program, artifact: Artifact, precision: Precision, calibration: FloatArray, folder: Path
    ) -> Artifact:
        """Weights by class to 8 bits, symmetric; with w8a8 also the input, by its range in `calibration`."""
        if str(precision) not in self.precisions or precision.is_float:
            raise StageError("quantize", f"target 'null' cannot quantize to {precision}", f"choose one of {self.precisions[1:]}")
        weight, bias = _parameters(program)
        scale = np.maximum(np.abs(weight).max(axis=1), np.float32(1e-12)) / np.float32(127)
        levels = np.round(weight / scale[:, None]).astype(np.int8)
        spec = TensorSpec(name="input", dtype="float32", **_input(program))
        if precision.activations == 8:
            step, zero_point = _affine(calibration)
            spec = replace(spec, dtype="int8", scale=step, zero_point=zero_point)
            scale = scale * np.float32(step)
        return _write(program, folder, precision, {"weight": levels, "bias": bias, "scale": scale}, spec)

    def open(self, artifact: Path, threads: int = 1) -> RunnerSession:
        contract = self.contract(artifact)
        assert self.runner is not None
        with reading(artifact, "a null model"):
            return RunnerSession(self.runner, artifact, contract, threads)

    def contract(self, artifact: Path) -> Contract:
        return Contract.from_json(str(_arrays(artifact)["contract"]))

    def operators(self, artifact: Path) -> dict[str, int]:
        _arrays(artifact)
        return {"Linear": 1}


def _parameters(program: Program) -> tuple[FloatArray, FloatArray]:
    weight, bias = (getattr(program.module, name, None) for name in ("weight", "bias"))
    if weight is None or bias is None:
        raise StageError(
            "convert", f"{type(program.module).__name__} has no weight and bias", "the null target takes linear models"
        )
    weight, bias = (np.asarray(getattr(v, "detach", lambda v=v: v)(), np.float32) for v in (weight, bias))
    features = int(np.prod(program.input_shape))
    if weight.shape != (len(bias), features):
        raise StageError("convert", f"weight has shape {weight.shape}, expected {(len(bias), features)}")
    return weight, bias


def _input(program: Program) -> dict[str, Any]:
    return {"shape": (1, *program.input_shape), "layout": "NC" if len(program.input_shape) == 1 else "NCHW"}


def _affine(values: FloatArray) -> tuple[float, int]:
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    scale = max(high - low, 1e-12) / 255
    return scale, round(-128 - low / scale)


def _write(program: Program, folder: Path, precision: Precision, arrays: Mapping[str, Any], spec: TensorSpec) -> Artifact:
    output = TensorSpec(name="logits", shape=(1, len(arrays["bias"])), dtype="float32", layout="NC")
    contract = replace(program.contract, inputs=(spec,), outputs=(output,))
    path = folder / "model.npz"
    with storage_errors(str(path)):
        np.savez(path, **arrays, shape=spec.shape, zero_point=spec.zero_point or 0, dtype=spec.dtype, contract=contract.to_json())
    tools = versions("numpy")
    return finish(path, target="null", precision=precision, contract=contract, parent=program.parent, tools=tools)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    with reading(path, "a null model"), np.load(path, allow_pickle=False) as archive:
        missing = FIELDS - set(archive.files)
        if missing:
            raise InputError(f"{path}: is not a null model: it has no {', '.join(sorted(missing))}")
        return {name: archive[name] for name in archive.files}
