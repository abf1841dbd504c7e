"""Run a PyTorch teacher in the fastest runtime that is here and agrees with it. Imported once torch is needed."""

import tempfile
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edgekd.distill.taps import Tapped
from edgekd.plugins import need
from edgekd.quiet import quiet
from edgekd.teachers import TeacherOutputs
from edgekd.teachers.loaded import Answer, LoadedTeacher

EXPORT_S = 5.0
"""What an export costs, imports included (measured 2026, two cores): a shorter pass over the data is not worth it."""
TOLERANCE = 1e-4
"""Largest difference from PyTorch, relative to the largest value: what float32 sums in another order differ by."""
ODD_BATCH = 7
"""A batch of another size than the exported one: an export may have fixed it."""


def accelerate(teacher: LoadedTeacher, tapped: Tapped, sample: NDArray[np.float32], samples: int) -> LoadedTeacher:
    """The teacher through ONNX Runtime, if that is here, agrees on `sample` and is faster; else the teacher as it is.

    Args:
        teacher: as it runs in PyTorch.
        tapped: its network.
        sample: normalised real inputs (B, C, H, W).
        samples: how many the teacher will be asked for at least.
    """
    here = all(find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))
    torch_s = _seconds(teacher.answer, sample)
    if not here or torch.cuda.is_available() or torch_s / len(sample) * samples < EXPORT_S:
        return teacher
    try:
        answer = through_onnxruntime(tapped, sample)
        agrees = all(_agree(teacher.answer(part), answer(part)) for part in (sample, sample[:ODD_BATCH]))
    except Exception:  # an exporter may fail in any way on a user's network, which PyTorch itself runs
        return teacher
    if not agrees or _seconds(answer, sample) >= torch_s:
        return teacher
    return replace(teacher, runtime="onnxruntime", answer=answer)


def through_onnxruntime(tapped: Tapped, sample: NDArray[np.float32]) -> Answer:
    """The network exported to ONNX, answering any number of samples of the shape of `sample`'s (at least 2 of them)."""
    onnxruntime = need("onnxruntime", "onnxruntime", "a teacher's faster runtime")
    with quiet(), tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
        file = Path(folder, "teacher.onnx")
        torch.onnx.export(
            tapped,
            (torch.from_numpy(sample[:2]),),
            file,
            dynamo=True,
            external_data=False,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
        session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    with torch.inference_mode():
        names = list(tapped.answers(torch.from_numpy(sample[:2])))

    def answer(inputs: NDArray[np.float32]) -> TeacherOutputs:
        return TeacherOutputs.of(dict(zip(names, session.run(None, {name: inputs}), strict=True)))

    return answer


def _agree(expected: TeacherOutputs, found: TeacherOutputs) -> bool:
    ours, theirs = expected.by_name(), found.by_name()
    pairs = [(ours[name], theirs[name]) for name in ours if name in theirs]
    alike = all(a.shape == b.shape and np.abs(a - b).max() <= TOLERANCE * np.abs(a).max() for a, b in pairs)
    return ours.keys() == theirs.keys() and alike


def _seconds(answer: Answer, sample: NDArray[np.float32]) -> float:
    """Of the faster of two batches, after one to warm up."""
    answer(sample)
    times = []
    for _ in range(2):
        started = time.perf_counter()
        answer(sample)
        times.append(time.perf_counter() - started)
    return min(times)
