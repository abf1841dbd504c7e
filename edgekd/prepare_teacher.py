"""Teachers asked once: each is loaded, checked, made to fill its cache, and let go before the next one is loaded."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekd.errors import InputError
from edgekd.project import TeacherSettings

if TYPE_CHECKING:
    from edgekd.distill.cache import TeacherCache
    from edgekd.stages import Run
    from edgekd.teachers import FeatureRequest


def prepare_teachers(run: "Run", verify_cache: bool) -> None:
    """Fill every teacher's cache with what is missing; the run then knows their answers and accuracy."""
    from edgekd.distill.answers import Answers
    from edgekd.distill.objective import Objective
    from edgekd.distill.training import feature_request

    recipe = run.project.distill
    request = feature_request(recipe.taps, Objective(recipe, taught=True).needs)
    found = [_prepare(run, settings, request, verify_cache) for settings in run.project.teachers]
    run.training.caches = tuple(cache for cache, _ in found)
    members = [record for _, record in found]
    answers = Answers(caches=run.training.caches)
    run.teacher_accuracy = _share_right(answers.validation(), run.data.validation.labels)
    run.teacher = members[0] if len(members) == 1 else _together(run, answers, members)
    text = f"teacher accuracy {run.teacher_accuracy:.4f} on {len(run.data.validation)} validation samples"
    run.console.say(f"{text}, {run.project.views} views cached")


def _prepare(
    run: "Run", settings: TeacherSettings, request: "FeatureRequest | None", verify_cache: bool
) -> "tuple[TeacherCache, dict[str, Any]]":
    from edgekd.distill.cache import open_cache
    from edgekd.teachers.check import check_teacher
    from edgekd.teachers.load import load_teacher

    run.console.say(f"teacher {settings.model}")
    teacher = load_teacher(
        settings.model, settings.weights, data=run.data, base=run.project.base, seed=run.seed, features=request
    )
    check_teacher(teacher, run.data)
    training = run.training
    training.teacher_kinds = teacher.kinds
    views = run.project.views
    cache = open_cache(training.cache_root, teacher, run.data, training.augment, run.seed)
    with run.console.bar("teacher", 1) as bar:

        def show(title: str, done: int, total: int) -> None:
            bar.at(done, "", title, total)

        def fill() -> int:
            return cache.fill(teacher, views, show, request) + cache.fill_corrupted(teacher, show)

        run.store.once("teacher", teacher.fingerprint, fill)
        # What was recorded may since have been deleted; filling again costs nothing where it was not.
        fill()
    if verify_cache:
        run.console.say(f"teacher cache agrees within {cache.verify(teacher, views):.1e} of the largest logit")
    suit = run.store.once("teacher check", [teacher.fingerprint, run.data.fingerprint], lambda: _suitability(run, teacher, cache))
    for advice in suit["advice"]:
        run.console.say(f"teacher {settings.model}: {advice['rule']}: {advice['text']}; {advice['next_step']}")
    stopping = [advice for advice in suit["advice"] if advice["stop"]]
    if stopping:
        raise InputError(f"{stopping[0]['rule']}: {stopping[0]['text']}; {stopping[0]['next_step']}")
    record = run.store.once(
        "teacher accuracy",
        [teacher.fingerprint, run.data.fingerprint],
        lambda: {
            "name": teacher.name,
            "params": teacher.params,
            "accuracy": _share_right(cache.test_logits(), run.data.test.labels),
            "validation_accuracy": _share_right(cache.validation_logits(), run.data.validation.labels),
            "runtime": teacher.runtime,
        },
    )
    return cache, {**record, "check": suit}


def _suitability(run: "Run", teacher: Any, cache: "TeacherCache") -> dict[str, Any]:
    """What the cache says of the teacher in seconds, and what is advised."""
    from edgekd.teachers.reference import linear_reference
    from edgekd.teachers.suitability import assess

    found = assess(
        logits=cache.validation_logits(),
        labels=run.data.validation.labels,
        train_logits=cache.logits(0),
        train_labels=run.data.train.labels,
        reference_right=linear_reference(run.data, run.seed),
        teacher_params=teacher.params,
        student_params=max((run.params(candidate) for candidate in run.first_candidates()), default=None),
    )
    return asdict(found)


def _together(run: "Run", answers: Any, members: list[dict[str, Any]]) -> dict[str, Any]:
    """Several teachers as one: the accuracy of their mean probabilities, and what each adds to it."""
    from edgekd.distill.ensemble import leave_one_out
    from edgekd.distill.objective import loss_temperature

    recipe = run.project.distill
    temperatures = [loss_temperature(item.name, item.numbers) for item in recipe.losses]
    logits = [np.asarray(cache.validation_logits()) for cache in answers.caches]
    # Agreement between gradients needs a student, and there is none yet: what each adds to the plain mean is said instead.
    weighting = "mean_probabilities" if recipe.combine == "ae_kd" else recipe.combine
    contributions = leave_one_out(weighting, logits, run.data.validation.labels, max(temperatures, default=1.0))
    sizes = [member["params"] for member in members]
    return {
        "name": " + ".join(member["name"] for member in members),
        "params": None if None in sizes else sum(sizes),
        "accuracy": _share_right(answers.test(), run.data.test.labels),
        "validation_accuracy": run.teacher_accuracy,
        "runtime": ", ".join(sorted({member["runtime"] for member in members})),
        "contributions_to": weighting,
        "members": [{**member, "contribution": asdict(found)} for member, found in zip(members, contributions, strict=True)],
    }


def _share_right(logits: Any, labels: Any) -> float:
    return float((logits.argmax(1) == labels).mean())
