"""A `Session` over a target's `runner.py`: the file that is pushed to devices also serves verification here."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from edgekd.target import FloatArray
from edgekd.types import Contract, TensorSpec


def load_runner(file: Path) -> ModuleType:
    """Import a target's runner under a name of its own: each target's file is called `runner.py`."""
    spec = importlib.util.spec_from_file_location(f"{file.parent.name}_runner", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {file}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def to_native(inputs: FloatArray, spec: TensorSpec) -> np.ndarray[Any, Any]:
    """Channels-first float samples (B, C, H, W) as the artifact takes them: its layout, its integers."""
    values = np.moveaxis(inputs, 1, -1) if spec.layout == "NHWC" else inputs
    if spec.scale is not None:
        kind = np.iinfo(spec.dtype)
        values = np.clip(np.round(values / spec.scale) + (spec.zero_point or 0), kind.min, kind.max)
    return np.ascontiguousarray(values, dtype=spec.dtype)


def from_native(output: np.ndarray[Any, Any], spec: TensorSpec) -> FloatArray:
    """An artifact's output (B, classes) as float32."""
    if spec.scale is None:
        return output.astype(np.float32)
    return ((output.astype(np.float32) - (spec.zero_point or 0)) * spec.scale).astype(np.float32)


class RunnerSession:
    """Runs an artifact sample by sample (artifacts have a batch of 1) through its runner's model."""

    def __init__(self, runner: Path, artifact: Path, contract: Contract, threads: int = 1) -> None:
        self._model = load_runner(runner).load(str(artifact), threads)
        self._input, self._output = contract.inputs[0], contract.outputs[0]

    def run(self, inputs: FloatArray) -> FloatArray:
        """Logits (B, classes) for (B, C, H, W)."""
        native = to_native(inputs, self._input)
        rows = [self._model.run([native[i : i + 1]])[0].reshape(1, -1) for i in range(len(native))]
        return from_native(np.concatenate(rows), self._output)

    def close(self) -> None:
        self._model = None
