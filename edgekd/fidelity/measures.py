"""A student's answers against its teacher's, from logits alone: the student may be a network or a built artifact.

Top-1 is the first of the highest logits. All sums are in float64.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekd.data import RawArray
from edgekd.errors import InputError

BINS = 15
"""Of confidence. Source: Guo et al. 2017, arXiv:1706.04599, section 5."""
TOP = 5
MOST_CONFUSIONS = 10
"""Listed: as many as a reader takes in."""
BLOCK_VALUES = 1 << 22
"""Logits worked on at once: 32 MB of float64, so that a thousand classes do not fill a small machine's memory."""

LARGEST = np.float64(np.finfo(np.float32).max)
"""Logit: what no float32 holds is taken as not finite, so that differences stay finite in float64."""


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """The samples whose confidence is above `lower` and at most `upper`; None where there is none."""

    lower: float
    upper: float
    samples: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One network against the labels. `ece` and `accuracy` are fractions, `nll` is in nats."""

    accuracy: float
    nll: float
    ece: float
    reliability: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, kw_only=True)
class ClassTransfer:
    """One class: what the teacher knows of it and what the student took over. None where the class has no such sample.

    `inherited_errors` is the share of the teacher's errors on which the student gives the teacher's wrong answer.
    """

    name: str
    samples: int
    teacher_accuracy: float | None
    student_accuracy: float | None
    agreement: float | None
    inherited_errors: float | None


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """`samples` of class `label` that the student, but not its teacher, takes for `predicted`."""

    label: str
    predicted: str
    samples: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All that logits say of a student and its teacher, over `samples` labelled samples.

    `agreement` is the share of samples with the same top-1; `top5_agreement` the mean share of the teacher's five highest
    classes that are among the student's five, None up to five classes; `kl` is KL(teacher || student) at temperature 1, in nats.
    """

    samples: int
    student: Scores
    teacher: Scores
    agreement: float
    top5_agreement: float | None
    kl: float
    inherited_errors: float | None
    classes: tuple[ClassTransfer, ...]
    new_confusions: tuple[Confusion, ...]


@dataclass(frozen=True, kw_only=True)
class Effectiveness:
    """The share of the gap between a plain student and its teacher that distillation closed; None and a reason without a gap."""

    value: float | None
    reason: str = ""


