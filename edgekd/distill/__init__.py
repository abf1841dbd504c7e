"""Distillation: what losses are given, and which there are.

from edgekd import loss, Outputs, Batch
criterion = loss("soft_targets", temperature=4.0)
value = criterion(Outputs(logits=student), Outputs(logits=teacher), Batch(inputs=x, labels=y))
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgekd.errors import InputError, did_you_mean

LOSSES = {
    "soft_targets": "edgekd.distill.losses.soft_targets:soft_targets",
    "dkd": "edgekd.distill.losses.dkd:dkd",
    "dist": "edgekd.distill.losses.dist:dist",
    "attention": "edgekd.distill.losses.attention:attention",
    "hints": "edgekd.distill.losses.hints:hints",
    "review": "edgekd.distill.losses.review:review",
    "rkd_distance": "edgekd.distill.losses.rkd_distance:rkd_distance",
    "rkd_angle": "edgekd.distill.losses.rkd_angle:rkd_angle",
    "similarity": "edgekd.distill.losses.similarity:similarity",
    "pkt": "edgekd.distill.losses.similarity:pkt",
    "correlation": "edgekd.distill.losses.similarity:correlation",
    "exits": "edgekd.distill.losses.exits:exits",
}


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What a network says of a batch: `logits` (B, C), `embedding` (B, D), `features` by key, each (B, C', H', W')."""

    logits: Any
    embedding: Any = None
    features: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """`inputs` (B, …), `labels` (B,) int64, and the epoch, counted from 0, for losses that warm up."""

    inputs: Any
    labels: Any
    epoch: int = 0


def loss(name: str, **numbers: Any) -> Callable[[Outputs, Outputs, Batch], Any]:
    """A distillation loss by its name, a callable (student, teacher, batch) -> scalar tensor.

    Raises:
        InputError: for a name that is not known, or a number that the loss does not take.
    """
    from edgekd.plugins import load_attribute

    if name not in LOSSES and ":" not in name:
        raise InputError(f"loss '{name}' is not known" + did_you_mean(name, LOSSES))
    factory = load_attribute(LOSSES.get(name, name), None)
    try:
        made: Callable[[Outputs, Outputs, Batch], Any] = factory(**numbers)
    except (TypeError, ValueError) as error:
        raise InputError(f"loss '{name}': {error}") from error
    return made
