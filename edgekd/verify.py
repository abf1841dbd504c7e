"""Compare a built artifact with the student it was built from, on real inputs, as the device's runtime runs it.

The artifact is fed by the contract in its own metadata and the student by the data's: a contract that lies is caught
just as a flipped weight is. What does not match does not ship.
"""

import base64
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.artifact import contract_file, sha256_of
from edgekd.data import RawArray, Split
from edgekd.data.prepare import prepare
from edgekd.errors import StageError
from edgekd.target import FloatArray, Program, Session, Target
from edgekd.types import Artifact, Contract, Fidelity, Precision

SAMPLES = 1000
MAX_ERROR = 1e-4
"""Of fp32, relative to the largest logit: converters only reorder sums."""
MIN_AGREEMENT = {"fp16": 0.995, "w8": 0.995, "w8a8": 0.985, "w8a8-dynamic": 0.985, "w4": 0.95}
"""Of top-1 with the student. What is lost beyond that is a defect of the build, not of the precision."""


@dataclass(frozen=True, kw_only=True)
class Verified:
    """Fidelity, both accuracies on the whole split, and which of its samples the artifact got right (packed bits)."""

    fidelity: Fidelity
    student_accuracy: float
    artifact_accuracy: float
    correct: str


def verify(
    artifact: Artifact,
    target: Target,
    program: Program,
    split: Split,
    *,
    others: Split | None = None,
    samples: int = SAMPLES,
    refuse: bool = True,
    session: Session | None = None,
) -> Verified:
    """Run the artifact on the whole split, and compare it with the student on `samples` real inputs, evenly spaced.

    Where the split has fewer, the comparison takes the rest from `others`, the training split: whether two networks agree
    needs no label, and a hundred samples would let pass what a thousand refuse. `session` is the artifact where it is to
    run, on a device; None opens it here.

    Raises StageError("verify") where the file is not the one that was built, or, with `refuse`, where its answers are not
    the student's.
    """
    _check_identity(artifact, target)
    rows = _spaced(split, min(samples, len(split)))
    more = None if others is None else _spaced(others, min(samples - len(rows), len(others)))
    raw = split.inputs if more is None or others is None else np.concatenate([split.inputs, others.inputs[more]])
    labels = split.labels if more is None or others is None else np.concatenate([split.labels, others.labels[more]])
    answers, expected = _answers(artifact, target, raw, session), _student(program, raw)
    compared = np.concatenate([rows, np.arange(len(split), len(raw))])
    fidelity = compare(expected[compared], answers[compared], labels[compared])
    reason = refusal(fidelity, artifact.precision) if refuse else None
    if reason:
        raise StageError("verify", reason, f"{artifact.path.name} does not answer as its student does: it does not ship")
    right = [logits[: len(split)].argmax(1) == split.labels for logits in (expected, answers)]
    return Verified(
        fidelity=fidelity,
        student_accuracy=float(right[0].mean()),
        artifact_accuracy=float(right[1].mean()),
        correct=pack(right[1]),
    )


def _spaced(split: Split, count: int) -> NDArray[np.int64]:
    """Numbers of `count` samples of a split, evenly spaced: sources often come sorted by class."""
    return np.linspace(0, len(split) - 1, count).astype(np.int64)


def _answers(artifact: Artifact, target: Target, raw: RawArray, session: Session | None) -> FloatArray:
    """The artifact's logits, fed by the contract in its own metadata."""
    session = session or target.open(artifact.path)
    try:
        return session.run(prepare(raw, target.contract(artifact.path)))
    finally:
        session.close()


def compare(student: FloatArray, artifact: FloatArray, labels: NDArray[np.int64]) -> Fidelity:
    """Fidelity of logits (N, C) to the student's. A margin is the student's gap between its two largest logits."""
    error = float(np.abs(student - artifact).max()) if np.isfinite(artifact).all() else float("inf")
    ordered = np.sort(student, axis=1)
    differs = student.argmax(1) != artifact.argmax(1)
    noise = float(((student.astype(np.float64) - artifact) ** 2).sum())
    signal = float((student.astype(np.float64) ** 2).sum())
    return Fidelity(
        samples=len(labels),
        max_abs_error=error,
        max_abs_logit=float(np.abs(student).max()),
        snr_db=float(10 * np.log10(signal / noise)) if 0 < noise < np.inf and signal > 0 else None,
        agreement=float(1 - differs.mean()),
        margin_disagreements=int((differs & (ordered[:, -1] - ordered[:, -2] > 2 * error)).sum()),
        accuracy=float((artifact.argmax(1) == labels).mean()),
    )


def refusal(fidelity: Fidelity, precision: Precision) -> str | None:
    """Why an artifact of this precision may not ship, or None where it may."""
    if not np.isfinite(fidelity.max_abs_error):
        return "its answers are not finite numbers"
    if str(precision) == "fp32":
        if fidelity.max_abs_error > MAX_ERROR * fidelity.max_abs_logit:
            return f"max |error| {fidelity.max_abs_error:.3g} exceeds {MAX_ERROR:g} of the largest logit"
        if fidelity.margin_disagreements:
            return f"{fidelity.margin_disagreements} of {fidelity.samples} answers differ beyond the error's reach"
        return None
    least = MIN_AGREEMENT[str(precision)]
    if fidelity.agreement < least:
        return f"agrees with its student on {fidelity.agreement:.2%} of {fidelity.samples} samples, {least:.1%} is needed"
    return None


def _check_identity(artifact: Artifact, target: Target) -> None:
    """The file is the one that was built, and says the same of itself inside and beside it."""
    if sha256_of(artifact.path) != artifact.sha256:
        raise StageError("verify", f"{artifact.path.name} changed since it was built", "run again with another --out")
    inside = target.contract(artifact.path)
    beside = contract_file(artifact.path)
    if not beside.is_file() or Contract.from_json(beside.read_text()) != inside:
        raise StageError("verify", f"{beside.name} says something else than the artifact's metadata", "build it again")


def _student(program: Program, raw: RawArray) -> FloatArray:
    from edgekd.distill.trainer import predict

    logits: FloatArray = predict(program.module, prepare(raw, program.contract))
    return logits


def pack(flags: NDArray[Any]) -> str:
    """Booleans as text: what two artifacts got right is compared sample by sample."""
    return json.dumps([len(flags), base64.b64encode(np.packbits(flags).tobytes()).decode()])


def unpack(text: str) -> NDArray[np.bool_]:
    count, bits = json.loads(text)
    return np.unpackbits(np.frombuffer(base64.b64decode(bits), np.uint8))[:count].astype(bool)
