"""Two or more models side by side: interleaved blocks of fresh processes, and what their paired ratios can show.

A block runs every side once, each in a fresh process, in an order drawn at random: whatever the machine does more slowly
than a block meets all sides alike, and which side comes first is no advantage. A block's figure is the logarithm of the ratio
of its two medians. The interval of their centre is exact whatever the noise's shape (gate/signed_rank.py); several
sides share its 5 % (Bonferroni).
"""

import math
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgekd.artifact import sha256_of
from edgekd.bench.conditions import activity, doubts, texts
from edgekd.bench.jobs import Job
from edgekd.bench.opened import opened
from edgekd.bench.procedure import provenance_of
from edgekd.bench.reply import Reply, RunFailed
from edgekd.bench.runs import Runs
from edgekd.bench.statistics import latency_summary
from edgekd.errors import InputError

SCHEMA = "edgekd.compare/1"
LEVEL = 0.95
BLOCKS = 12
"""Of 6 blocks on there is an interval at all; of 12 it leaves out the extremes of both sides."""
MAX_BLOCKS, MAX_SIDES = 1000, 20
MISSED_5_PERCENT = 1 + 1.645 / 1.96
"""A true difference of so many half-widths of a 95 % interval is shown 95 times of 100 [normal approximation]."""

Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Block:
    """Latencies in ms, a series a side; `order` is that in which the sides ran."""

    order: tuple[int, ...]
    series: tuple[tuple[float, ...], ...]

    def log_ratio(self, side: int, base: int = 0) -> float:
        """Logarithm of the side's median over the base's: above 0 where the side is slower."""
        return math.log(statistics.median(self.series[side]) / statistics.median(self.series[base]))


def blocks(measure: Callable[[int, int], Sequence[float]], sides: int, count: int, seed: int = 0) -> Iterator[Block]:
    """`count` blocks, one at a time: `measure(side, block)` gives the latencies of a fresh process."""
    chance = random.Random(seed)
    for number in range(count):
        order = chance.sample(range(sides), sides)
        found = {side: tuple(measure(side, number)) for side in order}
        yield Block(order=tuple(order), series=tuple(found[side] for side in range(sides)))


def difference(log_ratios: Sequence[float], level: float = LEVEL) -> Record:
    """What paired log ratios show.

    Returns:
        {ratio, interval, verdict: faster | slower | no difference shown, smallest}: ratios to the base, 1.0 is alike;
        `smallest` is the change that so many blocks as noisy as these would show 95 times of 100, as a fraction.
    """
    from edgekd.gate.signed_rank import centre, interval

    middle, (low, high) = centre(log_ratios), interval(log_ratios, level)
    verdict = "faster" if high < 0 else "slower" if low > 0 else "no difference shown"
    return {
        "ratio": math.exp(middle),
        "interval": [math.exp(low), math.exp(high)],
        "verdict": verdict,
        "smallest": math.expm1(MISSED_5_PERCENT * (high - low) / 2),
    }


def fewest_blocks(level: float) -> int:
    """From so many blocks on the exact interval of that level is finite."""
    return math.ceil(math.log2(2 / (1 - level)))


def compare(labels: Sequence[str], jobs: Sequence[Job], count: int = BLOCKS, seed: int = 0) -> Record:
    """Compare every job with the first.

    Args:
        labels: what the user called them.
        count: of blocks; `queries` of a job are shared out over them.

    Raises InputError for what cannot be compared, and as `measure_model` does.
    """
    level = 1 - (1 - LEVEL) / max(1, len(jobs) - 1)
    _check(jobs, count, level)
    shares = [replace(job.settings(), processes=count).shares() for job in jobs]
    replies: list[list[Reply]] = [[] for _ in jobs]
    with opened(jobs) as sides:

        def measure(side: int, block: int) -> list[float]:
            try:
                replies[side].append(sides[side].run("latency", shares[side][block]))
            except RunFailed as failure:
                raise InputError(f"{labels[side]}: cannot {failure.stage} this model: {failure.cause}") from failure
            return [ns / 1e6 for ns in replies[side][-1].latency_ns]

        found = list(blocks(measure, len(jobs), count, seed))
        for runs, answers in zip(sides, replies, strict=True):
            runs.check_alike(answers)
        told = [_side(*parts) for parts in zip(labels, jobs, sides, replies, strict=True)]
    ratios = [[block.log_ratio(side) for block in found] for side in range(1, len(jobs))]
    return {
        "schema": SCHEMA,
        "sides": told,
        "comparisons": [{"side": i, "to": 0, **difference(r, level), "log_ratios": r} for i, r in enumerate(ratios, 1)],
        "blocks": [{"order": list(block.order), "latency_ms": [list(series) for series in block.series]} for block in found],
        "level": level,
        "seed": seed,
    }


def _check(jobs: Sequence[Job], count: int, level: float) -> None:
    if not 2 <= len(jobs) <= MAX_SIDES:
        raise InputError(
            f"--compare takes 2 to {MAX_SIDES} models, {len(jobs)} were named: edgekd bench --compare a.onnx b.tflite"
        )
    if not fewest_blocks(level) <= count <= MAX_BLOCKS:
        raise InputError(
            f"{count} blocks were asked for, expected {fewest_blocks(level)} to {MAX_BLOCKS}: fewer give no interval"
        )
    for job in jobs:
        if job.use.mode != "warm" or job.use.throughput:
            raise InputError("--compare is of warm queries, one after the other: leave out --mode, --streams and --batch")
        if job.queries is not None and job.queries < count:
            raise InputError(f"--queries {job.queries} are shared out over {count} blocks, expected at least one for each")


def _side(label: str, job: Job, runs: Runs, replies: Sequence[Reply]) -> Record:
    latencies = [ns / 1e6 for reply in replies for ns in reply.latency_ns]
    conditions = {
        "threads": runs.threads,
        "runtime": ", ".join(f"{name} {version}" for name, version in sorted(replies[0].versions.items())),
        **replies[0].machine,
        "cpus": replies[0].cpus,
        **activity(replies),
    }
    return {
        "label": label,
        "artifact": str(job.model),
        "sha256": sha256_of(runs.model),
        "device": runs.device.name,
        "target": runs.target.name,
        "options": dict(job.use.options),
        "latency_ms": latency_summary(latencies, provenance_of(replies[0])),
        "conditions": conditions,
        "warnings": texts(doubts(conditions, runs.threads, replies[0].cpus)),
    }
