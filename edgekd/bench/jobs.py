"""What one `edgekd bench` was asked for: a point (model, device, threads, way of use) that gives one record."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekd.bench.measure import TARGET_OF_SUFFIX, measure_model
from edgekd.bench.samples import choose_inputs
from edgekd.bench.settings import WARM, Settings, Use
from edgekd.bench.statistics import answer, evidence
from edgekd.bench.transports.book import find_address
from edgekd.bench.uses import cost_per_million
from edgekd.errors import InputError

Record = dict[str, Any]
MAX_MODELS = 1000


@dataclass(frozen=True, kw_only=True)
class Job:
    """A point to measure. Options that are None are left to the procedure, or are not asked for.

    `inputs`: `random`, `samples` (beside the model), an .npy file, or None for samples where there are some.
    `percentile` with `limit_ms` is a question: does the latency keep that limit?
    """

    model: Path
    device: str = "local"
    connect: str | None = None
    target: str | None = None
    threads: int = 1
    queries: int | None = None
    seconds: float | None = None
    inputs: str | None = None
    use: Use = WARM
    price_per_hour: float | None = None
    percentile: float = 90
    limit_ms: float | None = None

    @property
    def address(self) -> str | None:
        """Where the device is: as said, else as the user's devices.toml says; None for this machine, or where none is known."""
        return find_address(self.device, self.connect)

    def settings(self) -> Settings:
        """Queries are cold starts where those are measured. Raises InputError for what does not go together."""
        found = Settings.of(self.use)
        if self.seconds is not None:
            least = min(found.min_seconds, self.seconds)
            found = replace(found, max_seconds=self.seconds, min_seconds=least)
        if self.queries is None:
            return found
        if self.use.mode == "sustained" or self.use.throughput:
            raise InputError("sustained load and throughput go by time: give --seconds, not --queries")
        return replace(found, processes=self.queries) if self.use.mode == "cold" else found.exactly(self.queries)

    def used(self) -> Use:
        """The way of use, with the inputs for this model."""
        files, samples = choose_inputs(self.model, self.inputs)
        return replace(self.use, inputs=files, samples=samples)

    def measure(self) -> Record:
        """The record of this point. Raises as `measure_model` does."""
        return self.completed(
            measure_model(
                self.model,
                device=self.device,
                connect=self.address,
                target=self.target,
                threads=self.threads,
                settings=self.settings(),
                use=self.used(),
            )
        )

    def completed(self, record: Record) -> Record:
        """With what was asked about the latencies: cost, percentile, limit."""
        latencies = record["values"]["latency_ms"]
        record["evidence"] = evidence(latencies, {50.0, 90.0, 99.0, float(self.percentile)} - {50.0})
        if self.limit_ms is not None:
            record["limit"] = {
                "percentile": self.percentile,
                "limit_ms": self.limit_ms,
                "answer": answer(latencies, self.percentile, self.limit_ms),
            }
        if self.price_per_hour is not None:
            record["cost_per_million"] = self.cost(record)
        return record

    def cost(self, record: Record) -> Record:
        """Of a million inferences at full load: of all streams, or of one stream back to back."""
        found = record.get("throughput")
        latency = record["latency_ms"]
        per_s = found["per_s"] if found else 1000 / latency["mean"]
        return {
            "value": cost_per_million(per_s, self.price_per_hour or 0.0),
            "price_per_hour": self.price_per_hour,
            "inferences_per_s": per_s,
            "provenance": latency["provenance"],
        }


def model_files(paths: Sequence[Path]) -> list[Path]:
    """The models named, and those in folders named, sorted by name in each. Raises InputError where a folder has none."""
    found: list[Path] = []
    for path in paths:
        if not os.path.isdir(path) or path.suffix.lower() in TARGET_OF_SUFFIX:
            found.append(path)
            continue
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in TARGET_OF_SUFFIX and p.suffix.lower() != ".npz")
        whole = [p for p in inside if not any(parent.suffix == ".mlpackage" for parent in p.relative_to(path).parents)]
        if not whole:
            raise InputError(f"{path}: there is no model file in this folder (of {', '.join(sorted(TARGET_OF_SUFFIX))})")
        found += whole
    if len(found) > MAX_MODELS:
        raise InputError(f"{len(found)} models were found, expected at most {MAX_MODELS}: name a smaller folder")
    return found
