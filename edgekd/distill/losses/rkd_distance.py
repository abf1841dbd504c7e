"""Relational distillation by distances among a batch's embeddings, which need no common dimension."""

import torch
from torch import Tensor
from torch.nn import functional as F

from edgekd.distill import Batch, Outputs
from edgekd.distill.losses.base import Loss


def rkd_distance() -> Loss:
    """Smooth absolute difference between the pairwise distances, each network's in units of its mean distance.

    Samples at one point have distance 0 and give no gradient. In a batch of two the loss is 0: its one distance is 1 by
    the unit. Batches of 16 or more are advised.

    Returns:
        A loss over embeddings (B, D), B from 2: mean over all B² pairs, the diagonal included. Usual weight 25.

    Source: Park et al. 2019, arXiv:1904.05068, the distance-wise loss; the mean over pairs is its authors' code's.
    """

    def formula(student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        return F.smooth_l1_loss(_distances(student.embedding), _distances(teacher.embedding))

    return Loss("rkd_distance", formula, needs={"embedding"}, smallest_batch=2)


def _distances(embedding: Tensor) -> Tensor:
    """(B, B), in units of the mean of those above 0."""
    # By differences: through a product of matrices close points would lose their digits.
    distances = torch.cdist(embedding, embedding, compute_mode="donot_use_mm_for_euclid_dist")
    mean = distances.sum() / (distances > 0).sum().clamp(min=1)
    return distances / torch.where(mean > 0, mean, 1)
