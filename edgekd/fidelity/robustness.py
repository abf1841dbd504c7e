"""How a student stands corrupted pictures, and whether it still answers as its teacher does.

The inputs under each condition and the answers of each network come apart: a teacher is asked while it is loaded, its student
and what was built of it much later, about the same pictures.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgekd.data import RawArray, Split
from edgekd.errors import InputError, did_you_mean
from edgekd.fidelity.corruptions import CORRUPTIONS, SEVERITIES, check_pictures, corrupt
from edgekd.types import Contract

Network: TypeAlias = Callable[[RawArray], RawArray]
"""Raw pictures (B, C, H, W) -> logits (B, classes): networks of several sizes each prepare them in their own way."""
Top1: TypeAlias = NDArray[np.int64]
CLEAN = ("clean", 0)
CONDITIONS = (CLEAN, *((name, severity) for name in CORRUPTIONS for severity in SEVERITIES))
"""(corruption, severity): 76, the first of them none at all."""
SAMPLES = 300
"""An accuracy over all 75 corrupted copies of them is of 22,500 pictures; one of a single copy is good to about 0.03. A small
artifact answers them, one at a time, in 1 to 4 seconds (measured 2026)."""
BATCH = 100
"""Samples given to a network at once."""


@dataclass(frozen=True, kw_only=True)
class Corrupted:
    """One corruption at one severity: each network's accuracy, and its agreement with the teacher; fractions, by network."""

    corruption: str
    severity: int
    accuracy: dict[str, float]
    agreement: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class NetworkRobustness:
    """One network over all corruptions and severities.

    `corruption_errors` has, by corruption, its errors summed over the severities relative to the teacher's; None where the
    teacher makes none. `relative_corruption_error` is their mean over the corruptions that have one (mCE with the teacher as the
    baseline: 1 is as robust as the teacher, above is worse), None where none has.
    """

    clean_accuracy: float
    mean_corruption_error: float
    mean_agreement: float
    corruption_errors: dict[str, float | None]
    relative_corruption_error: float | None


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """What each network does under each corruption and severity, and the summary by network."""

    samples: int
    seed: int
    teacher: str
    conditions: tuple[Corrupted, ...]
    networks: dict[str, NetworkRobustness]


def spaced(count: int, most: int = SAMPLES) -> NDArray[np.int64]:
    """Numbers of at most `most` of `count` samples, evenly spaced, since sources often come sorted by class."""
    return np.linspace(0, count - 1, min(most, count)).astype(np.int64)


def part_of(split: Split, rows: NDArray[np.int64]) -> Split:
    return Split(inputs=split.inputs[rows], labels=split.labels[rows], ids=split.ids[rows])


def unsuited(split: Split, contract: Contract) -> str:
    """Why the samples cannot be corrupted (no pictures, too small ones, values that are not raw); empty where they can."""
    try:
        check_pictures(split.inputs, split.ids, contract.value_max)
    except InputError as error:
        return str(error)
    return "" if len(split) else "there are no samples"


def corrupted(split: Split, seed: int, value_max: float) -> Iterator[RawArray]:
    """The samples (N, C, H, W) under each of CONDITIONS, in their order, raw as they are."""
    for name, severity in CONDITIONS:
        yield corrupt(split.inputs, split.ids, name, severity, seed, value_max) if severity else split.inputs


def answers_under_corruption(networks: Mapping[str, Network], split: Split, contract: Contract, seed: int = 0) -> dict[str, Top1]:
    """What each network takes the samples for.

    Args:
        networks: by name.
        split: raw pictures.
        contract: their classes, and the value of full brightness.
        seed: of the corruptions: the same one gives every network, now or later, the same pictures.

    Returns:
        By network: top-1 (76, N), a row for each of CONDITIONS.

    Raises:
        InputError: for samples that cannot be corrupted, and logits that are not finite or of a wrong shape.
    """
    reason = unsuited(split, contract)
    if reason:
        raise InputError(reason)
    found: dict[str, list[Top1]] = {name: [] for name in networks}
    for condition, pictures in zip(CONDITIONS, corrupted(split, seed, contract.value_max), strict=True):
        for name, network in networks.items():
            found[name].append(_top1(name, network, pictures, len(contract.classes), condition))
    return {name: np.stack(rows) for name, rows in found.items()}


def _top1(name: str, network: Network, pictures: RawArray, classes: int, condition: tuple[str, int]) -> Top1:
    answers = []
    for start in range(0, len(pictures), BATCH):
        batch = pictures[start : start + BATCH]
        logits = np.asarray(network(batch))
        if logits.shape != (len(batch), classes) or not np.isfinite(logits).all():
            raise InputError(
                f"network '{name}' under {condition[0]} {condition[1]}: expected finite logits of shape"
                f" {(len(batch), classes)}, found shape {logits.shape}"
                + ("" if np.isfinite(logits).all() else " and values that are not finite")
            )
        answers.append(logits.argmax(axis=1))
    return np.concatenate(answers)


def compare_robustness(
    answers: Mapping[str, Top1], labels: NDArray[np.int64], *, teacher: str = "teacher", seed: int = 0
) -> Robustness:
    """Accuracy and agreement with the teacher under every corruption at every severity.

    Args:
        answers: by network, one of them the teacher: top-1 (76, N) as `answers_under_corruption` gives it.
        labels: (N,).
        teacher: its name in `answers`.
        seed: of the corruptions, for the record.

    Raises:
        InputError: for a missing teacher, and answers of another shape.

    Source: Hendrycks, Dietterich 2019, arXiv:1903.12261, section 4.1 (mCE, AlexNet as the baseline there).
    """
    if teacher not in answers:
        raise InputError(f"there is no network '{teacher}' to compare with" + did_you_mean(teacher, answers))
    for name, found in answers.items():
        if found.shape != (len(CONDITIONS), len(labels)) or not len(labels):
            raise InputError(
                f"answers of '{name}' have shape {found.shape}, expected {(len(CONDITIONS), len(labels))}, N above 0"
            )
    right = {name: (found == labels).mean(axis=1) for name, found in answers.items()}
    same = {name: (found == answers[teacher]).mean(axis=1) for name, found in answers.items()}
    conditions = tuple(
        Corrupted(
            corruption=name,
            severity=severity,
            accuracy={key: float(right[key][row]) for key in answers},
            agreement={key: float(same[key][row]) for key in answers},
        )
        for row, (name, severity) in enumerate(CONDITIONS)
        if severity
    )
    return Robustness(
        samples=len(labels),
        seed=seed,
        teacher=teacher,
        conditions=conditions,
        networks={name: _summary(name, teacher, float(right[name][0]), conditions) for name in answers},
    )


def _summary(name: str, teacher: str, clean_accuracy: float, conditions: tuple[Corrupted, ...]) -> NetworkRobustness:
    errors: dict[str, float | None] = {}
    for corruption in CORRUPTIONS:
        of_it = [found for found in conditions if found.corruption == corruption]
        baseline = sum(1 - found.accuracy[teacher] for found in of_it)
        errors[corruption] = sum(1 - found.accuracy[name] for found in of_it) / baseline if baseline > 0 else None
    defined = [error for error in errors.values() if error is not None]
    return NetworkRobustness(
        clean_accuracy=clean_accuracy,
        mean_corruption_error=float(np.mean([1 - found.accuracy[name] for found in conditions])),
        mean_agreement=float(np.mean([found.agreement[name] for found in conditions])),
        corruption_errors=errors,
        relative_corruption_error=float(np.mean(defined)) if defined else None,
    )
