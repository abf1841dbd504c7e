"""What a teacher's figures ask for: each rule is a function that gives one `Advice`, or None where it does not apply."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIGNIFICANCE = 0.01
"""A sound teacher meets each rule in one of a hundred runs at most."""
SMOOTHING_IMPLIED = 0.04
SMOOTHING_SPREAD = 0.45
"""Least implied smoothing and largest spread of margins of a smoothed teacher. Of small nets trained on digits (2, 4 and 10
classes) and Fashion-MNIST, the rule finds 36 of 36 with smoothing 0.1 or 0.2 after ten epochs or more (0.068 to 0.19, spread
0.13 to 0.38), 7 of 12 after five or fewer, 1 of 4 with 0.05; of 60 without it none, 8 of them with weight decay of 3 or mixup
(0.016 to 0.038, 0.29 to 0.39), others that imply 0.04 spread over 0.50 and more (measured 2026)."""
CONFIDENCE_GAP = 0.05
"""Calibration errors of uncalibrated networks are typically 0.04 to 0.10 (Guo et al. 2017, arXiv:1706.04599, section 5)."""
LARGEST_RATIO = 20
"""Parameters, teacher by student. ResNet-110 is 22 times ResNet-8 and teaches it next to nothing on CIFAR-100, where an
assistant of a size between helps (Mirzadeh et al. 2020, arXiv:1902.03393); up to 10 times, published pairs gain as a rule."""


@dataclass(frozen=True, kw_only=True)
class Advice:
    """One finding. `rule` is its stable name, `text` what was found, `next_step` what to do; `stop`: do not train on this."""

    rule: str
    text: str
    next_step: str
    stop: bool = False


@dataclass(frozen=True, kw_only=True)
class Smoothing:
    """`implied` label smoothing, and the `spread` of margins: their interquartile range by their median."""

    implied: float
    spread: float


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """Sizes of teacher and student; `lead_known` is False where the teacher is not known to be the better one."""

    teacher_params: int | None
    student_params: int | None
    accuracy_difference: float | None
    lead_known: bool

    @property
    def ratio(self) -> float | None:
        """Parameters of the teacher by those of the student."""
        return self.teacher_params / self.student_params if self.teacher_params and self.student_params else None


@dataclass(frozen=True, kw_only=True)
class Duel:
    """Samples that only one of two models is right about, and the chance of such a lead of the reference."""

    teacher_right: int
    reference_right: int
    teacher_only: int
    reference_only: int
    p_value: float


def versus_reference(teacher: NDArray[np.bool_], reference: NDArray[np.bool_]) -> Duel:
    """One-sided exact McNemar test that the reference is better, on the same samples (N,).

    Source: McNemar 1947, "Note on the sampling error of the difference between correlated proportions"; exact: a sign test.
    """
    from scipy import stats

    ours, theirs = int((teacher & ~reference).sum()), int((reference & ~teacher).sum())
    return Duel(
        teacher_right=int(teacher.sum()),
        reference_right=int(reference.sum()),
        teacher_only=ours,
        reference_only=theirs,
        p_value=float(stats.binom.sf(theirs - 1, ours + theirs, 0.5)),
    )


def worse_than_student(duel: Duel, samples: int) -> Advice | None:
    """Stop: logistic regression on the pixels, which any student beats, already beats the teacher."""
    if duel.p_value >= SIGNIFICANCE:
        return None
    return Advice(
        rule="teacher-worse-than-student",
        text=(
            f"it is right on {duel.teacher_right} of {samples} validation samples, logistic regression on "
            f"{duel.reference_right} (p {duel.p_value:.1g}): a student would learn its mistakes"
        ),
        next_step="check its weights, mean, std and the order of classes, or train the student on the labels alone",
        stop=True,
    )


def is_smoothed(smoothing: Smoothing | None) -> bool:
    """Whether margins lie where label smoothing puts them, and close together.

    Logits that were divided by a temperature to calibrate them can look the same: their margins are small, too.
    """
    return smoothing is not None and smoothing.implied >= SMOOTHING_IMPLIED and smoothing.spread <= SMOOTHING_SPREAD


def label_smoothed(smoothing: Smoothing | None) -> Advice | None:
    """A teacher trained with label smoothing has lost part of what tells wrong classes apart; high temperatures lose more.

    Source: Müller et al. 2019, arXiv:1906.02629 (what is lost); Chandrasegaran et al. 2022, arXiv:2206.14532: use such a
    teacher at a low temperature.
    """
    if smoothing is None or not is_smoothed(smoothing):
        return None
    return Advice(
        rule="label-smoothed-teacher",
        text=f"its margins are those of a network trained with label smoothing of about {smoothing.implied:.2f}",
        next_step="keep the temperature at 1, or train the teacher without smoothing",
    )


def overconfident(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> Advice | None:
    """It is surer of its answers on unseen samples than it is right, by more than 0.05 beyond chance. Both (N,)."""
    excess = confidence - right
    gap, error = float(excess.mean()), float(excess.std()) / math.sqrt(len(excess))
    if gap <= CONFIDENCE_GAP or not _beyond_chance(gap, error):
        return None
    return Advice(
        rule="overconfident-teacher",
        text=f"on validation it is {confidence.mean():.1%} sure and {right.mean():.1%} right",
        next_step="train it with more augmentation or stop earlier; until then use the temperature advised",
    )


def memorised(seen: NDArray[np.float64], unseen: NDArray[np.float64]) -> Advice | None:
    """It is surer on the samples it was trained on, (M,), than on others, (N,): there its targets are little but the label."""
    gap = float(seen.mean() - unseen.mean())
    error = math.sqrt(float(seen.var()) / len(seen) + float(unseen.var()) / len(unseen))
    if gap <= CONFIDENCE_GAP or not _beyond_chance(gap, error):
        return None
    return Advice(
        rule="memorised-teacher",
        text=f"it is {seen.mean():.1%} sure on training samples and {unseen.mean():.1%} on others: it knows them by heart",
        next_step="distil on augmented views ([data] shift, flip; [distill] views), or on samples it has not seen",
    )


def _beyond_chance(gap: float, error: float) -> bool:
    from statistics import NormalDist

    return gap > NormalDist().inv_cdf(1 - SIGNIFICANCE) * error


def capacity_gap(capacity: Capacity) -> Advice | None:
    """A student so much smaller follows a teacher in between better: one assistant for each factor of 20.

    Source: Mirzadeh et al. 2020, arXiv:1902.03393.
    """
    ratio = capacity.ratio
    if ratio is None or ratio < LARGEST_RATIO or not capacity.lead_known or not capacity.student_params:
        return None
    steps = int(math.log(ratio) / math.log(LARGEST_RATIO)) + 1
    sizes = [round(capacity.student_params * ratio ** (step / steps)) for step in range(steps - 1, 0, -1)]
    known = "" if capacity.accuracy_difference is None else f" and is {100 * capacity.accuracy_difference:.1f} points better"
    return Advice(
        rule="capacity-gap",
        text=f"it has {ratio:.0f} times the parameters of the student{known}",
        next_step=f"distil by way of assistants of about {', '.join(f'{size:,}' for size in sizes)} parameters",
    )


def temperature(value: float, share: float) -> Advice:
    """The temperature at which softened targets of the training view have the wanted entropy, or as near as allowed."""
    return Advice(
        rule="temperature",
        text=f"at temperature {value:g} its targets have {share:.0%} of the entropy of no information",
        next_step=f"set temperature = {value:g} in the losses of [distill]",
    )
