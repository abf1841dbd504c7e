"""How well a teacher is suited to distillation, in seconds, from answers that its cache holds: figures, and advice as values.

`assess` needs arrays and numbers only. Nothing here runs the teacher.
"""

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import InputError
from edgekd.teachers import advice as rules
from edgekd.teachers.advice import Advice

Floats = NDArray[np.float64]

ENTROPY_SHARE = 0.5
"""Of log C, what softened targets should have: half way from a hard label to no information. Temperature 4, the default of
most recipes, gives digits and Fashion-MNIST teachers 0.37 to 0.68 (measured 2026)."""
TEMPERATURES = (1.0, 10.0)
"""Below 1 targets are sharpened, not softened; above 8 all gave similar students (Hinton et al. 2015, section 3)."""
ROWS = 2000
"""Samples that the temperature is found on: the mean entropy is then known to about a hundredth of log C."""
FEWEST_RIGHT = 20
"""Right answers below which the spread of margins is not known."""


@dataclass(frozen=True, kw_only=True)
class Suitability:
    """What a teacher's answers say of it; shares are 0 to 1, None is for what is not known. All of it fits JSON."""

    samples: int
    classes: int
    accuracy: float
    accuracy_low: float
    """Wilson interval at 95 %."""
    accuracy_high: float
    chance: float
    """Accuracy of always naming the most frequent class."""
    train_accuracy: float
    """On the view of the training split."""
    entropy_nats: float
    """Mean over samples, of the softmax at temperature 1."""
    entropy_share: float
    """The same by log C."""
    ece: float
    """Expected calibration error."""
    top2_margin: float
    """Median difference between the two largest logits."""
    confidence: float
    """Mean largest probability."""
    train_confidence: float
    implied_smoothing: float | None
    """Label smoothing under which the median margin of right answers would be the best one."""
    margin_spread: float | None
    """Interquartile range of those margins by their median."""
    temperature: float
    """Recommended for soft targets, no unit."""
    params_ratio: float | None
    """Parameters of the teacher by those of the student."""
    accuracy_difference: float | None
    """Of the teacher to the student."""
    reference_accuracy: float
    """Of multinomial logistic regression, on the same samples."""
    worse_than_reference_p: float
    """One-sided exact McNemar test: chance of such a lead of the reference over a teacher that is no worse."""
    advice: tuple[Advice, ...]

    def check(self, name: str) -> None:
        """Raise InputError with the first advice that stops the run, if there is one. `name` is the teacher's."""
        for item in self.advice:
            if item.stop:
                raise InputError(f"{item.rule}: teacher {name}: {item.text}; {item.next_step}")


def assess(
    *,
    logits: NDArray[np.float32],
    labels: NDArray[np.int64],
    train_logits: NDArray[np.float32],
    train_labels: NDArray[np.int64],
    reference_right: NDArray[np.bool_],
    teacher_params: int | None = None,
    student_params: int | None = None,
    student_accuracy: float | None = None,
) -> Suitability:
    """Figures and advice; raises nothing for an unsuited teacher: `Suitability.check` does.

    Args:
        logits: the teacher's, on the validation split, (N, C).
        labels: of the validation split, (N,).
        train_logits: the teacher's, on one view of the training split, (M, C).
        train_labels: of the training split, (M,).
        reference_right: whether a reference that any student beats is right, (N,): see `reference.linear_reference`.
        teacher_params: learnable parameters; None where the format does not tell.
        student_params: learnable parameters of the student; None where there is no student yet.
        student_accuracy: validation accuracy of the student without a teacher, 0 to 1; None where it was not trained.
    """
    from scipy import stats

    right = logits.argmax(axis=1) == labels
    interval = stats.binomtest(int(right.sum()), len(right)).proportion_ci(0.95, method="wilson")
    smoothing = smoothing_signature(logits, labels)
    capacity = rules.Capacity(
        teacher_params=teacher_params,
        student_params=student_params,
        accuracy_difference=None if student_accuracy is None else float(right.mean()) - student_accuracy,
        lead_known=student_accuracy is None or student_accuracy < interval.low,
    )
    temperature = TEMPERATURES[0] if rules.is_smoothed(smoothing) else temperature_for(train_logits, ENTROPY_SHARE)
    softness = float(_entropy(_softened(train_logits, temperature)).mean() / np.log(logits.shape[1]))
    seen, unseen = _softened(train_logits).max(axis=1), _softened(logits).max(axis=1)
    reference = rules.versus_reference(right, reference_right)
    found = (
        rules.worse_than_student(reference, len(right)),
        rules.label_smoothed(smoothing),
        rules.overconfident(unseen, right),
        rules.memorised(seen, unseen),
        rules.capacity_gap(capacity),
        rules.temperature(temperature, softness),
    )
    return Suitability(
        **_figures(logits, labels),
        accuracy_low=float(interval.low),
        accuracy_high=float(interval.high),
        train_accuracy=float((train_logits.argmax(axis=1) == train_labels).mean()),
        train_confidence=float(seen.mean()),
        implied_smoothing=smoothing.implied if smoothing else None,
        margin_spread=smoothing.spread if smoothing else None,
        temperature=temperature,
        params_ratio=capacity.ratio,
        accuracy_difference=capacity.accuracy_difference,
        reference_accuracy=float(reference_right.mean()),
        worse_than_reference_p=reference.p_value,
        advice=tuple(item for item in found if item),
    )


