"""Response-based distillation: the teacher's softened class distribution as the target."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from edgekd.distill import Batch, Outputs


def soft_targets(temperature: float = 4.0, standardize: bool = False) -> Callable[[Outputs, Outputs, Batch], Tensor]:
    """Divergence between the softened class distributions of teacher and student.

    The factor temperature² keeps the gradient's scale when the temperature changes, whatever the loss's weight.

    Args:
        temperature: softening of both distributions, no unit, above 0. 3 to 20 is usual.
        standardize: z-score each sample's logits first, of both networks (unbiased deviation): the student then matches
            the relations among classes and is free in scale. Sun et al. 2024, arXiv:2403.01427; usual with temperature 2.

    Returns:
        A loss over logits of shape (B, C): sum over C, mean over B, times temperature squared.

    Raises:
        ValueError: if temperature is not above 0.

    Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531, section 2.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, not {temperature}")

    def loss(student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        ours, theirs = student.logits, teacher.logits.detach()
        if standardize:
            ours, theirs = _standardized(ours), _standardized(theirs)
        log_p = F.log_softmax(ours / temperature, dim=1)
        log_q = F.log_softmax(theirs / temperature, dim=1)
        return temperature**2 * F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)

    return loss


def _standardized(logits: Tensor) -> Tensor:
    deviation, mean = logits.std(dim=1, keepdim=True), logits.mean(dim=1, keepdim=True)
    return (logits - mean) / (deviation + 1e-7)
