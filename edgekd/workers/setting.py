"""What a worker is told of the driver's run, as JSON: what never changes (setup), what was found out since (state)."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekd.bench.settings import Settings
from edgekd.console import Console
from edgekd.deployment import resolve_all
from edgekd.errors import InputError
from edgekd.plugins import versions
from edgekd.project import make_project
from edgekd.store import Store

if TYPE_CHECKING:
    from edgekd.distill.cache import TeacherCache
    from edgekd.stages import Run

Record = dict[str, Any]
SAME = ("edgekd", "numpy", "torch")
"""Packages whose versions decide what a unit's result is: a worker has the driver's."""


def setup_of(run: "Run") -> Record:
    """All that a worker needs to make the same run, but for the data themselves."""
    return {
        "project": json.loads(json.dumps(run.project.raw, default=str)),
        "base": str(run.project.base.resolve()),
        "data": run.data.fingerprint,
        "settings": asdict(run.settings),
        "versions": versions(*SAME),
    }


def run_from(setup: Record, store: Store, console: Console) -> "Run":
    """The driver's run on a store of the worker's own.

    Where the project's folder is not at the same place here, the current one stands in: that is where Ray unpacks a
    `working_dir`.

    Raises:
        InputError: where this machine has other versions, or other data.
    """
    check_versions(setup["versions"])
    from edgekd.distill.trainer import use_threads
    from edgekd.prepare_run import make_run

    base = Path(setup["base"])
    project = make_project(setup["project"], base if base.is_dir() else Path.cwd())
    run = make_run(project, store, console, resolve_all(project.deploy))
    if run.data.fingerprint != setup["data"]:
        raise InputError(f"[data] {run.data.name} is not the same on every machine of the cluster: copy the driver's there")
    run.settings = Settings(**setup["settings"])
    use_threads(project.distill)
    return run


def check_versions(expected: dict[str, str]) -> None:
    """Raises InputError where a worker's packages are not the driver's."""
    for package, theirs in expected.items():
        ours = versions(package).get(package)
        # What follows a plus sign names a build, for a CPU or a GPU: another one of the same version will do.
        if ours is None or ours.split("+")[0] != theirs.split("+")[0]:
            raise InputError(
                f"a worker has {package} {ours or 'not installed'}, expected {theirs}: install the same on all machines"
            )


def state_of(run: "Run") -> Record:
    """What the run knows by now that units depend on and the store does not hold."""
    kinds = run.training.teacher_kinds
    return {
        "caches": [cache.folder.name for cache in run.training.caches],
        "cache_root": str(run.training.cache_root),
        "teacher_kinds": None if kinds is None else sorted(kinds),
        "teacher_accuracy": run.teacher_accuracy,
        "teacher": run.teacher,
        "tuned": None if run.tuned is None else asdict(run.tuned),
        "pilots": run.pilots.found,
    }


def take_state(run: "Run", state: Record, cache_root: Path) -> None:
    """Put a worker's run into the driver's state."""
    from pydantic import TypeAdapter

    from edgekd.distill.recipe import Recipe

    kinds, tuned = state["teacher_kinds"], state["tuned"]
    caches = tuple(cache_at(run, cache_root / name) for name in state["caches"])
    # The run's pilots hold the training: it is changed, never replaced.
    run.training.caches, run.training.cache_root = caches, cache_root
    run.training.teacher_kinds = None if kinds is None else frozenset(kinds)
    run.teacher_accuracy, run.teacher = state["teacher_accuracy"], state["teacher"]
    run.tuned = None if tuned is None else TypeAdapter(Recipe).validate_json(json.dumps(tuned), strict=True)
    run.pilots.found.update(state["pilots"])


def cache_at(run: "Run", folder: Path) -> "TeacherCache":
    from edgekd.distill.cache import TeacherCache

    return TeacherCache(folder=folder, data=run.data, augment=run.training.augment, seed=run.training.view_seed)


def afresh(run: "Run") -> "Run":
    """The same run that has nothing in memory of what it read from the store, but for its pilots."""
    other = replace(run)
    other.__dict__["pilots"] = run.pilots
    if run.supernet is not None and other.supernet is not None:  # parts that take long to make and read nothing
        other.supernet.__dict__ |= {"cutter": run.supernet.cutter, "recipe": run.supernet.recipe}
    return other
