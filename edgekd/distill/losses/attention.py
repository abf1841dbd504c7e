"""Attention transfer: where in the image both networks are active."""

import torch
from torch import Tensor
from torch.nn import functional as F

from edgekd.distill import Batch, Outputs
from edgekd.distill.losses.arithmetic import pooled, size_of, unit
from edgekd.distill.losses.base import Loss, above_zero


def attention(p: float = 2.0) -> Loss:
    """Squared difference of normalised maps of activity, mean_c |F|^p, at every pair of feature maps.

    Only mean_c |F|^p is read of a map: a teacher may give the one channel (mean_c |F|^p)^(1/p) in place of it, with the
    same `p`. The larger of two maps is averaged down to the smaller. A map of zeros is compared as zeros.

    Args:
        p: the power, 1 or above; larger powers look at the strongest places only.

    Returns:
        A loss over features (B, C', H', W'): mean over B and places, summed over the keys. Usual weight 1000.

    Raises:
        ValueError: if p is below 1: its gradient at 0 would be infinite.

    Source: Zagoruyko and Komodakis 2017, arXiv:1612.03928, equation 2; the mean over places is its authors' code's.
    """
    above_zero(p=p)
    if p < 1:
        raise ValueError(f"p must be 1 or above, not {p}")

    def formula(student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        differences = [_difference(student.features[key], teacher.features[key], p) for key in student.features]
        return torch.stack(differences).sum()

    return Loss("attention", formula, needs={"features"}, energy=p == 2)


def _difference(ours: Tensor, theirs: Tensor, p: float) -> Tensor:
    ours, theirs = (_activity(maps, p) for maps in (ours, theirs))
    ours, theirs = pooled(ours, size_of(theirs)), pooled(theirs, size_of(ours))
    return F.mse_loss(unit(ours.flatten(1)), unit(theirs.flatten(1)))


def _activity(maps: Tensor, p: float) -> Tensor:
    """mean_c |F|^p, (B, 1, H, W). A power of 2 as a product: a quarter of the time of `pow`."""
    powers = maps * maps if p == 2 else maps.abs().pow(p)
    return powers.sum(1, keepdim=True) / maps.shape[1]
