"""The shape that all losses have: what they need of both networks, and how they refuse what lacks it."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor, nn

from edgekd.distill import Batch, Outputs
from edgekd.errors import InputError

Formula: TypeAlias = Callable[..., Tensor]
"""(student, teacher, batch) -> scalar, with the loss's weights as a fourth argument where it has some."""

NAMES = {"logits": "logits", "embedding": "an embedding", "features": "feature maps"}


class Loss(nn.Module):
    """A distillation loss: (student, teacher, batch) -> scalar.

    What it needs is checked at every call; no gradient reaches the teacher; the arithmetic is done in float32 or above,
    under autocast too, because the divergences underflow in half precision.

    Args:
        name: as the user spells it; every refusal starts with it.
        formula: the loss itself, of checked and converted outputs.
        needs: which of `logits`, `embedding`, `features` it reads, of the student and of the teacher.
        ignores: `{"teacher"}` where it reads the student alone; whatever stands for the teacher is then not looked at.
        smallest_batch: samples that it compares at least.
        weights: its own parameters, made at its first call (`weights.py`). Call such a loss once before its
            `parameters()` go to an optimizer, or before `load_state_dict`.
    """

    def __init__(
        self,
        name: str,
        formula: Formula,
        needs: Iterable[str],
        ignores: Iterable[str] = (),
        smallest_batch: int = 1,
        weights: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.name, self.formula, self.weights = name, formula, weights
        self.needs, self.ignores, self.smallest_batch = frozenset(needs), frozenset(ignores), smallest_batch

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """The loss, a scalar of float32 or float64.

        Raises:
            InputError: where an output that it needs is missing, does not pair with the other network's, or has another form.
        """
        student = self._ready(student, "student", student.logits.dtype)
        if "teacher" not in self.ignores:
            teacher = self._ready(teacher, "teacher", student.logits.dtype)
            self._check_pairs(student, teacher)
        samples = len(student.logits)
        if samples < self.smallest_batch:
            raise InputError(f"loss '{self.name}' compares {self.smallest_batch} samples or more, the batch has {samples}")
        with torch.autocast(student.logits.device.type, enabled=False):
            if self.weights is None:
                return self.formula(student, teacher, batch)
            # Handed over, not enclosed: a deep copy of the loss must compute with its own.
            return self.formula(student, teacher, batch, self.weights)

    def extra_repr(self) -> str:
        return f"{self.name}, needs {', '.join(sorted(self.needs))}"

    def _ready(self, outputs: Outputs, who: str, dtype: torch.dtype) -> Outputs:
        """What is needed of `outputs`, in `dtype` or float32 if that is wider; detached where it is the teacher's."""
        dtype = torch.promote_types(dtype, torch.float32)

        def convert(tensor: Tensor) -> Tensor:
            return (tensor.detach() if who == "teacher" else tensor).to(dtype)

        ready = replace(outputs, logits=convert(outputs.logits))
        if "logits" in self.needs:
            self._check_form(ready.logits, f"{who}'s logits", "(B, classes), 2 classes or more", 2)
        if "embedding" in self.needs:
            if outputs.embedding is None:
                raise self._lacks("embedding", who)
            ready = replace(ready, embedding=convert(outputs.embedding))
            self._check_form(ready.embedding, f"{who}'s embedding", "(B, D)", 2)
        if "features" in self.needs:
            if not outputs.features:
                raise self._lacks("features", who)
            ready = replace(ready, features={key: convert(maps) for key, maps in outputs.features.items()})
            for key, maps in ready.features.items():
                self._check_form(maps, f"{who}'s '{key}'", "(B, C, H, W)", 4)
        return ready

    def _lacks(self, what: str, who: str) -> InputError:
        return InputError(f"loss '{self.name}' needs {NAMES[what]}; the {who} shows none")

    def _check_form(self, tensor: Tensor, what: str, form: str, dimensions: int) -> None:
        small = "classes" in form and tensor.shape[-1:] == (1,)
        if tensor.ndim != dimensions or small:
            raise InputError(f"loss '{self.name}' needs {form}; the {what} has shape {tuple(tensor.shape)}")

    def _check_pairs(self, student: Outputs, teacher: Outputs) -> None:
        if "logits" in self.needs and student.logits.shape != teacher.logits.shape:
            shapes = f"{tuple(student.logits.shape)}, the teacher's {tuple(teacher.logits.shape)}"
            raise InputError(f"loss '{self.name}' needs logits of one shape; the student's are {shapes}")
        if "features" in self.needs and student.features.keys() != teacher.features.keys():
            ours, theirs = ", ".join(student.features), ", ".join(teacher.features)
            raise InputError(f"loss '{self.name}' pairs feature maps by key; the student has {ours}, the teacher {theirs}")
        pairs = [(student.features[key], teacher.features[key]) for key in student.features if "features" in self.needs]
        if "embedding" in self.needs:
            pairs.append((student.embedding, teacher.embedding))
        for ours, theirs in pairs:
            if len(ours) != len(theirs):
                raise InputError(f"loss '{self.name}' compares the same samples; student {len(ours)}, teacher {len(theirs)}")


def above_zero(**numbers: float) -> None:
    """Raise ValueError with the name of the first that is not a finite number above 0."""
    for name, number in numbers.items():
        if not (_is_number(number) and 0 < number < math.inf):
            raise ValueError(f"{name} must be a number above 0, not {number!r}")


def from_zero(**numbers: float) -> None:
    """Raise ValueError with the name of the first that is not a finite number, 0 or above."""
    for name, number in numbers.items():
        if not (_is_number(number) and 0 <= number < math.inf):
            raise ValueError(f"{name} must be 0 or a number above, not {number!r}")


def whole_from(least: int, **numbers: int) -> None:
    """Raise ValueError with the name of the first that is not a whole number from `least`."""
    for name, number in numbers.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < least:
            raise ValueError(f"{name} must be a whole number from {least}, not {number!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
