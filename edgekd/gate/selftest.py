"""The gate judged on the machine at hand: how often it cries wolf, and what it finds.

A bank of blocks is recorded, each with the baseline, a copy of it, and models that do 1, 2, 5 and 10 % more work, every one in
a fresh process. What the planted changes really are is read off the whole bank. Duels are then drawn from it: blocks without
replacement, in a random order, judged as `edgekd gate duel` judges them.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy.stats import binomtest

from edgekd.bench.jobs import Job
from edgekd.bench.opened import opened
from edgekd.errors import InputError
from edgekd.gate.duel import process_blocks
from edgekd.gate.planted import LAYERS, planted_model
from edgekd.gate.sequential import Profile, decide
from edgekd.gate.signed_rank import centre, interval

PLANTED = (0, 1, 2, 5, 10)
"""More work in percent; 0 is the copy."""
Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Bank:
    """Log ratios to the baseline, of each planted percentage, in the order of the blocks."""

    ratios: dict[int, list[float]]

    @property
    def blocks(self) -> int:
        return len(self.ratios[0])

    def effect(self, percent: int) -> Record:
        """What the planted change really is, with the exact 95 % interval, as fractions."""
        low, high = interval(self.ratios[percent])
        return {"change": math.expm1(centre(self.ratios[percent])), "interval": [math.expm1(low), math.expm1(high)]}


def record_bank(base: Job, blocks: int, seed: int = 0, told: Callable[[int, int], None] = lambda done, of: None) -> Bank:
    """Record so many blocks of the planted models, run as `base` says (its model is not used)."""
    ratios: dict[int, list[float]] = {percent: [] for percent in PLANTED}
    with _jobs(base) as jobs, opened(jobs) as sides:
        for done, block in enumerate(process_blocks(sides, blocks, seed), start=1):
            for side, percent in enumerate(PLANTED, start=1):
                ratios[percent].append(block.log_ratio(side))
            told(done, blocks)
    return Bank(ratios=ratios)


@contextmanager
def _jobs(base: Job) -> Iterator[list[Job]]:
    """The baseline, then what is planted."""
    with TemporaryDirectory(prefix="edgekd-selftest-") as folder:
        layers = [LAYERS, *(LAYERS + LAYERS * percent // 100 for percent in PLANTED)]
        files = [planted_model(Path(folder) / f"side{side}.onnx", count) for side, count in enumerate(layers)]
        yield [replace(base, model=file) for file in files]


def characteristic(bank: Bank, profile: Profile, duels: int, seed: int = 0) -> list[Record]:
    """For each planted change: the shares of all verdicts over drawn duels, with 95 % Clopper-Pearson intervals, and mean blocks.

    Raises InputError where the bank is smaller than the profile's last look.
    """
    if bank.blocks < profile.looks[-1]:
        raise InputError(f"{bank.blocks} blocks are recorded, the profile '{profile.name}' looks at up to {profile.looks[-1]}")
    rng = np.random.default_rng(seed)
    return [_judged(bank, percent, profile, duels, rng) for percent in bank.ratios]


def _judged(bank: Bank, percent: int, profile: Profile, duels: int, rng: np.random.Generator) -> Record:
    values = np.asarray(bank.ratios[percent])
    found = [_drawn(rng.permutation(values)[: profile.looks[-1]], profile) for _ in range(duels)]
    outcomes = {name: sum(outcome == name for outcome, _ in found) for name in ("REGRESSED", "PASS", "IMPROVED", "INCONCLUSIVE")}
    return {
        "planted_percent": percent,
        "effect": bank.effect(percent),
        "duels": duels,
        "shares": {name: count / duels for name, count in outcomes.items()},
        "intervals": {name: _clopper_pearson(count, duels) for name, count in outcomes.items()},
        "mean_blocks": float(np.mean([blocks for _, blocks in found])),
    }


def _drawn(values: Sequence[float] | np.ndarray, profile: Profile) -> tuple[str, int]:
    for look in profile.looks:
        decision = decide(list(values[:look]), profile)
        if decision.outcome is not None:
            return decision.outcome, look
    raise AssertionError("the last look decides")


def _clopper_pearson(count: int, of: int) -> list[float]:
    found = binomtest(count, of).proportion_ci(0.95, "exact")
    return [float(found.low), float(found.high)]
