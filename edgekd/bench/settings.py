"""How long to measure, and how the work is shared out over processes."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, get_args

from edgekd.errors import InputError, did_you_mean

Mode: TypeAlias = Literal["warm", "cold", "sustained", "duty"]
MAX_STREAMS = 256
MAX_BATCH = 65_536


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How long to measure. Queries and seconds are totals over `processes`; `warmup_queries` is for each.

    Measuring ends at `queries` exactly where that is set; else when both minima are reached, or either maximum.
    The defaults take 1,024 queries as MLPerf Mobile does, and enough for a p99 (662).
    """

    processes: int = 3
    warmup_queries: int = 50
    min_queries: int = 1024
    max_queries: int = 30_000
    min_seconds: float = 1.5
    max_seconds: float = 30.0
    queries: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.processes < 1 or self.warmup_queries < 0 or (self.queries is not None and self.queries < 1):
            raise InputError("measuring needs at least 1 process, 1 query and 0 warm-up queries")
        if not 1 <= self.min_queries <= self.max_queries <= 1_000_000 or not 0 <= self.min_seconds <= self.max_seconds <= 3600:
            raise InputError("measuring: minima must not exceed maxima, nor those 1,000,000 queries and 3,600 seconds")
        if self.queries is not None and self.queries > 1_000_000:
            raise InputError(f"{self.queries} queries were asked for, expected at most 1,000,000")

    @classmethod
    def quick(cls, seed: int = 0) -> Self:
        """For screening: one round, about a second, 200 queries (p90 needs 64)."""
        return cls(processes=1, warmup_queries=20, min_queries=200, max_queries=2000, min_seconds=0.2, max_seconds=5.0, seed=seed)

    @classmethod
    def of(cls, use: "Use", seed: int = 0) -> Self:
        """For a way of use: 20 cold starts, up to 10 minutes of sustained load, 200 queries on duty, 5 s of streams a process."""
        if use.mode == "cold":
            return cls(processes=20, warmup_queries=0, seed=seed)
        if use.mode == "sustained":
            return cls(processes=1, warmup_queries=0, min_seconds=30.0, max_seconds=600.0, seed=seed)
        if use.mode == "duty":
            return cls(warmup_queries=20, min_queries=200, min_seconds=0.0, max_seconds=200 * use.period_s + 10, seed=seed)
        return cls(max_seconds=15.0, seed=seed) if use.throughput else cls(seed=seed)

    def exactly(self, queries: int) -> Self:
        """The same, with exactly so many queries in all."""
        return replace(self, queries=queries)

    def shares(self) -> list[dict[str, Any]]:
        """The part of the job that each process's timed loop gets."""
        processes = min(self.processes, self.queries or self.processes)
        return [
            {
                "queries": _share(self.queries, processes, i) if self.queries else None,
                "min_queries": _share(self.min_queries, processes, i),
                "max_queries": _share(self.max_queries, processes, i),
                "min_seconds": self.min_seconds / processes,
                "max_seconds": self.max_seconds / processes,
            }
            for i in range(processes)
        ]


def _share(total: int, parts: int, index: int) -> int:
    return max(1, total // parts + (index < total % parts))


@dataclass(frozen=True, kw_only=True)
class Use:
    """How a model is used while it is measured, and on what.

    `cold` starts: fresh processes; `sustained`: until it is steady; `duty`: a query every `period_s`. More than one
    stream, or a batch, is throughput: so many models at once, each with the threads asked for. `batch` None leaves it
    to the model. `inputs` are .npy files, one an input, that stack `samples` along their first axis; () is random.
    `options` are the runtime's: names and values of OPTIONS in the target's runner.
    """

    mode: Mode = "warm"
    streams: int = 1
    batch: int | None = None
    period_s: float = 0.1
    inputs: tuple[Path, ...] = ()
    samples: int | None = None
    options: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise InputError(f"mode '{self.mode}' is not known" + did_you_mean(self.mode, get_args(Mode)))
        if not 1 <= self.streams <= MAX_STREAMS or not 1 <= (self.batch or 1) <= MAX_BATCH:
            raise InputError(f"streams go from 1 to {MAX_STREAMS}, batches from 1 to {MAX_BATCH}")
        if not 0 < self.period_s <= 3600:
            raise InputError(f"a query every {self.period_s:g} s was asked for, expected above 0 and at most 3600")
        if self.throughput and self.mode != "warm":
            raise InputError(f"streams and batches measure throughput, which has no mode '{self.mode}'")

    @property
    def throughput(self) -> bool:
        return self.streams > 1 or self.batch is not None


WARM = Use()
