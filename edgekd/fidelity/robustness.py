"""How a student stands corrupted pictures, and whether it still answers as its teacher does."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgekd.data import RawArray, Split, normalise
from edgekd.errors import InputError, did_you_mean
from edgekd.fidelity.corruptions import CORRUPTIONS, SEVERITIES, check_pictures, corrupt
from edgekd.types import Contract

Network: TypeAlias = Callable[[NDArray[np.float32]], RawArray]
"""Normalised inputs (B, C, H, W) -> logits (B, classes)."""
SAMPLES = 500
"""An accuracy over all 75 corrupted copies of them is of 37,500 pictures; one of a single copy is good to about 0.02."""
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


def measure_robustness(
    networks: Mapping[str, Network],
    split: Split,
    contract: Contract,
    *,
    teacher: str = "teacher",
    samples: int = SAMPLES,
    seed: int = 0,
) -> Robustness:
    """Accuracy and agreement under every corruption at every severity.

    Args:
        networks: by name, one of them the teacher: networks or built artifacts.
        split: raw pictures; of more than `samples` those are taken evenly spaced, since sources often come sorted by class.
        contract: how raw values are normalised, and their maximum.
        teacher: its name in `networks`.
        samples: at most so many.
        seed: of the corruptions: the same one gives every network, now or later, the same pictures.

    Raises:
        InputError: for a missing teacher, samples that are no pictures, and logits that are not finite or of a wrong shape.

    Source: Hendrycks, Dietterich 2019, arXiv:1903.12261, section 4.1 (mCE, AlexNet as the baseline there).
    """
    if teacher not in networks:
        raise InputError(f"there is no network '{teacher}' to compare with" + did_you_mean(teacher, networks))
    if not len(split) or samples < 1:
        raise InputError(f"robustness over {min(samples, len(split))} samples: expected at least 1")
    rows = np.linspace(0, len(split) - 1, min(samples, len(split))).astype(np.int64)
    chosen = Split(inputs=split.inputs[rows], labels=split.labels[rows], ids=split.ids[rows])
    check_pictures(chosen.inputs, chosen.ids, contract.value_max)
    clean = _answers(networks, chosen.inputs, contract, "no corruption")
    conditions = [
        _under(networks, chosen, contract, teacher, name, severity, seed) for name in CORRUPTIONS for severity in SEVERITIES
    ]
    return Robustness(
        samples=len(chosen),
        seed=seed,
        teacher=teacher,
        conditions=tuple(conditions),
        networks={name: _summary(name, teacher, float(np.mean(clean[name] == chosen.labels)), conditions) for name in networks},
    )


def _under(
    networks: Mapping[str, Network], split: Split, contract: Contract, teacher: str, name: str, severity: int, seed: int
) -> Corrupted:
    pictures = corrupt(split.inputs, split.ids, name, severity, seed, contract.value_max)
    answers = _answers(networks, pictures, contract, f"{name} {severity}")
    return Corrupted(
        corruption=name,
        severity=severity,
        accuracy={key: float(np.mean(found == split.labels)) for key, found in answers.items()},
        agreement={key: float(np.mean(found == answers[teacher])) for key, found in answers.items()},
    )


def _answers(
    networks: Mapping[str, Network], pictures: RawArray, contract: Contract, condition: str
) -> dict[str, NDArray[np.int64]]:
    """Each network's top-1 (N,)."""
    found: dict[str, list[NDArray[np.int64]]] = {name: [] for name in networks}
    for start in range(0, len(pictures), BATCH):
        inputs = normalise(pictures[start : start + BATCH], contract)
        for name, network in networks.items():
            logits = np.asarray(network(inputs))
            if logits.shape != (len(inputs), len(contract.classes)) or not np.isfinite(logits).all():
                raise InputError(
                    f"network '{name}' under {condition}: expected finite logits of shape"
                    f" {(len(inputs), len(contract.classes))}, found shape {logits.shape}"
                    + ("" if np.isfinite(logits).all() else " and values that are not finite")
                )
            found[name].append(logits.argmax(axis=1))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _summary(name: str, teacher: str, clean_accuracy: float, conditions: list[Corrupted]) -> NetworkRobustness:
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
