"""A candidate against its baseline, both run here and now, in blocks of fresh processes, until a decision.

The baseline is the artifact itself, not a number that another machine or another hour measured: on hosted runners unchanged code
differs by 26 % between jobs and by 0.3 % within one [fast_mail_parser, pull request 128]. A block runs both in a random order.
In the first duel's blocks the baseline runs once more, as the sentinel: where it differs from itself beyond chance, nothing is
concluded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from edgekd.artifact import size_of
from edgekd.bench.compare import Block, blocks
from edgekd.bench.jobs import Job
from edgekd.bench.measure import resolved
from edgekd.bench.opened import opened
from edgekd.bench.reply import Reply, RunFailed
from edgekd.bench.runs import Runs
from edgekd.bench.settings import Settings
from edgekd.errors import InputError, did_you_mean
from edgekd.gate.exact import ExactRule, compare_exact
from edgekd.gate.family import judge_family
from edgekd.gate.sequential import Decision, Profile, detectable
from edgekd.gate.signed_rank import p_above, p_below
from edgekd.gate.verdict import Comparison, Verdict

SENTINEL_LEVEL = 1e-3
"""Two-sided: so rarely is a quiet machine called unstable."""
QUERIES = Settings(processes=1, warmup_queries=20, min_queries=100, max_queries=2000, min_seconds=0.2, max_seconds=5.0)
"""Of one process; what varies between processes is met by more blocks, not by more queries."""
METRICS = ("latency_ms", "size_bytes")
BASELINE, CANDIDATE, SENTINEL = range(3)
PENDING = 10_000
"""Blocks that a duel is prepared for; the looks end it long before."""


@dataclass(kw_only=True)
class Arena:
    """Pairs of models on their devices: baseline, candidate, and for the first pair the sentinel."""

    pairs: Sequence[Sequence[Runs]]
    seed: int
    sentinel: list[float] = field(default_factory=list)
    replies: list[tuple[Runs, Reply]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._blocks = [process_blocks(sides, PENDING, self.seed + index, self.replies) for index, sides in enumerate(self.pairs)]

    def measure(self, which: Sequence[int], count: int) -> dict[int, list[float]]:
        """So many more log ratios of each of these pairs, block by block over all of them."""
        found: dict[int, list[float]] = {index: [] for index in which}
        for _ in range(count):
            for index in which:
                block = next(self._blocks[index])
                found[index].append(block.log_ratio(CANDIDATE, BASELINE))
                if index == 0:
                    self.sentinel.append(block.log_ratio(SENTINEL, BASELINE))
        return found

    def check_alike(self) -> None:
        """Every side's processes must have run on one machine with one runtime. Raises DeviceError otherwise."""
        for runs in [runs for sides in self.pairs for runs in sides]:
            runs.check_alike([reply for its, reply in self.replies if its is runs])

    @property
    def sentinel_p(self) -> float:
        """Two-sided p-value against "two runs of the same file are alike"."""
        return min(1.0, 2 * min(p_above(self.sentinel), p_below(self.sentinel)))


def process_blocks(
    sides: Sequence[Runs], count: int, seed: int, replies: list[tuple[Runs, Reply]] | None = None
) -> Iterator[Block]:
    """So many blocks of one fresh process a side; `replies` collects the answers. Raises InputError where one cannot run."""
    share = QUERIES.shares()[0]

    def measure(side: int, number: int) -> list[float]:
        runs = sides[side]
        try:
            reply = runs.run("latency", share)
        except RunFailed as failure:
            cause = f"{runs.target.name} cannot {failure.stage} this model: {failure.cause}"
            raise InputError(f"{runs.model}: {cause}") from failure
        if replies is not None:
            replies.append((runs, reply))
        return [ns / 1e6 for ns in reply.latency_ns]

    return blocks(measure, len(sides), count, seed)


def duel(pairs: Sequence[tuple[Job, Job]], metrics: Sequence[str], profile: Profile, seed: int = 0) -> list[Comparison]:
    """Compare each candidate with its baseline in these metrics; one comparison a pair and metric.

    Args:
        pairs: (baseline, candidate): how each is run.
        metrics: of METRICS.

    Raises:
        InputError: for an unknown metric, another way of use than warm queries, a model that cannot be run.
        DeviceError, MissingExtraError: as `edgekd.bench.measure_model` does.
    """
    for metric in metrics:
        if metric not in METRICS:
            raise InputError(f"metric '{metric}' is not known{did_you_mean(metric, METRICS)}: one of {', '.join(METRICS)}")
    if any(job.use.mode != "warm" or job.use.throughput for pair in pairs for job in pair):
        raise InputError("a duel is of warm queries, one after the other")
    found = []
    if "size_bytes" in metrics:
        found += [_sizes(*pair) for pair in pairs]
    if "latency_ms" in metrics:
        found += _latencies(pairs, profile, seed)
    return found


def _sizes(baseline: Job, candidate: Job) -> Comparison:
    return compare_exact("size_bytes", _size(baseline), _size(candidate), ExactRule(), "bytes")


def _size(job: Job) -> int:
    path, *_ = resolved(job.model, job.device, job.target, connected=job.address is not None)
    return size_of(path)


def _latencies(pairs: Sequence[tuple[Job, Job]], profile: Profile, seed: int) -> list[Comparison]:
    jobs = [[*pair, *([replace(pair[0])] if index == 0 else [])] for index, pair in enumerate(pairs)]
    with opened([job for sides in jobs for job in sides]) as flat:
        sides = iter(flat)
        arena = Arena(pairs=[[next(sides) for _ in members] for members in jobs], seed=seed)
        decisions = judge_family(len(pairs), profile, arena.measure)
        arena.check_alike()
    rng = np.random.default_rng(seed)
    stable = arena.sentinel_p > SENTINEL_LEVEL
    return [_comparison(decision, profile, arena, stable, rng) for decision in decisions]


def _comparison(decision: Decision, profile: Profile, arena: Arena, stable: bool, rng: np.random.Generator) -> Comparison:
    assert decision.outcome is not None  # a family ends with an answer for everyone
    details: dict[str, Any] = {**asdict(decision), "profile": profile.name, "sentinel_p": arena.sentinel_p}
    text = f"latency {_percent(decision.ratio)} ({_percent(decision.low)} to {_percent(decision.high)}), {decision.blocks} blocks"
    if not stable:
        text += f": the baseline differs from its own copy (p {arena.sentinel_p:.1g}): let the machine come to rest, and repeat"
        return Comparison(metric="latency_ms", verdict=Verdict.UNSTABLE, text=text, details=details)
    if decision.outcome in ("PASS", "INCONCLUSIVE"):
        details["detectable"] = detectable(decision, profile, rng)
        text += f"; {_percent(1 + details['detectable'])} would have been seen"
    return Comparison(metric="latency_ms", verdict=Verdict(decision.outcome), text=text, details=details)


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.2f} %"
