"""The shape that all losses have: what they need of both networks, and how they refuse what lacks it."""

import functools
import math
from collections.abc import Callable, Iterable
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
        energy: whether sqrt(mean_c F²) (B, 1, H, W) says all that it reads of a teacher's feature map F: then that is cached.
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
        energy: bool = False,
        weights: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.name, self.formula, self.weights, self.energy = name, formula, weights, energy
        self.needs, self.ignores, self.smallest_batch = frozenset(needs), frozenset(ignores), smallest_batch

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """The loss, a scalar of float32 or float64.

        Raises:
            InputError: where an output that it needs is missing, does not pair with the other network's, or has another form.
        """
        student = self._needed(student, "student")
        dtype = functools.reduce(torch.promote_types, (t.dtype for t in _tensors(student)), torch.float32)
        student = _map(student, lambda tensor: tensor.to(dtype))
        if "teacher" not in self.ignores:
            teacher = _map(self._needed(teacher, "teacher"), lambda tensor: tensor.detach().to(dtype))
            self._check_pairs(student, teacher)
        first = _tensors(student)[0]
        if len(first) < self.smallest_batch:
            raise InputError(f"loss '{self.name}' compares {self.smallest_batch} samples or more, the batch has {len(first)}")
        with torch.autocast(first.device.type, enabled=False):
            if self.weights is None:
                return self.formula(student, teacher, batch)
            # Handed over, not enclosed: a deep copy of the loss must compute with its own.
            return self.formula(student, teacher, batch, self.weights)

    def extra_repr(self) -> str:
        return f"{self.name}, needs {', '.join(sorted(self.needs))}"

    def _needed(self, outputs: Outputs, who: str) -> Outputs:
        """What is needed of `outputs` and nothing else; each of the form that it must have."""
        found = Outputs(
            logits=outputs.logits if "logits" in self.needs else None,
            embedding=outputs.embedding if "embedding" in self.needs else None,
            features=outputs.features if "features" in self.needs else {},
        )
        for need in sorted(self.needs):
            if getattr(found, need) is None or (need == "features" and not found.features):
                raise InputError(f"loss '{self.name}' needs {NAMES[need]}; the {who} shows none")
        if "logits" in self.needs:
            self._check_form(found.logits, f"{who}'s logits", "(B, classes), 2 classes or more", 2)
        if "embedding" in self.needs:
            self._check_form(found.embedding, f"{who}'s embedding", "(B, D)", 2)
        for key, maps in found.features.items():
            self._check_form(maps, f"{who}'s '{key}'", "(B, C, H, W)", 4)
        return found

    def _check_form(self, tensor: Tensor, what: str, form: str, dimensions: int) -> None:
        small = "classes" in form and tensor.shape[-1:] == (1,)
        if tensor.ndim != dimensions or small:
            raise InputError(f"loss '{self.name}' needs {form}; the {what} has shape {tuple(tensor.shape)}")

    def _check_pairs(self, student: Outputs, teacher: Outputs) -> None:
        if "logits" in self.needs and student.logits.shape != teacher.logits.shape:
            shapes = f"{tuple(student.logits.shape)}, the teacher's {tuple(teacher.logits.shape)}"
            raise InputError(f"loss '{self.name}' needs logits of one shape; the student's are {shapes}")
        if student.features.keys() != teacher.features.keys():
            ours, theirs = ", ".join(student.features), ", ".join(teacher.features)
            raise InputError(f"loss '{self.name}' pairs feature maps by key; the student has {ours}, the teacher {theirs}")
        sizes = {len(tensor) for outputs in (student, teacher) for tensor in _tensors(outputs)}
        if len(sizes) > 1:
            raise InputError(f"loss '{self.name}' compares the same samples; there are {' and '.join(map(str, sorted(sizes)))}")


def _tensors(outputs: Outputs) -> list[Tensor]:
    found = [outputs.logits, outputs.embedding, *outputs.features.values()]
    return [tensor for tensor in found if tensor is not None]


def _map(outputs: Outputs, change: Callable[[Tensor], Tensor]) -> Outputs:
    logits, embedding = (None if tensor is None else change(tensor) for tensor in (outputs.logits, outputs.embedding))
    return Outputs(logits=logits, embedding=embedding, features={k: change(v) for k, v in outputs.features.items()})


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
