"""Hints: the student's feature maps, through a linear adapter, match the teacher's."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.distill import Batch, Outputs
from edgekd.distill.losses.arithmetic import pooled, resized, size_of
from edgekd.distill.losses.base import Loss, whole_from
from edgekd.distill.losses.weights import Weights, Widths


def hints(seed: int = 0) -> Loss:
    """Mean squared error between the teacher's feature maps and the student's, adapted.

    A 1×1 convolution for each key brings the student's channels to the teacher's; where sizes differ the student's map is
    averaged down or interpolated up. The adapters are trained with the student and left behind when it is exported:
    call the loss once before its `parameters()` go to an optimizer.

    Args:
        seed: of the adapters' initial values.

    Returns:
        A loss over features (B, C', H', W'): mean over all elements, and over the keys.

    Raises:
        ValueError: if seed is not a whole number from 0.

    Source: Romero et al. 2015, arXiv:1412.6550, equation 3, in one stage and with a linear regressor.
    """
    whole_from(0, seed=seed)

    def formula(student: Outputs, teacher: Outputs, batch: Batch, adapters: Weights) -> Tensor:
        pairs = {key: (student.features[key], teacher.features[key]) for key in student.features}
        made = adapters.of({key: (ours.shape[1], theirs.shape[1]) for key, (ours, theirs) in pairs.items()}, student.features)
        return torch.stack([_error(made[key], ours, theirs) for key, (ours, theirs) in pairs.items()]).mean()

    return Loss("hints", formula, needs={"features"}, weights=Weights("hints", seed, _build))


def _build(widths: Widths) -> dict[str, nn.Module]:
    return {key: nn.Conv2d(ours, theirs, kernel_size=1) for key, (ours, theirs) in widths.items()}


def _error(adapter: nn.Module, ours: Tensor, theirs: Tensor) -> Tensor:
    # Both steps are linear, so their order is free: the convolution runs where the map is smallest.
    adapted = adapter(pooled(ours, size_of(theirs)))
    return F.mse_loss(resized(adapted, size_of(theirs)), theirs)
