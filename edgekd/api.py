"""The functions for notebooks and scripts; `edgekd.run`, `edgekd.measure`."""

from pathlib import Path
from typing import Any


def run(
    project: str | Path,
    out: str | Path = "run",
    *,
    replay: str | Path | None = None,
    honest: int | None = None,
    tune: int | None = None,
) -> dict[str, Any]:
    """What `edgekd distill PROJECT --out OUT` does.

    Args:
        project: a project file.
        out: the run's folder; a run that was stopped goes on there.
        replay: another run's folder whose recorded measurements are taken instead of measuring.
        honest: seeds, at least 3, over which what was selected is compared with the same student trained without a teacher.
        tune: short trainings, at least 2, that search the numbers of the recipe; None goes by the project.

    Returns:
        The report, as in `out`/report.json.

    Raises:
        EdgekdError: its subclasses say what went wrong (edgekd/errors.py).
    """
    from edgekd.pipeline import distill
    from edgekd.project import read_project, with_tuning

    read = read_project(Path(project))
    chosen = read if tune is None else with_tuning(read, tune)
    return distill(chosen, Path(out), replay=None if replay is None else Path(replay), honest=honest)


def measure(
    model: str | Path, device: str = "local", *, target: str | None = None, threads: int = 1, queries: int | None = None
) -> dict[str, Any]:
    """What `edgekd bench MODEL` does: latency, peak memory, size and energy of a model file, with provenance and raw values.

    Args:
        model: a file of any runtime that edgekd has a target for.
        device: a profile's name.
        target: None goes by the file's suffix.
        queries: exactly so many timed queries; None measures until there are enough.
    """
    from edgekd.bench.measure import measure_model

    return measure_model(Path(model), device=device, target=target, threads=threads, queries=queries)
