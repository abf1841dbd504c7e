"""What of the teacher is in the student, and in the artifact that was built of it: all on the test split, after the choice.

Imported once torch is needed.

A student's part is recorded once however many artifacts are built of it. The teacher is not asked: its answers, to corrupted
pictures too, are in its cache. What cannot be said is None, with the reason.
"""

import base64
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.data import RawArray
from edgekd.data.prepare import prepare
from edgekd.distill.answers import Answers, mean_logits_of
from edgekd.distill.training import Training
from edgekd.errors import InputError
from edgekd.fidelity.cka import embedding_similarity
from edgekd.fidelity.measures import compare
from edgekd.fidelity.robustness import (
    CONDITIONS,
    Top1,
    answers_under_corruption,
    compare_robustness,
    part_of,
    spaced,
    unsuited,
)
from edgekd.target import Program, Target
from edgekd.types import Artifact, Provenance

Record = dict[str, Any]
EMBEDDINGS = 2048
"""Samples that CKA is of: four of its batches, over which it spreads by less than 0.01; its null takes a second of them."""
EMULATED, EMULATED_CORRUPTED = 1000, 50
"""Samples for an artifact that only a reference executor runs: it takes ten times as long as a runtime (Core ML's, 28 x 28
pictures: 1.1 ms, measured 2026)."""


def student_fidelity(training: Training, program: Program) -> Record:
    """`student` (a `measures.Comparison`), `cka` (a `cka.Similarity`), `reasons` by part, and `top1` for `artifact_fidelity`."""
    from edgekd.distill.trainer import predict

    test, contract = training.data.test, training.data.contract
    found = _answers(program, test.inputs)
    record: Record = {"reasons": {}}
    _put(record, "student", lambda: asdict(compare(found["logits"], _teacher_logits(training), test.labels, contract.classes)))
    _put(record, "cka", lambda: _similarity(training, found.get("embedding")))
    samples = part_of(test, spaced(len(test)))
    reason = unsuited(samples, contract)
    if reason:
        return {**record, "top1": None, "reasons": {**record["reasons"], "robustness": reason}}
    networks = {"student": lambda raw: predict(program.module, prepare(raw, program.contract))}
    return {**record, "top1": _pack(answers_under_corruption(networks, samples, contract, training.view_seed)["student"])}


def artifact_fidelity(training: Training, student: Record, program: Program, artifact: Artifact, target: Target) -> Record:
    """The whole entry of the report: the `student`'s part, the `artifact`'s and the `robustness` of all three networks.

    Where the artifact answers a part of the samples only, the student is compared over the same ones.

    Args:
        training: with the teachers' caches.
        student: what `student_fidelity` gave for `program`.
        artifact: built of that student.
        target: the artifact's.

    Returns:
        JSON: `student` and `artifact` (`measures.Comparison`), `cka` (`cka.Similarity`), `robustness`
        (`robustness.Robustness`), each None where `reasons` says why; `provenance` of the artifact's answers.
    """
    test, classes = training.data.test, training.data.contract.classes
    emulated = target.runner is None
    rows = spaced(len(test), EMULATED if emulated else len(test))
    record = {key: value for key, value in student.items() if key != "top1"} | {"reasons": dict(student["reasons"])}
    record |= {"robustness": None, "provenance": str(Provenance.EMULATED if emulated else Provenance.MEASURED)}
    teacher, labels = _teacher_logits(training)[rows], test.labels[rows]
    if len(rows) < len(test):
        mine = _answers(program, test.inputs[rows])["logits"]
        _put(record, "student", lambda: asdict(compare(mine, teacher, labels, classes)))
    session, contract = target.open(artifact.path), target.contract(artifact.path)

    def network(raw: RawArray) -> RawArray:
        return session.run(prepare(raw, contract))

    try:
        logits = network(test.inputs[rows])
        _put(record, "artifact", lambda: asdict(compare(logits, teacher, labels, classes)))
        if student["top1"] is not None:
            most = EMULATED_CORRUPTED if emulated else len(test)
            _put(record, "robustness", lambda: _robustness(training, _unpack(student["top1"]), network, most))
    finally:
        session.close()
    return record


def _put(record: Record, part: str, measure: Callable[[], Record]) -> None:
    """The part, or None with its reason: a figure that cannot be given must not cost the run its report."""
    try:
        record[part] = measure()
    except InputError as error:
        record[part] = None
        record["reasons"][part] = str(error)


def _robustness(training: Training, student: Top1, network: Callable[[RawArray], RawArray], most: int) -> Record:
    """Of teacher, student and artifact, over at most `most` of the student's pictures."""
    test, contract = training.data.test, training.data.contract
    chosen = spaced(len(test))
    columns = spaced(len(chosen), most)
    samples = part_of(test, chosen[columns])
    artifact = answers_under_corruption({"artifact": network}, samples, contract, training.view_seed)["artifact"]
    stacked = [cache.corrupted_logits() for cache in training.caches]
    teacher = mean_logits_of([logits.reshape(-1, len(contract.classes)) for logits in stacked])
    answers = {
        "teacher": teacher.argmax(axis=1).reshape(len(CONDITIONS), -1)[:, columns],
        "student": student[:, columns],
        "artifact": artifact,
    }
    return asdict(compare_robustness(answers, samples.labels, seed=training.view_seed))


def _teacher_logits(training: Training) -> NDArray[np.float32]:
    return Answers(caches=training.caches).test()


def _similarity(training: Training, student: NDArray[np.float32] | None) -> Record:
    """CKA of the student's embedding and its teacher's. Raises InputError with the reason where there is none."""
    if len(training.caches) > 1:
        raise InputError("several teachers have no embedding in common")
    teacher = training.caches[0].test_embedding()
    for whose, embedding in (("student", student), ("teacher", teacher)):
        if embedding is None:
            raise InputError(f"the {whose} shows no embedding: no last linear layer gives the classes")
    assert student is not None
    assert teacher is not None
    rows = spaced(len(student), EMBEDDINGS)
    found = embedding_similarity(student[rows], np.asarray(teacher[rows]), seed=training.view_seed)
    if found.value is None:
        raise InputError(found.reason)
    return asdict(found)


def _answers(program: Program, raw: RawArray, batch: int = 500) -> dict[str, NDArray[np.float32]]:
    """The student's `logits` and, where it shows one, its `embedding`: (N, C) and (N, D)."""
    import torch

    from edgekd.distill.taps import Tapped

    tapped = Tapped(program.module, len(program.contract.classes)).eval()
    with torch.inference_mode():
        parts = [
            tapped.answers(torch.from_numpy(prepare(raw[start : start + batch], program.contract)))
            for start in range(0, len(raw), batch)
        ]
    return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}


def _pack(top1: Top1) -> Record:
    """Class numbers (76, n) as text, two bytes each."""
    return {"shape": list(top1.shape), "classes": base64.b64encode(top1.astype("<u2").tobytes()).decode()}


def _unpack(packed: Record) -> Top1:
    return np.frombuffer(base64.b64decode(packed["classes"]), "<u2").reshape(packed["shape"]).astype(np.int64)
