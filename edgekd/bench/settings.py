"""How long to measure, and how the work is shared out over processes."""

from dataclasses import dataclass, replace
from typing import Any, Self

from edgekd.errors import InputError


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
