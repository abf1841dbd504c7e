"""The last part of a run: train the finalists in full, build and measure them, select what ships."""

from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Any

from edgekd.absence import for_each
from edgekd.deployment import Deployment
from edgekd.outcome import Outcome, TrialRecord
from edgekd.types import Candidate
from edgekd.workers.task import building_tasks, training_tasks

if TYPE_CHECKING:
    from edgekd.stages import Run

Record = dict[str, Any]
ROUNDS = 3
"""Times that the next best candidates may follow where what was trained and built does not ship."""


def finish(run: "Run", outcome: Outcome) -> None:
    """Train the finalists in full, build them, select; where none of them ships, the next best follow."""
    for index in range(ROUNDS):
        if index and outcome.shared is not None:
            from edgekd.search.shared import next_best

            next_best(run, outcome.shared, outcome)
        found = outcome.finalists(run.project.search.finalists)
        if outcome.shared is None:
            build_all(run, outcome, found)
        else:
            run.workers.warm(run, training_tasks(run, found))
            for trial in found:
                train(run, outcome, trial)
            build_best(run, outcome)
        for_each(run, outcome, lambda deployment: outcome.select(run, deployment))
    for deployment in outcome.open_deployments:
        if deployment not in outcome.served:
            outcome.explain(run, deployment)


def train(run: "Run", outcome: Outcome, trial: TrialRecord) -> None:
    """Train one finalist in full."""
    trained = trial.full = run.train(trial.candidate, "final", run.project.distill.epochs)
    trial.learnt(trained, "final")
    if trained["failure"] is None:
        advise(run, outcome, trial.candidate, trained)


def build_all(run: "Run", outcome: Outcome, trials: list[TrialRecord]) -> None:
    """Train each finalist, and build it for all that it fits."""
    pairs = [(trial, [d for d in outcome.open_deployments if trial.fits(d)]) for trial in trials]
    run.workers.warm(run, [*training_tasks(run, trials), *building_tasks(run, pairs)])
    for trial in trials:
        train(run, outcome, trial)

    def build(deployment: Deployment) -> None:
        for trial, deployments in pairs:
            if trial.ready and deployment in deployments and not trial.tried(deployment):
                build_one(run, trial, deployment)

    for_each(run, outcome, build)


def build_best(run: "Run", outcome: Outcome) -> None:
    """Build for each deployment the most accurate of all finalists that measures within its budget, until one ships.

    A student that was trained for one deployment may be the best for another, too.
    """
    firsts: list[tuple[TrialRecord, list[Deployment]]] = []

    def first(deployment: Deployment) -> None:
        firsts.extend((trial, [deployment]) for trial in islice(offers(run, outcome, deployment), 1))

    def build(deployment: Deployment) -> None:
        outcome.select(run, deployment)  # what a lost device let wait
        for trial in () if outcome.within(deployment) else offers(run, outcome, deployment):
            build_one(run, trial, deployment)
            outcome.select(run, deployment)
            if outcome.within(deployment):
                return

    waiting = outcome.waiting
    for_each(run, outcome, first, waiting)
    run.workers.warm(run, building_tasks(run, firsts))
    for_each(run, outcome, build, waiting)


def offers(run: "Run", outcome: Outcome, deployment: Deployment) -> Iterator[TrialRecord]:
    """The trained finalists that measure within the budget and were not built for it yet, the most accurate first."""
    ready = [trial for trial in outcome.trials if trial.ready and not trial.tried(deployment)]
    for trial in sorted(ready, key=lambda trial: (-trial.final_accuracy, trial.candidate.id)):
        if outcome.shared is not None and not trial.fits(deployment):
            trial.screening[deployment.label] = outcome.shared.measured_if_promising(trial.candidate, deployment)
        if trial.fits(deployment):
            yield trial


def build_one(run: "Run", trial: TrialRecord, deployment: Deployment) -> None:
    """Build, verify and profile each precision for one deployment."""
    assert trial.full is not None  # what is built is trained
    found = [run.artifact(trial.candidate, trial.full, deployment, precision) for precision in deployment.precisions]
    trial.artifacts += found
    for precision, artifact in zip(deployment.precisions, found, strict=True):
        run.console.say(f"{trial.candidate.id} {deployment.label} / {precision}: {artifact_line(artifact)}")


def advise(run: "Run", outcome: Outcome, candidate: Candidate, trained: Record) -> None:
    """Say so where a student is better than its teacher."""
    from edgekd.distill.answers import Answers
    from edgekd.distill.honest import beats_teacher, right_on

    teacher_right = Answers(caches=run.training.caches).validation().argmax(1) == run.data.validation.labels
    advice = beats_teacher(right_on(run.training, candidate, trained, "validation"), teacher_right)
    if advice is not None:
        outcome.advice.append({"candidate": candidate.id, **asdict(advice)})
        run.console.say(f"{candidate.id}: {advice.rule}: {advice.text}; {advice.next_step}")


def artifact_line(artifact: Record) -> str:
    """One line on an artifact for the console."""
    if artifact["failure"] is not None:
        return f"failed: {artifact['failure']['stage']}: {artifact['failure']['cause']}"
    p90, accuracy = artifact["latency_ms"].get("p90"), artifact["accuracy"]["artifact"]
    latency = "latency unavailable" if p90 is None else f"p90 {p90:.3f} ms"
    return f"accuracy {accuracy:.4f}, {latency}, {artifact['size_bytes']:,} bytes"
