"""Does distillation help? The gain in test accuracy over the same student trained alike without it, with its interval.

Two things make a gain uncertain: the seeds (three to ten) and the test samples (thousands). Their effects are crossed:
sample n of seed s differs between the two variants by x_sn = gain + a_s + b_n + e_sn, with x_sn in {-1, 0, 1}. Neither of
the usual intervals covers a gain of zero 95 times in 100. A t-interval over the seeds leaves b_n out: it is about these test
samples only. A bootstrap that resamples both has too little spread between seeds, by (S - 1) / S and for want of a t quantile,
and counts e_sn three times (Owen 2007, arXiv:0712.1111).

So here the samples are resampled, their spread less the part that is e_sn, and the seeds, too few to be resampled, are drawn
from a normal distribution whose variance is itself drawn: s² (S - 1) / χ²(S - 1), which gives Student's t where the seeds
dominate (Weerahandi 1993, generalized confidence intervals), and never less than what e_sn alone makes of N samples.
`tests/null/test_comparison.py` simulates how often a gain of zero is then called one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import InputError

FEWEST_SEEDS = 3
"""Two leave one degree of freedom: their t quantile is 12.7, and no real gain shows."""
RESAMPLES = 20_000
"""The interval's ends then move by a hundredth of its width from one random seed to another (deviation, measured, S = 3)."""


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What a variant gains over the baseline. All `_points` are percentage points of accuracy.

    `seed_spread_points` is the standard deviation over seeds of the gain. `t_interval_points` is the second opinion: of these
    test samples, not of others like them, so it is narrower, and no verdict rests on it. `verdict` is `helps`, `hurts`, or
    `no gain` where the interval covers 0: then the seeds and samples at hand show none, be there one or not.
    """

    seeds: int
    samples: int
    baseline_accuracy: float
    accuracy: float
    gain_points: float
    interval_points: tuple[float, float]
    t_interval_points: tuple[float, float]
    seed_gains_points: tuple[float, ...]
    seed_spread_points: float
    confidence: float
    verdict: str


@dataclass(frozen=True, kw_only=True)
class ComparisonRow:
    """A line of `comparison_table`: `gain` is None for the baseline itself, `relative_cost` is of an epoch, baseline 1."""

    name: str
    accuracy: float
    gain: Gain | None = None
    relative_cost: float | None = None


def compare(baseline: Any, variant: Any, *, name: str = "distilled", confidence: float = 0.95, seed: int = 0) -> Gain:
    """The gain of `variant` over `baseline`, and whether it is one.

    Args:
        baseline: (S, N) bool, S sequences of N: whether the student of each seed is right on each test sample.
        variant: the same of the other variant: row s from the same initialisation and order, on the same samples.
        name: of the variant, for messages.
        confidence: that of both intervals. With m variants against one baseline, 1 - 0.05 / m keeps the chance that any of
            them is called a gain by luck below 5 % (Bonferroni).
        seed: of the bootstrap's draws.

    Raises:
        InputError: for fewer than 3 seeds, fewer than 2 samples, or where the two do not pair.
    """
    from scipy.special import stdtrit  # scipy.stats takes half a second to import

    ours, theirs = _checked(variant, name), _checked(baseline, "baseline")
    if ours.shape != theirs.shape:
        raise InputError(
            f"comparison of '{name}': {ours.shape} answers (seeds, samples), but the baseline has {theirs.shape}; "
            "both need the same seeds and test samples"
        )
    if not 0 < confidence < 1:
        raise InputError(f"comparison of '{name}': confidence is {confidence}, expected between 0 and 1")
    x = ours.astype(np.int8) - theirs.astype(np.int8)
    gains = x.mean(axis=1)
    gain, spread = float(gains.mean()), float(gains.std(ddof=1))
    low, high = np.quantile(_draws(x, np.random.default_rng(seed)), [(1 - confidence) / 2, (1 + confidence) / 2])
    reach = float(stdtrit(len(x) - 1, (1 + confidence) / 2)) * spread / len(x) ** 0.5
    return Gain(
        seeds=len(x),
        samples=x.shape[1],
        baseline_accuracy=float(theirs.mean()),
        accuracy=float(ours.mean()),
        gain_points=100 * gain,
        interval_points=(100 * float(low), 100 * float(high)),
        t_interval_points=(100 * (gain - reach), 100 * (gain + reach)),
        seed_gains_points=tuple(100 * float(value) for value in gains),
        seed_spread_points=100 * spread,
        confidence=confidence,
        verdict="helps" if low > 0 else "hurts" if high < 0 else "no gain",
    )


def _checked(correct: Any, name: str) -> NDArray[np.bool_]:
    try:
        rows = np.stack([np.asarray(row) for row in correct])
    except (TypeError, ValueError) as error:
        raise InputError(f"comparison: '{name}' must have the same number of test samples for every seed: {error}") from error
    if len(rows) < FEWEST_SEEDS:
        raise InputError(f"comparison: '{name}' has {len(rows)} seeds, expected at least {FEWEST_SEEDS}; train more seeds")
    if rows.ndim != 2 or rows.dtype != np.bool_ or rows.shape[1] < 2:
        found = f"{rows.dtype} of shape {rows.shape}"
        raise InputError(f"comparison: '{name}' is {found}, expected bool (seeds, at least 2 test samples): right or wrong")
    return rows


def _draws(x: NDArray[np.int8], rng: np.random.Generator) -> NDArray[np.float64]:
    """(RESAMPLES,) gains, as a fraction, that fit the differences x (S, N) between the variants."""
    seeds, samples = x.shape
    gain, interaction = x.mean(), _interaction(x)
    # A sample's sum over the seeds has at most 2 S + 1 values: resampling samples is drawing how often each occurs.
    values, counts = np.unique(x.sum(axis=0, dtype=np.int64), return_counts=True)
    resampled = rng.multinomial(samples, counts / samples, RESAMPLES) @ (values / seeds) / samples
    between_samples = float(np.average((values / seeds - gain) ** 2, weights=counts)) * samples / (samples - 1)
    own_share = 1 - interaction / seeds / between_samples if between_samples > 0 else 0.0
    variance = x.mean(axis=1).var(ddof=1) * (seeds - 1) / rng.chisquare(seeds - 1, RESAMPLES)
    by_seeds = np.sqrt(np.maximum(variance, interaction / samples) / seeds) * rng.standard_normal(RESAMPLES)
    return np.asarray(gain + max(own_share, 0.0) ** 0.5 * (resampled - gain) + by_seeds)


def _interaction(x: NDArray[np.int8]) -> float:
    """Variance of e_sn: the mean square that neither the seeds' nor the samples' means explain (two-way analysis of variance)."""
    seeds, samples = x.shape
    rest = x - x.mean(axis=1, keepdims=True) - x.mean(axis=0) + x.mean()
    return float(np.sum(rest**2) / ((seeds - 1) * (samples - 1)))


def comparison_table(rows: Sequence[ComparisonRow]) -> str:
    """The rows as a Markdown table: mean test accuracy, gain with interval, cost of an epoch, verdict."""
    from edgekd.report.figures import NOTHING, digits, percent
    from edgekd.report.markdown import escape, table

    lines = []
    for row in rows:
        cost = NOTHING if row.relative_cost is None else f"{digits(row.relative_cost)} ×"
        gain, verdict = (NOTHING, "baseline") if row.gain is None else (_gain_text(row.gain), row.gain.verdict)
        lines.append([escape(row.name), percent(row.accuracy), gain, cost, verdict])
    return table(["student", "mean test accuracy", "gain (interval)", "cost of an epoch", "verdict"], lines)


def _gain_text(gain: Gain) -> str:
    """`+0.52 pp (95 %: −0.10 pp to +1.14 pp; 3 seeds)`."""
    from edgekd.report.figures import points

    mean, low, high = (points(value / 100) for value in (gain.gain_points, *gain.interval_points))
    return f"{mean} ({100 * gain.confidence:.3g} %: {low} to {high}; {gain.seeds} seeds)"
