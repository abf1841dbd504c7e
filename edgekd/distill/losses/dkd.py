"""Decoupled distillation: how sure the teacher is of the label, and what it makes of the other classes, weighed apart."""

import torch
from torch import Tensor
from torch.nn import functional as F

from edgekd.distill import Batch, Outputs
from edgekd.distill.losses.arithmetic import divergence
from edgekd.distill.losses.base import Loss, above_zero, from_zero, whole_from
from edgekd.errors import InputError


def dkd(alpha: float = 1.0, beta: float = 8.0, temperature: float = 4.0, warmup_epochs: int = 20) -> Loss:
    """alpha · TCKD + beta · NCKD, which soft targets tie together by 1 − p_t: a sure teacher hides its dark knowledge there.

    TCKD is the divergence of (p_t, 1 − p_t), NCKD that of the distribution over the classes but the label. With two
    classes NCKD has a single class left and is 0: the loss is then TCKD alone.

    Args:
        alpha: weight of TCKD, 0 or above.
        beta: weight of NCKD, 0 or above; 2 to 8 is usual, 0.5 on ImageNet.
        temperature: softening of both distributions, no unit, above 0.
        warmup_epochs: the loss grows linearly to its weight in so many epochs, 0 for none. Epochs count from 0 and the
            factor is min((epoch + 1) / warmup_epochs, 1): the first epoch is not without a teacher.

    Returns:
        A loss over logits (B, C) and labels (B,): mean over B, times temperature squared.

    Raises:
        ValueError: for a number outside of its range.
        InputError: when called with labels that are no class indices (mixed samples have no one label) or too large, or with
            two classes and no weight on TCKD.

    Source: Zhao et al. 2022, arXiv:2203.08679, section 3; default numbers are its CIFAR-100 ones.
    """
    above_zero(temperature=temperature)
    from_zero(alpha=alpha, beta=beta)
    whole_from(0, warmup_epochs=warmup_epochs)

    def formula(student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        label = _one_hot(batch.labels, teacher.logits)
        if alpha == 0 and label.shape[1] == 2:
            raise InputError("loss 'dkd' with alpha 0 compares nothing where there are 2 classes: give alpha a weight")
        ours, theirs = student.logits / temperature, teacher.logits / temperature
        target = divergence(_of_label(theirs, label), _of_label(ours, label)).mean()
        others = divergence(_of_others(theirs, label), _of_others(ours, label)).mean()
        warmth = min((batch.epoch + 1) / warmup_epochs, 1.0) if warmup_epochs else 1.0
        return warmth * temperature**2 * (alpha * target + beta * others)

    return Loss("dkd", formula, needs={"logits"})


def _one_hot(labels: Tensor, logits: Tensor) -> Tensor:
    """(B, C) bool, true at each sample's label."""
    samples, classes = logits.shape
    if labels.shape != (samples,) or labels.is_floating_point():
        found = f"{'soft ones ' if labels.is_floating_point() else ''}{tuple(labels.shape)}"
        raise InputError(f"loss 'dkd' needs class indices ({samples},) as labels, not {found}: mixed samples have no one label")
    outside = (labels < 0) | (labels >= classes)
    if outside.any():
        raise InputError(f"loss 'dkd' needs labels from 0 to {classes - 1}, one of them is {int(labels[outside][0])}")
    return labels.unsqueeze(1) == torch.arange(classes, device=labels.device)


def _of_label(logits: Tensor, label: Tensor) -> Tensor:
    """Logarithms of (p_t, 1 − p_t), (B, 2): 1 − p_t is summed from the other classes, never a difference."""
    log_p = F.log_softmax(logits, dim=1)
    here = log_p.masked_fill(~label, 0).sum(1)
    return torch.stack([here, log_p.masked_fill(label, -torch.inf).logsumexp(1)], dim=1)


def _of_others(logits: Tensor, label: Tensor) -> Tensor:
    """Logarithms of the distribution over the classes but the label, (B, C); −inf at the label."""
    return F.log_softmax(logits.masked_fill(label, -torch.inf), dim=1)
