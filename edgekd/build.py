"""Build artifacts from a student: convert, and quantize where the precision asks for it."""

import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.bench.samples import write_samples
from edgekd.data import Data
from edgekd.data.prepare import prepare
from edgekd.target import FloatArray, Program, Target
from edgekd.types import Artifact, Contract, Precision

FLOAT = Precision(weights=32, activations=32)
CALIBRATION_SAMPLES = 256
"""Real inputs that activation ranges are taken from; min-max and histogram calibration settle within a few hundred."""


def build(
    target: Target, program: Program, precision: Precision, calibration: FloatArray, folder: Path, fp32: Artifact | None = None
) -> Artifact:
    """Build `precision` in `folder` (exists, empty), from the fp32 artifact where that is there already; samples beside it."""
    artifact = _build(target, program, precision, calibration, folder, fp32)
    write_samples(artifact, calibration)
    return artifact


def _build(
    target: Target, program: Program, precision: Precision, calibration: FloatArray, folder: Path, fp32: Artifact | None
) -> Artifact:
    if precision == FLOAT:
        return target.convert(program, folder)
    if fp32 is not None:
        return target.quantize(program, fp32, precision, calibration, folder)
    with tempfile.TemporaryDirectory(prefix="edgekd-") as scratch:
        return target.quantize(program, target.convert(program, Path(scratch)), precision, calibration, folder)


def calibration_inputs(data: Data, contract: Contract, seed: int) -> FloatArray:
    """Training samples (N, C, H, W), chosen by seed, as the student takes them. Neither validation nor test is looked at."""
    count = min(CALIBRATION_SAMPLES, len(data.train))
    rows = np.sort(np.random.default_rng(seed).choice(len(data.train), count, replace=False))
    return prepare(data.train.inputs[rows], contract)


def moved(artifact: Artifact, old: Path, new: Path) -> Artifact:
    """The artifact after the folder that it lies in was renamed."""
    return replace(artifact, path=new / artifact.path.relative_to(old))


def to_record(artifact: Artifact, run: Path) -> dict[str, Any]:
    """As JSON, its path relative to the run's folder."""
    record = asdict(artifact)
    record |= {"path": artifact.path.relative_to(run).as_posix(), "precision": str(artifact.precision)}
    return record | {"contract": artifact.contract.to_json()}


def from_record(record: dict[str, Any], run: Path) -> Artifact:
    return Artifact(
        **{
            **record,
            "path": run / record["path"],
            "precision": Precision.parse(record["precision"]),
            "contract": Contract.from_json(record["contract"]),
        }
    )
