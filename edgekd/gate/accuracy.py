"""Accuracy against a baseline's, on the same samples: the exact McNemar test, a drop that matters, a floor, and churn."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from edgekd.errors import InputError
from edgekd.gate.verdict import Comparison, Verdict

Correct = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class AccuracyRule:
    """When accuracy regressed: by more than chance (`alpha`, one-sided) and by at least `min_drop`; or below `floor`.

    Fractions. A drop of fewer samples than `min_drop` is never called a regression, however sure it is.
    """

    alpha: float = 0.01
    min_drop: float = 0.005
    floor: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 0.5 or not 0 <= self.min_drop < 1 or not 0 <= (self.floor or 0) <= 1:
            raise InputError("accuracy rules: alpha above 0 and below 0.5, min_drop from 0 and below 1, floor from 0 to 1")


def compare_accuracy(baseline: Correct, candidate: Correct, rule: AccuracyRule, changed: int | None = None) -> Comparison:
    """Judge which samples are answered rightly, before and now.

    Args:
        baseline, candidate: of shape (samples,), the same samples in the same order.
        changed: samples whose predicted class changed, where that is known; else those that turned right or wrong count.

    Raises:
        InputError: where there are no samples, or not as many in both.
    """
    if baseline.shape != candidate.shape or baseline.ndim != 1 or not len(baseline):
        raise InputError(f"accuracy: {baseline.shape} and {candidate.shape} answers, expected as many of each, at least 1")
    lost, won = int(np.sum(baseline & ~candidate)), int(np.sum(~baseline & candidate))
    count, now = len(candidate), float(candidate.mean())
    drop = (lost - won) / count
    p_worse = binomtest(lost, lost + won, 0.5, alternative="greater").pvalue if lost + won else 1.0
    p_better = binomtest(won, lost + won, 0.5, alternative="greater").pvalue if lost + won else 1.0
    churn = (lost + won if changed is None else changed) / count
    verdict = Verdict.PASS
    if p_worse <= rule.alpha and drop >= rule.min_drop:
        verdict = Verdict.REGRESSED
    elif p_better <= rule.alpha and -drop >= rule.min_drop:
        verdict = Verdict.IMPROVED
    text = f"accuracy {now:.4f}, {-100 * drop:+.2f} point on {count:,} samples ({lost} lost, {won} won)"
    if rule.floor is not None and now < rule.floor:
        verdict, text = Verdict.REGRESSED, f"{text}: below the floor of {rule.floor:.4f}"
    details = {"accuracy": now, "drop": drop, "lost": lost, "won": won, "samples": count, "p": p_worse, "churn": churn}
    return Comparison(metric="accuracy", verdict=verdict, text=text, details=details)
