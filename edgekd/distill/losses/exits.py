"""Self-distillation: the student's own last layers teach exits at its earlier ones."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.distill import Batch, Outputs
from edgekd.distill.losses.arithmetic import by_depth, divergence, resized, size_of
from edgekd.distill.losses.base import Loss, above_zero, from_zero, whole_from
from edgekd.distill.losses.weights import Weights, Widths
from edgekd.errors import InputError


class Exit(nn.Module):
    """From an early map to what the deepest map may be, and from there to logits."""

    def __init__(self, channels: int, deepest: int, classes: int) -> None:
        super().__init__()
        self.adapt = nn.Conv2d(channels, deepest, kernel_size=3, padding=1)
        self.classify = nn.Linear(deepest, classes)

    def forward(self, maps: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """(map (B, deepest, H, W) of `size`, logits (B, classes))."""
        adapted = self.adapt(resized(maps, size))
        return adapted, self.classify(F.relu(adapted).mean((2, 3)))


def exits(temperature: float = 3.0, alpha: float = 0.3, feature_weight: float = 0.03, seed: int = 0) -> Loss:
    """(1 − alpha) · cross-entropy + alpha · T² · divergence from the last logits + feature_weight · map error, over exits.

    No teacher is looked at: earlier layers learn from the last logits and the deepest map, which get no gradient from here.
    The smallest of the student's maps is the deepest one (of equals the last); every other gets an
    exit. Exits are trained with the student and left behind when it is exported: call the loss once before its
    `parameters()` go to an optimizer. Labels may be class indices or probabilities.

    Args:
        temperature: softening of both distributions, no unit, above 0.
        alpha: share of the last logits against the labels, 0 to 1.
        feature_weight: of the mean squared error between an exit's map and the deepest one, 0 or above.
        seed: of the exits' initial values.

    Returns:
        A loss over the student's logits (B, C) and features (B, C', H', W'): mean over B, summed over the exits.

    Raises:
        ValueError: for a number outside of its range.
        InputError: when called with a single feature map: there is nothing before the deepest.

    Source: Zhang et al. 2019, arXiv:1905.08094; default numbers are those of mmrazor's CIFAR-100 configuration of it.
    """
    above_zero(temperature=temperature)
    from_zero(alpha=alpha, feature_weight=feature_weight)
    whole_from(0, seed=seed)
    if alpha > 1:
        raise ValueError(f"alpha must be from 0 to 1, not {alpha}")

    def formula(student: Outputs, teacher: Outputs, batch: Batch, heads: Weights) -> Tensor:
        *early, last = by_depth(student.features)
        if not early:
            raise InputError("loss 'exits' needs two feature maps or more; the student shows one")
        deepest, logits = student.features[last].detach(), student.logits.detach()
        sizes = (deepest.shape[1], logits.shape[1])
        made = heads.of({key: (student.features[key].shape[1], *sizes) for key in early}, student.features)
        log_p = F.log_softmax(logits / temperature, dim=1)
        labels = batch.labels.to(logits.dtype) if batch.labels.is_floating_point() else batch.labels
        losses = []
        for key in early:
            adapted, answers = made[key](student.features[key], size_of(deepest))
            soft = temperature**2 * divergence(log_p, F.log_softmax(answers / temperature, dim=1)).mean()
            hard = F.cross_entropy(answers, labels)
            losses.append((1 - alpha) * hard + alpha * soft + feature_weight * F.mse_loss(adapted, deepest))
        return torch.stack(losses).sum()

    return Loss("exits", formula, needs={"logits", "features"}, ignores={"teacher"}, weights=Weights("exits", seed, _build))


def _build(widths: Widths) -> dict[str, nn.Module]:
    return {key: Exit(*numbers) for key, numbers in widths.items()}
