"""Losses over a batch's matrix of similarities between embeddings, (B, B), which need no common dimension."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from edgekd.distill import Batch, Outputs
from edgekd.distill.losses.arithmetic import unit
from edgekd.distill.losses.base import Loss, above_zero, whole_from

PKT_EPSILON = 1e-7
"""Added to the conditional probabilities before their logarithm: that of the authors' code."""


def similarity() -> Loss:
    """Squared difference between both networks' Gram matrices, rows scaled to length 1: which samples activate alike.

    Returns:
        A loss over embeddings (B, D), B from 2: mean over all B² pairs. Usual weight 3000.

    Source: Tung and Mori 2019, arXiv:1907.09682, the similarity-preserving loss, on embeddings.
    """

    def formula(student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        ours, theirs = (unit(embedding @ embedding.T) for embedding in (student.embedding, teacher.embedding))
        return F.mse_loss(ours, theirs)

    return Loss("similarity", formula, needs={"embedding"}, smallest_batch=2)


def pkt() -> Loss:
    """Divergence between the probabilities that a sample has another for its neighbour, by cosine similarity.

    Returns:
        A loss over embeddings (B, D), B from 2: mean over all B² pairs, the diagonal included. Usual weight 30000.

    Source: Passalis and Tefas 2018, arXiv:1803.10837, with the cosine kernel; the mean over pairs is their code's.
    """

    def formula(student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        ours, theirs = _neighbours(student.embedding), _neighbours(teacher.embedding)
        return (theirs * ((theirs + PKT_EPSILON) / (ours + PKT_EPSILON)).log()).mean()

    return Loss("pkt", formula, needs={"embedding"}, smallest_batch=2)


def correlation(gamma: float = 0.4, order: int = 2) -> Loss:
    """Squared difference between both networks' kernel matrices: a Gaussian kernel of directions, as a Taylor series.

    exp(−gamma ‖x − y‖²) of unit vectors is exp(−2 gamma) Σ (2 gamma)^n / n! (x·y)^n. The matrices are (B, B) whatever the
    dimensions, so no embedding has to be projected.

    Args:
        gamma: sharpness of the kernel, above 0.
        order: highest power of the series, from 1.

    Returns:
        A loss over embeddings (B, D), B from 2: mean over all B² pairs. Usual weight 0.02, larger where it is the only one.

    Raises:
        ValueError: for a number outside of its range.

    Source: Peng et al. 2019, arXiv:1904.01802, correlation congruence by the Gaussian kernel; default numbers are its own.
    """
    above_zero(gamma=gamma)
    whole_from(1, order=order)

    def formula(student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        ours, theirs = (_kernel(embedding, gamma, order) for embedding in (student.embedding, teacher.embedding))
        return F.mse_loss(ours, theirs)

    return Loss("correlation", formula, needs={"embedding"}, smallest_batch=2)


def _cosines(embedding: Tensor) -> Tensor:
    directions = unit(embedding)
    return directions @ directions.T


def _neighbours(embedding: Tensor) -> Tensor:
    affinities = (_cosines(embedding) + 1) / 2
    return affinities / affinities.sum(1, keepdim=True)


def _kernel(embedding: Tensor, gamma: float, order: int) -> Tensor:
    cosines = _cosines(embedding)
    terms = [(2 * gamma) ** n / math.factorial(n) * cosines**n for n in range(order + 1)]
    return math.exp(-2 * gamma) * torch.stack(terms).sum(0)
