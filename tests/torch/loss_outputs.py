"""Outputs of two unlike networks of the same samples, for the tests of losses."""

from typing import Any

import torch
from torch import Tensor

from edgekd import Batch, Outputs, loss

torch.set_num_threads(1)
SAMPLES, CLASSES = 6, 5
WITH_WEIGHTS = ("hints", "review", "exits")


def exact(rows: Any) -> Tensor:
    """A leaf of float64."""
    return torch.tensor(rows, dtype=torch.float64, requires_grad=True)


def network(seed: int, width: int = 1, samples: int = SAMPLES, classes: int = CLASSES, dtype: Any = torch.float64) -> Outputs:
    """Random answers: embedding (B, 7·width), maps `early` (B, 3·width, 8, 8) and `block.2` (B, 4·width, 3+width, 4)."""
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(samples, *shape, generator=rng, dtype=torch.float64).to(dtype).requires_grad_()

    features = {"early": draw(3 * width, 8, 8), "block.2": draw(4 * width, 3 + width, 4)}
    return Outputs(logits=draw(classes), embedding=draw(7 * width), features=features)


def tensors(outputs: Outputs) -> list[Tensor]:
    found = [outputs.logits, outputs.embedding, *outputs.features.values()]
    return [tensor for tensor in found if tensor is not None]


def mapped(outputs: Outputs, change: Any) -> Outputs:
    """The same answers with `change` applied to each tensor."""
    embedding = None if outputs.embedding is None else change(outputs.embedding)
    return Outputs(
        logits=change(outputs.logits), embedding=embedding, features={k: change(v) for k, v in outputs.features.items()}
    )


def batch_of(samples: int = SAMPLES, epoch: int = 100, classes: int = CLASSES) -> Batch:
    return Batch(inputs=torch.zeros(samples, 1), labels=torch.arange(samples) % classes, epoch=epoch)


def value(name: str, student: Outputs, teacher: Outputs, batch: Batch | None = None, **numbers: Any) -> Tensor:
    found: Tensor = loss(name, **numbers)(student, teacher, batch or batch_of(len(student.logits)))
    return found
