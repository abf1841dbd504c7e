"""Relational distillation by angles, without ever holding all B³ of them.

Written as PyTorch operations the loss costs a seventh of a small student's step: four products of (B, B, D) and a dozen
passes over (B, B, B). Here anchors go through in portions that stay in the processor's cache, the gradient is made on the way,
and the teacher's cosines come from its (B, B) Gram matrix.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from edgekd.distill import Batch, Outputs
from edgekd.distill.losses.arithmetic import unit
from edgekd.distill.losses.base import Loss

PORTION = 1 << 18
"""Cosines at a time: 1 MB of float32, which a core's second-level cache holds."""
CLOSE = 0.01
"""Of the embeddings' spread: closer points lose digits in a Gram matrix, by the square of this; they go by differences."""


def rkd_angle() -> Loss:
    """Smooth absolute difference between the cosines of the angles that all triples of samples form.

    Two samples at one point span no angle: its cosine counts as 0 and gives no gradient. Batches of 16 or more are advised;
    time grows with B³ · D, memory with B² · D.

    Returns:
        A loss over embeddings (B, D), B from 3: mean over all B³ triples, the degenerate ones included. Usual weight 50.

    Source: Park et al. 2019, arXiv:1904.05068, equations 8 and 9; the mean over triples is its authors' code's.
    """

    def formula(student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        found: Tensor = _AngleLoss.apply(student.embedding, teacher.embedding)
        return found

    return Loss("rkd_angle", formula, needs={"embedding"}, smallest_batch=3)


class _AngleLoss(torch.autograd.Function):
    """(1/B³) Σ smooth_l1(c - t), c = E_i E_iᵀ for the directions E_i (B, D) from anchor i, t the teacher's cosines."""

    @staticmethod
    def forward(context: Any, ours: Tensor, theirs: Tensor) -> Tensor:
        samples, step = len(ours), max(1, PORTION // len(ours) ** 2)
        cosines = _teacher_cosines(theirs)
        total, gradient = ours.new_zeros(()), torch.zeros_like(ours)
        for start in range(0, samples, step):
            anchors = slice(start, start + step)
            vectors = ours.unsqueeze(0) - ours[anchors].unsqueeze(1)
            directions = unit(vectors)
            difference = torch.baddbmm(cosines(anchors), directions, directions.transpose(1, 2), beta=-1)
            slope = difference.clamp(-1, 1)
            # smooth_l1(d) = r d - r²/2 with r = clamp(d, -1, 1), which is its derivative too.
            total += slope.flatten() @ difference.flatten() - slope.flatten() @ slope.flatten() / 2
            # c is symmetric in its two directions, and so is the slope: both halves of the product rule are this.
            pulled = 2 * torch.bmm(slope, directions)
            along = (pulled * directions).sum(-1, keepdim=True)
            moved = (pulled - along * directions) * _inverse_length(vectors)
            gradient += moved.sum(0)
            gradient[anchors] -= moved.sum(1)
        context.save_for_backward(gradient / samples**3)
        return total / samples**3

    @staticmethod
    @once_differentiable
    def backward(context: Any, outer: Tensor) -> tuple[Tensor, None]:
        (gradient,) = context.saved_tensors
        return outer * gradient, None


def _inverse_length(vectors: Tensor) -> Tensor:
    """1 / length along the last dimension, 0 where `unit` gives no direction."""
    square = vectors.square().sum(-1, keepdim=True)
    return torch.where(unit(vectors).any(-1, keepdim=True), square.rsqrt(), 0)


def _teacher_cosines(embedding: Tensor) -> Any:
    """A function from a slice of anchors i to the cosines (I, B, B) between j and k seen from i."""
    centred = (embedding - embedding.mean(0)).double()
    gram = centred @ centred.T
    diagonal = gram.diagonal()
    square = (diagonal.unsqueeze(0) + diagonal.unsqueeze(1) - 2 * gram).fill_diagonal_(0)
    apart = square[~torch.eye(len(square), dtype=torch.bool, device=square.device)]
    if bool((apart < CLOSE**2 * diagonal.mean()).any()):
        return lambda anchors: _by_differences(embedding, anchors)
    # Seen from i: (G_jk - G_ij - G_ik + G_ii) / (d_ij d_ik), the middle three as a product of two columns with two rows.
    inverse = torch.where(square > 0, square, 1).rsqrt().mul(square > 0).to(embedding.dtype)
    one = torch.ones_like(embedding[:, :1])
    gram, halves = gram.to(embedding.dtype), (diagonal.unsqueeze(1) / 2 - gram).to(embedding.dtype)

    def by_gram(anchors: slice) -> Tensor:
        half = halves[anchors].unsqueeze(2)
        ones = one.expand(len(half), -1, 1)
        found = torch.baddbmm(
            gram.expand(len(half), -1, -1), torch.cat([half, ones], 2), torch.cat([ones, half], 2).transpose(1, 2)
        )
        return found.mul_(inverse[anchors].unsqueeze(2)).mul_(inverse[anchors].unsqueeze(1))

    return by_gram


def _by_differences(embedding: Tensor, anchors: slice) -> Tensor:
    directions = unit(embedding.unsqueeze(0) - embedding[anchors].unsqueeze(1))
    return directions @ directions.transpose(1, 2)
