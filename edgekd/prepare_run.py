"""What a run needs before its first stage: data, family, and all that a project says checked."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from edgekd.bench.settings import Settings
from edgekd.console import Console
from edgekd.data.leakage import check_leakage
from edgekd.data.sources import augment_of, load_data
from edgekd.deployment import Deployment
from edgekd.distill import loss
from edgekd.errors import InputError, did_you_mean
from edgekd.plugins import need
from edgekd.project import Project
from edgekd.store import Store

if TYPE_CHECKING:
    from edgekd.stages import Run


def prepare_run(project: Project, store: Store, console: Console, deployments: tuple[Deployment, ...]) -> "Run":
    """Load the data, find the family and check what the project says of losses and of a teacher's files, before any work."""
    need("torch", "train", "distillation")
    from edgekd.distill.schemes import find_scheme

    run = make_run(project, store, console, deployments)
    for leak in check_leakage(run.data):
        console.say(f"{leak.rule}: {leak.text}; {leak.next_step}")
    for item in project.distill.losses:
        loss(item.name, **item.numbers)
    check_ensemble(project)
    find_scheme(project.distill.scheme.name, project.distill.scheme.numbers)
    check_teacher_references(project)
    return run


def make_run(project: Project, store: Store, console: Console, deployments: tuple[Deployment, ...]) -> "Run":
    """A run without the checks: a worker's, whose driver has made them. No teacher's files need be there."""
    from edgekd.distill.training import Training
    from edgekd.stages import Run
    from edgekd.students import find_family

    data = load_data(project.data, base=project.base)
    if len(data.contract.shape) != 3:
        raise InputError(f"[data] samples have shape {data.contract.shape}: students take pictures (C, H, W)")
    training = Training(
        data=data,
        augment=augment_of(project.data),
        family=find_family(project.students.family, project.base),
        store=store,
        console=console,
        view_seed=project.search.seed,
        cache_root=cache_root(),
    )
    return Run(
        project=project,
        store=store,
        console=console,
        data=data,
        family=training.family,
        training=training,
        deployments=deployments,
        settings=Settings(seed=project.search.seed),
    )


def check_ensemble(project: Project) -> None:
    """Several teachers share logits only: their embeddings and feature maps have no space in common."""
    from edgekd.distill.ensemble import WEIGHTINGS
    from edgekd.distill.objective import Objective

    if project.distill.combine not in WEIGHTINGS:
        name = project.distill.combine
        raise InputError(f"[distill] combine '{name}' is not known" + did_you_mean(name, WEIGHTINGS))
    needs = Objective(project.distill, taught=True).needs & {"embedding", "features", "energy"}
    if len(project.teachers) > 1 and needs:
        raise InputError("[distill] several teachers share logits only: losses on embeddings or feature maps take one teacher")


def check_teacher_references(project: Project) -> None:
    """A teacher that is not there is found before candidates are screened."""
    for settings in project.teachers:
        kind, _, argument = settings.model.partition(":")
        files = [argument] if kind in ("onnx", "keras") else []
        for name in [*files, *([settings.weights] if settings.weights else [])]:
            if not (project.base / name).is_file():
                raise InputError(f"[teacher] there is no file {project.base / name}")
        if kind not in ("onnx", "keras", "builtin"):
            from edgekd.plugins import load_attribute

            load_attribute(settings.model, project.base)


def cache_root() -> Path:
    """Where teachers' answers are kept: shared by all runs of this user, or in `EDGEKD_CACHE`."""
    from platformdirs import user_cache_path

    chosen = os.environ.get("EDGEKD_CACHE")
    return (Path(chosen) if chosen else user_cache_path("edgekd")) / "teacher"
