"""Arithmetic that several losses share, with gradients that stay finite where a formula's own do not exist."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

SHORTEST = 1e-12
"""Vectors shorter than this have no direction. RKD's own epsilon; its cube, which the gradient divides by, fits float32."""
ROUNDING = 8
"""Deviations below this many machine epsilons of a row's length are rounding: the row is constant."""


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p ‖ q) in nats of each row (B,), from logarithms (B, C); where p is 0 nothing is added, whatever q is."""
    p = log_p.exp()
    return torch.where(p > 0, p * (log_p - log_q), 0).sum(1)


def unit(vectors: Tensor, shortest: Tensor | float = SHORTEST) -> Tensor:
    """Vectors along the last dimension scaled to length 1; those not above `shortest` become 0, and give no gradient."""
    square = vectors.square().sum(-1, keepdim=True)
    longer = square > (shortest**2 if isinstance(shortest, float) else shortest.square())
    # The inner `where` keeps the unselected branch's gradient finite: infinity times 0 would be NaN.
    return vectors * torch.where(longer, torch.where(longer, square, 1).rsqrt(), 0)


def pearson(a: Tensor, b: Tensor) -> Tensor:
    """Correlation of each row of `a` with the same row of `b`, both (R, N): (R,). 0 where one of them is constant."""
    return (deviations(a) * deviations(b)).sum(1)


def deviations(rows: Tensor) -> Tensor:
    """Each row (R, N) less its mean, scaled to length 1; a row that is constant but for rounding becomes 0, without gradient."""
    length = rows.detach().norm(dim=1, keepdim=True)
    shortest = (ROUNDING * torch.finfo(rows.dtype).eps * length).clamp_min(SHORTEST)
    return unit(rows - rows.mean(1, keepdim=True), shortest)


def pooled(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, C, H, W) averaged down to `size` (H, W) where they are larger; never enlarged."""
    least = (min(maps.shape[2], size[0]), min(maps.shape[3], size[1]))
    return maps if maps.shape[2:] == least else F.adaptive_avg_pool2d(maps, least)


def resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, C, H, W) at `size` (H, W): averaged where they are larger, interpolated where they are smaller."""
    maps = pooled(maps, size)
    return maps if maps.shape[2:] == size else F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def size_of(maps: Tensor) -> tuple[int, int]:
    """(H, W)."""
    return maps.shape[2], maps.shape[3]


def by_depth(features: Mapping[str, Tensor]) -> list[str]:
    """Keys from the largest map to the smallest, as in a network from its input on; equals in the order that they have."""
    return sorted(features, key=lambda key: -features[key].shape[2] * features[key].shape[3])
