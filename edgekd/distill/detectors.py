"""Failures of a training that would otherwise end in a bad number: each has a name and a next step.

    not-a-number      the loss is NaN or infinite
    collapse          the student answers no better than chance at the end
    dead-kd-term      a distillation loss pulls a thousandth of what the labels pull, or less
    unequal-views     the student is about to see other pictures than its teacher answered for
    adapter-in-student  what ships answers otherwise than what was trained

Before a training, `teacher-in-train-mode` and those of teachers/suitability.py and data/leakage.py.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import StageError

COLLAPSED = 0.05
"""A student that ends below this share of the way from chance to perfection has learnt nothing, of two classes or of many."""
DEAD = 1e-3
"""Ratio of gradients below which a distillation loss does nothing: without T², and as a mean over classes, it comes to that."""
SAME = 1e-5
"""Of the largest logit: float32 sums in another order."""


def not_a_number(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise _failure("not-a-number", f"the loss became {loss} at step {step}", "lower [distill] learning_rate")


def collapse(accuracy: float, classes: int) -> None:
    chance = 1 / classes
    if accuracy < chance + COLLAPSED * (1 - chance):
        raise _failure(
            "collapse",
            f"the student collapsed: accuracy {accuracy:.3f} is chance",
            "lower [distill] learning_rate, or train longer",
        )


def dead_kd_term(ratios: Mapping[str, float]) -> None:
    """`ratios` of each distillation term's gradient to that of the labels."""
    for name, ratio in ratios.items():
        if ratio < DEAD:
            found = f"the gradient of loss '{name}' is {ratio:.1e} of that of the labels"
            raise _failure("dead-kd-term", found, "raise its weight, set [distill] normalize = true, or leave it out")


def unequal_views(ours: str, teachers: str) -> None:
    """Both are hashes of the same rows of a view, as the student and as the teacher was shown them."""
    if ours != teachers:
        raise _failure(
            "unequal-views", "the student's pictures are not those its teacher answered for", "delete the teacher cache"
        )


def adapter_in_student(alone: NDArray[np.float32], trained: NDArray[np.float32]) -> None:
    """Logits (B, C) of the student that ships, and of the same network as it was trained."""
    error = float(np.abs(alone - trained).max())
    if not error <= SAME * float(np.abs(trained).max()):
        raise _failure("adapter-in-student", f"without its adapters the student's logits differ by {error:.2g}", "report this")


def _failure(name: str, cause: str, hint: str) -> StageError:
    return StageError("distil", f"{name}: {cause}", hint)