class _Figures(TypedDict):
    samples: int
    classes: int
    accuracy: float
    chance: float
    entropy_nats: float
    entropy_share: float
    ece: float
    top2_margin: float
    confidence: float


def _figures(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> _Figures:
    """What the answers to the validation split say by themselves."""
    from edgekd.fidelity.measures import compare

    samples, classes = logits.shape
    probabilities = _softened(logits)
    nats = float(_entropy(probabilities).mean())
    scores = compare(logits, logits, labels, tuple(map(str, range(classes)))).teacher
    return _Figures(
        samples=samples,
        classes=classes,
        accuracy=scores.accuracy,
        chance=float(np.bincount(labels).max() / samples),
        entropy_nats=nats,
        entropy_share=nats / float(np.log(classes)),
        ece=scores.ece,
        top2_margin=float(np.median(np.diff(np.partition(logits, (-2, -1), axis=1)[:, -2:]))),
        confidence=float(probabilities.max(axis=1).mean()),
    )


def _softened(logits: NDArray[np.float32], temperature: float = 1.0) -> Floats:
    """(N, C) softmax of logits / temperature, float64."""
    from edgekd.fidelity.measures import log_softmax

    probabilities: Floats = np.exp(log_softmax(logits.astype(np.float64) / temperature))
    return probabilities


def _entropy(probabilities: Floats) -> Floats:
    """(N,) nats."""
    from scipy import special

    nats: Floats = special.entr(probabilities).sum(axis=1)
    return nats


def temperature_for(logits: NDArray[np.float32], share: float) -> float:
    """Temperature from 1 to 10, to a tenth, at which the mean entropy of softmax(logits / T) is `share` of log C.

    The entropy of each sample grows with T, at the rate of the variance of its logits under softmax(logits / T), by T³.
    """
    from scipy import optimize

    part = logits[:: max(1, len(logits) // ROWS)]
    wanted = share * np.log(part.shape[1])

    def missing(temperature: float) -> float:
        return float(_entropy(_softened(part, temperature)).mean()) - wanted

    low, high = TEMPERATURES
    if missing(low) >= 0:
        return low
    if missing(high) <= 0:
        return high
    return round(float(optimize.brentq(missing, low, high, xtol=1e-2)), 1)


def smoothing_signature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> rules.Smoothing | None:
    """What label smoothing leaves in the margins z_y - z_k of right answers over all wrong classes k.

    Under smoothing ε the cross-entropy is least where each of them is log((1 - ε + ε/C) / (ε/C)): they crowd around it.
    Solved for ε, with the median margin m: ε = C / (C - 1 + e^m).

    Args:
        logits: (N, C).
        labels: (N,).

    Returns:
        None where there are too few right answers.

    Source: Müller, Kornblith, Hinton 2019, arXiv:1906.02629, section 2: activations of the right class end up equally far
    from all templates of wrong ones.
    """
    rows = np.flatnonzero(logits.argmax(axis=1) == labels)
    if len(rows) < FEWEST_RIGHT:
        return None
    scores, classes = logits[rows].astype(np.float64), logits.shape[1]
    wrong = np.arange(classes) != labels[rows, None]
    own = scores[~wrong]
    margins = (own[:, None] - scores[wrong].reshape(len(rows), classes - 1)).ravel()
    quarter, median, three_quarters = np.percentile(margins, (25, 50, 75))
    if median <= 0:
        return None
    implied = classes / (classes - 1 + np.exp(min(median, 700.0)))
    return rules.Smoothing(implied=float(implied), spread=float((three_quarters - quarter) / median))