def compare(student: RawArray, teacher: RawArray, labels: NDArray[np.int64], names: tuple[str, ...]) -> Comparison:
    """Fidelity of a student to its teacher beside the accuracy of both.

    Args:
        student: (N, C) logits.
        teacher: (N, C) logits of the same samples.
        labels: (N,), 0 to C - 1.
        names: of the C classes.

    Returns:
        Plain numbers throughout, None where one is not defined.

    Raises:
        InputError: for shapes that do not fit each other, logits that are not finite, labels of no class, and no samples.

    Source: Stanton et al. 2021, arXiv:2106.05945, section 3 (agreement, KL); Guo et al. 2017, arXiv:1706.04599, equation 3 (ECE).
    """
    _check(student, teacher, labels, names)
    rows = max(1, BLOCK_VALUES // len(names))
    blocks = [slice(start, start + rows) for start in range(0, len(labels), rows)]
    divergences = np.concatenate([_divergences(student[block], teacher[block]) for block in blocks])
    of_student, of_teacher = student.argmax(axis=1), teacher.argmax(axis=1)
    overlap = [_top_overlap(student[block], teacher[block]) for block in blocks] if len(names) > TOP else []
    transfer = tuple(_class_transfer(name, labels == index, of_student, of_teacher, index) for index, name in enumerate(names))
    return Comparison(
        samples=len(labels),
        student=_scores(student, labels, blocks),
        teacher=_scores(teacher, labels, blocks),
        agreement=float(np.mean(of_student == of_teacher)),
        top5_agreement=float(np.concatenate(overlap).mean()) if overlap else None,
        kl=max(0.0, float(divergences.mean())),  # rounding may leave it under 0 where both are the same
        inherited_errors=_mean((of_student == of_teacher)[of_teacher != labels]),
        classes=transfer,
        new_confusions=_new_confusions(of_student, of_teacher, labels, names),
    )


def transfer_effectiveness(kd: float, plain: float, teacher: float) -> Effectiveness:
    """(kd - plain) / (teacher - plain): 0 where distillation gave nothing, 1 where the student reached its teacher.

    Args:
        kd: accuracy of the distilled student, a fraction.
        plain: of the same student trained as long on the labels alone.
        teacher: of the teacher.
    """
    if not all(np.isfinite((kd, plain, teacher))):
        return Effectiveness(value=None, reason=f"an accuracy is not a number: {kd}, {plain}, {teacher}")
    if teacher <= plain:
        return Effectiveness(value=None, reason=f"the teacher ({teacher:.4f}) is no better than the plain student ({plain:.4f})")
    return Effectiveness(value=(kd - plain) / (teacher - plain))


def log_softmax(logits: RawArray) -> NDArray[np.float64]:
    """Logarithms of the class probabilities, (N, C), in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    logs: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logs


def _divergences(student: RawArray, teacher: RawArray) -> NDArray[np.float64]:
    logs = log_softmax(teacher)
    divergences: NDArray[np.float64] = (np.exp(logs) * (logs - log_softmax(student))).sum(axis=1)
    return divergences


def _top_overlap(student: RawArray, teacher: RawArray) -> NDArray[np.float64]:
    mine, its = (np.argsort(-logits.astype(np.float64), axis=1, kind="stable")[:, :TOP] for logits in (student, teacher))
    shared: NDArray[np.float64] = (mine[:, :, None] == its[:, None, :]).sum(axis=(1, 2)) / TOP
    return shared


def _scores(logits: RawArray, labels: NDArray[np.int64], blocks: list[slice]) -> Scores:
    losses, confidences = [], []
    for block in blocks:
        logs = log_softmax(logits[block])
        losses.append(-logs[np.arange(len(logs)), labels[block]])
        confidences.append(np.exp(logs.max(axis=1)))
    correct, confidence = logits.argmax(axis=1) == labels, np.concatenate(confidences)
    reliability = _reliability(confidence, correct)
    return Scores(
        accuracy=float(correct.mean()),
        nll=float(np.concatenate(losses).mean()),
        ece=sum(
            found.samples / len(labels) * abs(found.accuracy - found.confidence)
            for found in reliability
            if found.accuracy is not None and found.confidence is not None
        ),
        reliability=reliability,
    )


def _reliability(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> tuple[ReliabilityBin, ...]:
    number = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    return tuple(
        ReliabilityBin(
            lower=index / BINS,
            upper=(index + 1) / BINS,
            samples=int(np.count_nonzero(number == index)),
            confidence=_mean(confidence[number == index]),
            accuracy=_mean(correct[number == index]),
        )
        for index in range(BINS)
    )


def _class_transfer(
    name: str, rows: NDArray[np.bool_], student: NDArray[np.int64], teacher: NDArray[np.int64], label: int
) -> ClassTransfer:
    same = student[rows] == teacher[rows]
    return ClassTransfer(
        name=name,
        samples=int(rows.sum()),
        teacher_accuracy=_mean(teacher[rows] == label),
        student_accuracy=_mean(student[rows] == label),
        agreement=_mean(same),
        inherited_errors=_mean(same[teacher[rows] != label]),
    )


def _new_confusions(
    student: NDArray[np.int64], teacher: NDArray[np.int64], labels: NDArray[np.int64], names: tuple[str, ...]
) -> tuple[Confusion, ...]:
    """The most frequent errors of the student that are not its teacher's; of equally frequent ones the first classes'."""
    new = (student != labels) & (student != teacher)
    pairs, counts = np.unique(np.stack([labels[new], student[new]], axis=1), axis=0, return_counts=True)
    most = np.argsort(-counts, kind="stable")[:MOST_CONFUSIONS]
    return tuple(
        Confusion(label=names[label], predicted=names[predicted], samples=int(count))
        for (label, predicted), count in zip(pairs[most], counts[most], strict=True)
    )


def _mean(values: RawArray) -> float | None:
    return float(values.mean()) if len(values) else None


def _check(student: RawArray, teacher: RawArray, labels: NDArray[np.int64], names: tuple[str, ...]) -> None:
    expected = (len(labels), len(names))
    for whose, logits in (("student", student), ("teacher", teacher)):
        if logits.shape != expected:
            raise InputError(f"logits of the {whose} have shape {logits.shape}, expected (samples, classes) = {expected}")
        finite = (np.abs(logits) <= LARGEST).all(axis=1)
        if not finite.all():
            raise InputError(f"logits of the {whose} are not finite, first for sample {finite.argmin()}: it cannot be compared")
    if not len(labels) or len(names) < 2:
        raise InputError(f"found {len(labels)} samples of {len(names)} classes, expected at least one sample and two classes")
    if labels.min() < 0 or labels.max() >= len(names):
        raise InputError(f"labels run from {labels.min()} to {labels.max()}, expected 0 to {len(names) - 1}")
