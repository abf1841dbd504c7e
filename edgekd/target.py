"""What a target is: a runtime that edgekd can build for, run and describe.

A target is a folder with one class that satisfies `Target`, registered under the entry point group `edgekd.targets`:

    [project.entry-points."edgekd.targets"]
    hailo = "edgekd_hailo:Hailo"

Heavy imports go inside methods: constructing a target must cost nothing. `runner.py` beside the class is pushed to the
device next to `edgekd/bench/harness.py` and gives the harness `version()` and `load(model, threads)`, with `OPTIONS` also
`load(model, threads, options)`; the target's `open` uses the same file, so that what is verified is run as what is measured.
An `operators.py` beside it tells per-operator times (`edgekd/bench/profiling.py`); without one they are unavailable.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgekd.device import Device
from edgekd.types import Artifact, Contract, Precision

FloatArray: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Program:
    """A student ready to be built: what every converter is given.

    `module` is a `torch.nn.Module` in eval mode on the CPU (typed Any: this file must not import torch) that maps
    (B, *contract input shape), float32, normalised, channels first, to logits (B, classes).
    `input_shape` is that of one sample after resizing, channels first: (C, H, W).
    `parent` is the hash of its weights.
    """

    module: Any
    input_shape: tuple[int, ...]
    contract: Contract
    parent: str


class Session(Protocol):
    """A loaded artifact. Layout, integer scales and batching are its business, not the caller's."""

    def run(self, inputs: FloatArray) -> FloatArray:
        """Logits (B, classes) in float32 for inputs (B, C, H, W): float32, normalised, channels first."""
        ...

    def close(self) -> None: ...


class Target(Protocol):
    name: str
    extra: str
    """Of `pip install "edgekd[extra]"`."""
    precisions: tuple[str, ...]
    runner: Path | None
    """The file that is pushed to devices; None where edgekd has no way to run it (Core ML off a Mac)."""

    def unsupported(self, precision: Precision, device: Device) -> str | None:
        """Why this precision cannot be built for the device, or None where it can."""
        ...

    def unmeasurable(self, device: Device) -> str | None:
        """Why latency, memory and energy cannot be measured on the device, or None where they can."""
        ...

    def convert(self, program: Program, folder: Path) -> Artifact:
        """Build the fp32 artifact in `folder` (exists, empty). Raises StageError("convert", …)."""
        ...

    def quantize(
        self, program: Program, artifact: Artifact, precision: Precision, calibration: FloatArray, folder: Path
    ) -> Artifact:
        """Build `precision` from the student or its fp32 artifact, in `folder` (exists, empty).

        `calibration`: normalised real inputs (N, C, H, W). Raises StageError("quantize", …).
        """
        ...

    def open(self, artifact: Path, threads: int = 1) -> Session:
        """Load an artifact from its path alone. Raises InputError where the file is not what it should be."""
        ...

    def contract(self, artifact: Path) -> Contract:
        """The contract in the artifact's own metadata. Raises InputError where there is none or the file is broken."""
        ...

    def operators(self, artifact: Path) -> dict[str, int]:
        """How often each operator of the runtime occurs in the artifact."""
        ...
