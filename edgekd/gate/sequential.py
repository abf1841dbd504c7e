"""When a duel has run enough blocks: looks at fixed counts, with the errors of both kinds spent over them.

At each look the differences are tested against the tolerated slow-down (refused: REGRESSED), against the slow-down that must be
caught (refused: PASS) and against the tolerated speed-up (refused: IMPROVED). Every look spends the same share of either error
(Bonferroni), which is valid whatever the dependence of the looks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy.stats import chi2

from edgekd.errors import InputError, did_you_mean
from edgekd.gate.signed_rank import centre, interval, least_sum, p_above, p_below, rank_sums

Outcome = Literal["PASS", "IMPROVED", "REGRESSED", "INCONCLUSIVE"]
RESAMPLES, HALVINGS = 500, 20
SURE = 0.8
"""How sure the noise is not larger than it is taken for: a few blocks know it badly."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What a gate tolerates and what it must catch, as ratios above 1 (0.02 is 2 % more).

    `alpha` bounds the chance of REGRESSED where the true change is at most `tolerated`; of no change at all it is far smaller.
    `beta` bounds the chance of PASS where the true change is `must_catch` or more.
    """

    name: str
    tolerated: float
    must_catch: float
    looks: tuple[int, ...] = (12, 20, 32, 50)
    alpha: float = 0.004
    beta: float = 0.02

    def __post_init__(self) -> None:
        if not 0 <= self.tolerated < self.must_catch < 10:
            raise InputError("a gate tolerates at least 0 and less than it must catch, and must catch less than a factor of 11")
        if not self.looks or sorted(set(self.looks)) != list(self.looks) or self.looks[0] < 1:
            raise InputError("looks are increasing counts of blocks, the first at least 1")
        least = 0.5 ** self.looks[0] * len(self.looks)
        if not (least <= self.alpha < 0.5 and least <= self.beta < 0.5):
            raise InputError(f"with a first look after {self.looks[0]} blocks, alpha and beta go from {least:.2g} to 0.5")

    @property
    def alpha_a_look(self) -> float:
        return self.alpha / len(self.looks)

    @property
    def beta_a_look(self) -> float:
        return self.beta / len(self.looks)


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(name="fast", tolerated=0.02, must_catch=0.10),
        Profile(name="default", tolerated=0.005, must_catch=0.02),
        Profile(name="precise", tolerated=0.0025, must_catch=0.01, looks=(20, 32, 50, 100)),
    )
}


def find_profile(name: str) -> Profile:
    """Raises InputError for an unknown name."""
    if name not in PROFILES:
        raise InputError(f"profile '{name}' is not known{did_you_mean(name, PROFILES)}: one of {', '.join(PROFILES)}")
    return PROFILES[name]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What the blocks say so far. `outcome` is None where another look follows. Ratios are candidate to baseline."""

    outcome: Outcome | None
    blocks: int
    ratio: float
    low: float
    high: float
    """The exact 95 % interval of the ratio; infinite with fewer than 6 blocks."""
    p_regressed: float
    p_passed: float
    differences: tuple[float, ...] = field(repr=False)


def decide(differences: Sequence[float], profile: Profile) -> Decision:
    """Judge log ratios (candidate to baseline) at one of the profile's looks; between looks nothing is decided."""
    blocks = len(differences)
    p_regressed = p_above(differences, math.log1p(profile.tolerated))
    p_passed = p_below(differences, math.log1p(profile.must_catch))
    p_improved = p_below(differences, -math.log1p(profile.tolerated))
    outcome: Outcome | None = None
    if blocks in profile.looks:
        if p_regressed <= profile.alpha_a_look:
            outcome = "REGRESSED"
        elif p_improved <= profile.alpha_a_look:
            outcome = "IMPROVED"
        elif p_passed <= profile.beta_a_look:
            outcome = "PASS"
        elif blocks == profile.looks[-1]:
            outcome = "INCONCLUSIVE"
    low, high = interval(differences)
    return Decision(
        outcome=outcome,
        blocks=blocks,
        ratio=math.exp(centre(differences)),
        low=math.exp(low),
        high=math.exp(high) if high < math.inf else math.inf,
        p_regressed=p_regressed,
        p_passed=p_passed,
        differences=tuple(differences),
    )


def detectable(decision: Decision, profile: Profile, rng: np.random.Generator, power: float = 0.95) -> float:
    """The smallest slow-down that so many blocks as noisy as these would have called REGRESSED with this power, as a ratio - 1.

    By resampling the blocks around their centre, enlarged by what a normal scatter from so many may be understated.
    """
    values = np.asarray(decision.differences)
    free = len(values) - 1
    enlarged = math.sqrt(free / chi2.ppf(1 - SURE, free))
    noise = enlarged * rng.choice(values - centre(values), (RESAMPLES, len(values)))
    least = least_sum(len(values), profile.alpha_a_look)
    threshold = math.log1p(profile.tolerated)
    low = np.zeros(RESAMPLES)
    high = np.full(RESAMPLES, threshold + 2 * float(np.abs(noise).max()) + 1e-9)
    for _ in range(HALVINGS):  # a sample's rank sum grows with what it is moved by
        middle = (low + high) / 2
        found = rank_sums(noise + middle[:, None] - threshold) >= least
        low, high = np.where(found, low, middle), np.where(found, middle, high)
    return float(np.expm1(np.sort(high)[math.ceil(power * RESAMPLES) - 1]))
