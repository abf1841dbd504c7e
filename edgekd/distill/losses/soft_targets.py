"""Response-based distillation: the teacher's softened class distribution as the target."""

from torch import Tensor
from torch.nn import functional as F

from edgekd.distill import Batch, Outputs
from edgekd.distill.losses.arithmetic import deviations, divergence
from edgekd.distill.losses.base import Loss, above_zero


def soft_targets(temperature: float = 4.0, standardize: bool = False) -> Loss:
    """Divergence between the softened class distributions of teacher and student.

    The factor temperature² keeps the gradient's scale when the temperature changes, whatever the loss's weight. Labels are
    not read, so mixed samples are welcome.

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
    above_zero(temperature=temperature)
    if not isinstance(standardize, bool):
        raise ValueError(f"standardize must be true or false, not {standardize!r}")

    def formula(student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        ours, theirs = student.logits, teacher.logits
        if standardize:
            ours, theirs = _standardized(ours), _standardized(theirs)
        log_q, log_p = (F.log_softmax(logits / temperature, dim=1) for logits in (ours, theirs))
        return temperature**2 * divergence(log_p, log_q).mean()

    return Loss("soft_targets", formula, needs={"logits"})


def _standardized(logits: Tensor) -> Tensor:
    """The z-score of arXiv:2403.01427, but that equal logits become 0: its 1e-7 would give them a gradient of millions."""
    return deviations(logits) * (logits.shape[1] - 1) ** 0.5
