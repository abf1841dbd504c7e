"""How a student is trained: numbers only, no data and no network."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from edgekd.errors import InputError


@dataclass(frozen=True, kw_only=True)
class WeightedLoss:
    """A distillation loss by name, its weight in the sum, and the numbers that its factory takes."""

    name: str
    weight: float
    numbers: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise InputError(f"[distill] weight of loss '{self.name}' is {self.weight}, expected 0 or a number above")


@dataclass(frozen=True, kw_only=True)
class Tap:
    """A layer of the teacher and the student's layer that learns from it, by their paths in `named_modules`."""

    teacher: str
    student: str


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """How finalists are trained: the scheme's name, and the numbers that it takes."""

    name: str = "direct"
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Σ weight · distillation loss + task_weight · cross-entropy, by SGD with Nesterov momentum under a one-cycle rate.

    `average_decay` is that of the exponential moving average of the weights, which is what ships; 0 ships the last weights.
    `threads` None takes all cores: the same number gives the same weights bit by bit on a CPU.
    """

    losses: tuple[WeightedLoss, ...] = (WeightedLoss(name="soft_targets", weight=0.9, numbers={"temperature": 4.0}),)
    task_weight: float = 0.1
    epochs: int = 15
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    average_decay: float = 0.998
    views: int = 8
    threads: int | None = None
    max_minutes: float | None = None
    """Of one student's training; what it has by then is kept."""
    normalize: bool = False
    """Weights are in units of the cross-entropy's gradient; else they multiply the losses as they are."""
    taps: tuple[Tap, ...] = ()
    """Layers whose feature maps are compared; none pairs the last layers at each resolution."""
    feature_losses: Literal["pilot", "always"] = "pilot"
    """Whether losses on feature maps between unlike architectures must first win a short training on the validation split."""
    combine: str = "mean_probabilities"
    """How several teachers become one target."""
    scheme: Scheme = Scheme()
    tune_trials: int = 0
    """Short trainings that try other weights, temperatures and learning rates, the recipe's own first; 0 takes it as it is."""

    def __post_init__(self) -> None:
        whole = {"epochs": self.epochs, "batch_size": self.batch_size, "views": self.views, "threads": self.threads or 1}
        for name, value in whole.items():
            if not 1 <= value <= 100_000:
                raise InputError(f"[distill] {name} is {value}, expected a whole number from 1")
        positive = {"learning_rate": self.learning_rate, "max_minutes": self.max_minutes or 1.0}
        for name, number in positive.items():
            if not 0 < number < math.inf:
                raise InputError(f"[distill] {name} is {number}, expected a number above 0")
        for name in ("task_weight", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"[distill] {name} is {getattr(self, name)}, expected 0 or a number above")
        for name in ("momentum", "average_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"[distill] {name} is {getattr(self, name)}, expected 0 up to below 1")
        if self.tune_trials != 0 and not 2 <= self.tune_trials <= 10_000:
            raise InputError(
                f"[distill] tune_trials is {self.tune_trials}, expected 0 or 2 and more: the first is the project's own"
            )
        if self.task_weight + sum(item.weight for item in self.losses) <= 0:
            raise InputError("[distill] all weights are 0: give task_weight or a loss a weight above 0")

    def steps_per_epoch(self, samples: int) -> int:
        """The last batch, if not full, is dropped unless it is the only one: batch normalisation wants full ones."""
        return max(1, samples // self.batch_size)


WARM_UP = 0.2
"""Share of the steps over which the rate rises. Smith and Topin 2018, arXiv:1708.07120, use 0.3 to 0.45; small students
gain from a longer descent (benchmarks/LOG.md)."""


def rate(step: int, steps: int, peak: float) -> float:
    """Learning rate of a step, counted from 0: half a cosine up from peak / 25, half a cosine down to peak / 10,000."""
    rise = max(1, round(WARM_UP * steps))
    if step < rise:
        return _cosine(peak / 25, peak, step / rise)
    return _cosine(peak, peak / 1e4, (step - rise) / max(1, steps - rise))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def average_decay(step: int, steps: int, decay: float) -> float:
    """Of the weights' moving average at a step: short at first, so that it forgets the untrained network, and never
    longer than a tenth of the whole training, which may be a short one."""
    return max(0.0, min(decay, (1 + step) / (10 + step), 1 - 10 / steps))
