"""What a run needs before its first stage: data, family, and later the teacher with its cache filled."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from edgekd.bench.settings import Settings
from edgekd.console import Console
from edgekd.data.sources import augment_of, load_data
from edgekd.deployment import Deployment
from edgekd.distill import loss
from edgekd.errors import InputError
from edgekd.plugins import need
from edgekd.project import Project
from edgekd.store import Store

if TYPE_CHECKING:
    from edgekd.stages import Run


def prepare_run(project: Project, store: Store, console: Console, deployments: tuple[Deployment, ...]) -> "Run":
    """Load the data, find the family and check what the project says of losses and of a teacher's files, before any work."""
    need("torch", "train", "distillation")
    from edgekd.stages import Run
    from edgekd.students import find_family

    data = load_data(project.data, base=project.base)
    if len(data.contract.shape) != 3:
        raise InputError(f"[data] samples have shape {data.contract.shape}: students take pictures (C, H, W)")
    for item in project.distill.losses:
        loss(item.name, **item.numbers)
    check_teacher_reference(project)
    return Run(
        project=project,
        store=store,
        console=console,
        data=data,
        augment=augment_of(project.data),
        family=find_family(project.students.family, project.base),
        deployments=deployments,
        settings=Settings(seed=project.search.seed),
    )


def check_teacher_reference(project: Project) -> None:
    """A teacher that is not there is found before candidates are screened."""
    kind, _, argument = project.teacher.model.partition(":")
    files = [argument] if kind in ("onnx", "keras") else []
    for name in [*files, *([project.teacher.weights] if project.teacher.weights else [])]:
        if not (project.base / name).is_file():
            raise InputError(f"[teacher] there is no file {project.base / name}")
    if kind not in ("onnx", "keras", "builtin"):
        from edgekd.plugins import load_attribute

        load_attribute(project.teacher.model, project.base)


def cache_root() -> Path:
    """Where teachers' answers are kept: shared by all runs of this user, or in `EDGEKD_CACHE`."""
    from platformdirs import user_cache_path

    chosen = os.environ.get("EDGEKD_CACHE")
    return (Path(chosen) if chosen else user_cache_path("edgekd")) / "teacher"


def prepare_teacher(run: "Run", verify_cache: bool) -> None:
    """Load and check the teacher, and fill its cache with what is missing."""
    from edgekd.distill.cache import open_cache
    from edgekd.teachers.check import accuracy, check_teacher
    from edgekd.teachers.load import load_teacher

    settings = run.project.teacher
    run.console.say(f"teacher {settings.model}")
    teacher = load_teacher(settings.model, settings.weights, data=run.data, base=run.project.base, seed=run.seed)
    check_teacher(teacher, run.data)
    views = min(run.project.distill.views, run.project.distill.epochs)
    cache = open_cache(cache_root(), teacher, run.data, run.augment, run.seed)
    with run.console.bar("teacher", 1) as bar:
        run.store.once("teacher", teacher.fingerprint, lambda: cache.fill(teacher, views, lambda t, a, b: bar.at(a, "", t, b)))
        # What was recorded may since have been deleted; filling again costs nothing where it was not.
        cache.fill(teacher, views, lambda title, done, total: bar.at(done, "", title, total))
    if verify_cache:
        run.console.say(f"teacher cache agrees within {cache.verify(teacher, views):.1e} of the largest logit")
    answers = cache.validation_logits().argmax(1)
    run.cache = cache
    run.teacher_accuracy = float((answers == run.data.validation.labels).mean())
    run.teacher = run.store.once(
        "teacher accuracy",
        [teacher.fingerprint, run.data.fingerprint],
        lambda: {
            "name": teacher.name,
            "params": teacher.params,
            "accuracy": accuracy(teacher, run.data.test, run.data.contract),
            "validation_accuracy": run.teacher_accuracy,
            "runtime": teacher.runtime,
        },
    )
    run.console.say(f"teacher accuracy {run.teacher_accuracy:.4f} on {len(answers)} validation samples, {views} views cached")
