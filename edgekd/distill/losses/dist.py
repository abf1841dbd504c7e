"""Distillation from a stronger teacher: match how probabilities correlate, not what they are."""

from torch import Tensor
from torch.nn import functional as F

from edgekd.distill import Batch, Outputs
from edgekd.distill.losses.arithmetic import pearson
from edgekd.distill.losses.base import Loss, above_zero, from_zero
from edgekd.errors import InputError


def dist(temperature: float = 4.0, beta: float = 1.0, gamma: float = 1.0) -> Loss:
    """beta · (1 − correlation over classes) + gamma · (1 − correlation over samples), of softened probabilities.

    A strong teacher's probabilities are out of a small student's reach; their linear relations are not. Labels are not
    read, so mixed samples are welcome. Correlation asks for three values: over two it is 1 or −1 and has no gradient. So
    with two classes the first term is a constant, in a batch of two the second; a batch of one has no second term. A
    constant row counts as uncorrelated (0) and gives no gradient.

    Args:
        temperature: softening of both distributions, no unit, above 0: 4 for small images (CIFAR), 1 on ImageNet.
        beta: weight of the term over classes, 0 or above.
        gamma: weight of the term over samples, 0 or above.

    Returns:
        A loss over logits (B, C), times temperature squared.

    Raises:
        ValueError: for a number outside of its range.
        InputError: when called with two classes and fewer than three samples: neither term has a gradient.

    Source: Huang et al. 2022, arXiv:2205.10536, inter-class and intra-class relations; the square of the temperature is its
        authors' code's.
    """
    above_zero(temperature=temperature)
    from_zero(beta=beta, gamma=gamma)

    def formula(student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        samples, classes = student.logits.shape
        if classes == 2 and samples < 3:
            raise InputError(f"loss 'dist' needs 3 samples or more where there are 2 classes, the batch has {samples}")
        ours, theirs = (F.softmax(outputs.logits / temperature, dim=1) for outputs in (student, teacher))
        loss = beta * (1 - pearson(ours, theirs).mean())
        if samples > 1:
            loss = loss + gamma * (1 - pearson(ours.T, theirs.T).mean())
        return temperature**2 * loss

    return Loss("dist", formula, needs={"logits"})
