"""What the checks of the conformance suite work with: one target's artifacts, broken copies of them, fresh processes."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgekd.artifact import files_of
from edgekd.errors import InputError
from edgekd.target import FloatArray, Program, Target
from edgekd.types import Artifact, Precision

HEAVY = (
    *("torch", "onnx", "onnxscript", "onnxruntime", "openvino", "nncf", "tensorflow", "coremltools"),
    *("litert_torch", "ai_edge_litert", "ai_edge_quantizer", "tflite_runtime", "scipy", "sklearn"),
)


class NotApplicable(Exception):
    """A check that this target cannot be put to, and why."""


class Case:
    """One target under test: its student, its samples, and its artifacts, each built once for all checks."""

    def __init__(self, target: Target, program: Program, inputs: FloatArray, folder: Path) -> None:
        calibrating = min(200, len(inputs) // 4)
        self.target, self.program, self.folder = target, program, folder
        self.calibration, self.samples = inputs[:calibrating], inputs[calibrating:]
        self._built: dict[tuple[str, str], Artifact] = {}
        self._reference: FloatArray | None = None

    @property
    def runner(self) -> Path:
        if self.target.runner is None:
            raise NotApplicable("it has no runner")
        return self.target.runner

    @property
    def reference(self) -> FloatArray:
        """The student's own logits (N, classes) for `samples`."""
        if self._reference is None:
            self._reference = _answers(self.program, self.samples)
        return self._reference

    def artifact(self, precision: str, build: str = "first") -> Artifact:
        """The artifact of the build of that name, made in a folder of its own."""
        if (precision, build) not in self._built:
            folder = self.folder / self.target.name / build / precision
            folder.mkdir(parents=True)
            if precision == "fp32":
                made = self.target.convert(self.program, folder)
            else:
                parsed, source = Precision.parse(precision), self.artifact("fp32", build)
                made = self.target.quantize(self.program, source, parsed, self.calibration, folder)
            self._built[precision, build] = made
        return self._built[precision, build]


def _answers(program: Program, samples: FloatArray) -> FloatArray:
    if not hasattr(program.module, "state_dict"):
        return np.asarray(program.module(samples), np.float32)
    import torch

    with torch.no_grad():
        logits: FloatArray = program.module(torch.from_numpy(samples)).numpy()
    return logits


def is_refused(call: Callable[[Path], object], path: Path) -> bool:
    try:
        call(path)
    except InputError:
        return True
    return False


def copy_with(folder: Path, artifact: Path, name: str, content: bytes | None) -> Path:
    """A copy of the artifact in a fresh `folder`, the file `name` of it replaced, or missing where `content` is None."""
    shutil.rmtree(folder, ignore_errors=True)
    copy = folder / artifact.name
    root = copy if artifact.is_dir() else folder
    for relative, file in files_of(artifact):
        target = root / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        if relative != name:
            shutil.copyfile(file, target)
        elif content is not None:
            target.write_bytes(content)
    return copy


_CHILD = """import importlib, pathlib, sys
heavy = set(sys.argv[1].split())
make = getattr(importlib.import_module(sys.argv[2]), sys.argv[3])
target = make()
"""


def in_child(target: Target, code: str, *arguments: str) -> str:
    """What `code` prints in a fresh process that has constructed the target."""
    kind = type(target)
    command = [sys.executable, "-c", _CHILD + code, " ".join(HEAVY), kind.__module__, kind.__qualname__, *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit code {done.returncode}"
    return done.stdout.strip()
