"""The whole flow on one screen: start reading here.

propose → screen → distil → convert → quantize → verify → profile → observe → select → report

Where asked, the recipe is tuned between the search and the full trainings, and what was selected is trained without its teacher.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekd.absence import attempt, for_each
from edgekd.console import Console
from edgekd.deployment import Deployment, resolve_all
from edgekd.errors import DeviceError, InfeasibleError, NothingPassedError
from edgekd.finish import finish
from edgekd.outcome import Outcome, TrialRecord
from edgekd.project import Project
from edgekd.search.budget import smallest_reachable, violation, with_least_leeway
from edgekd.search.proposer import Proposer
from edgekd.store import Store
from edgekd.workers import Here, Workers
from edgekd.workers.task import screening_tasks

if TYPE_CHECKING:
    from edgekd.stages import Run


def distill(
    project: Project,
    out: Path,
    *,
    console: Console | None = None,
    replay: Path | None = None,
    verify_cache: bool = False,
    honest: int | None = None,
    workers: Workers | None = None,
) -> dict[str, Any]:
    """Turn a teacher into the best artifact for each of a project's devices. Returns the report, written to `out` too.

    Args:
        out: the run's folder; a run that was stopped goes on there.
        replay: another run's folder whose recorded measurements are taken instead of measuring.
        verify_cache: recompute random rows of the teacher cache before trusting it.
        honest: seeds over which what was selected is compared with the same student trained without a teacher; None does not.
        workers: who computes ahead; they are let go of at the end. None computes everything in this process.

    Raises:
        InfeasibleError: where a deployment's budget cannot be met; the report holds the others.
        DeviceError: where a deployment's device failed, or was lost and did not come back; the report holds the others.
        NothingPassedError: where every trial failed, or nothing passed verification.
        InputError, MissingExtraError, StorageError: as their names say.
    """
    console = console or Console()
    deployments = resolve_all(project.deploy)
    with closing(workers or Here()) as workers, opened(project, out, replay) as store:
        from edgekd.prepare_run import prepare_run
        from edgekd.prepare_teacher import prepare_teachers

        run = prepare_run(project, store, console, deployments)
        run.workers = workers
        if honest is not None:
            from edgekd.distill.honest import check_seeds

            check_seeds(honest)
        outcome = Outcome(deployments=deployments)
        screen_smallest(run, outcome)
        if outcome.open_deployments:
            prepare_teachers(run, verify_cache)
            search(run, outcome)
            tune(run, outcome)
            finish(run, outcome)
            prove(run, outcome)
            if honest is not None:
                compare_untaught(run, outcome, honest)
        return conclude(run, outcome)


@contextmanager
def opened(project: Project, out: Path, replay: Path | None) -> Iterator[Store]:
    store = Store(out, replay)
    try:
        store.bind(project.raw, project.base)
        yield store
    finally:
        store.close()


def screen_smallest(run: "Run", outcome: Outcome) -> None:
    """If even the smallest candidate is over a deployment's budget, nothing is trained for it."""
    candidate = run.smallest

    def screen(deployment: Deployment) -> None:
        run.console.say(f"screening {candidate.id} for {deployment.label}")
        records = run.screen(candidate, deployment)
        built = [with_least_leeway(record) for record in records if record["failure"] is None]
        if built and not any(record["fits"] for record in records):
            over, text = smallest_reachable(built, deployment.budget)
            outcome.infeasible(deployment, over, text)
            run.console.say(f"{deployment.label}: infeasible: {text}")

    for_each(run, outcome, screen, patient=False)


def search(run: "Run", outcome: Outcome) -> None:
    """Find the finalists: from one supernet, or by training candidates one by one."""
    if run.supernet is not None:
        from edgekd.search.shared import search_shared

        search_shared(run, run.supernet, outcome)
    else:
        search_separately(run, outcome)


def search_separately(run: "Run", outcome: Outcome) -> None:
    """Screen `trials` candidates and train those that fit somewhere for a rung; the sampler is told what was found."""
    proposer = Proposer(run.space, run.seed, run.allowed, run.first_candidates(), run.project.rung_epochs)
    for index in range(run.project.search.trials):
        trial = proposer.next()
        if trial is None:
            run.console.say(f"the space has no more than {index} candidates that [students] allows")
            break
        record = TrialRecord(candidate=trial.candidate, params=run.params(trial.candidate))
        outcome.trials.append(record)
        present = [deployment for deployment in outcome.open_deployments if deployment not in outcome.absent]
        run.workers.warm(run, screening_tasks(run, trial.candidate, present))
        for deployment in outcome.open_deployments:
            attempt(run, outcome, deployment, partial(screen, run, record))
        excess = max((excess_of(record, deployment) for deployment in outcome.open_deployments), default=0.0)
        if not record.survives:
            record.status = "screened-out"
            trial.tell(None, excess)
        else:
            trained = run.train(trial.candidate, "rung", run.project.rung_epochs, trial)
            record.learnt(trained, "rung")
            trial.tell(record.rung_accuracy if record.status == "trained" else None, excess)
        run.console.say(f"trial {index + 1}/{run.project.search.trials}: {record.summary()}")
    catch_up(run, outcome)


def screen(run: "Run", record: TrialRecord, deployment: Deployment) -> None:
    record.screening[deployment.label] = run.screen(record.candidate, deployment)


def excess_of(record: TrialRecord, deployment: Deployment) -> float:
    """By how much a trial is over a deployment's budget; 0 where it could not be measured there yet."""
    screened = record.screening.get(deployment.label)
    built = [item for item in screened or () if item["failure"] is None]
    return 0.0 if screened is None else violation(built, deployment.budget)


def catch_up(run: "Run", outcome: Outcome) -> None:
    """Screen what a lost device let wait, and train for a rung what turns out to fit only there."""

    def screen_all(deployment: Deployment) -> None:
        for record in outcome.trials:
            if deployment.label not in record.screening:
                screen(run, record, deployment)

    for_each(run, outcome, screen_all)
    for record in outcome.trials:
        if record.status == "screened-out" and record.survives:
            record.learnt(run.train(record.candidate, "rung", run.project.rung_epochs), "rung")


def tune(run: "Run", outcome: Outcome) -> None:
    """Where the project asks for it, search the numbers of its recipe with the best candidate so far; the finalists take them."""
    best = outcome.finalists(1)[:1]
    if run.project.distill.tune_trials and best:
        from edgekd.distill import tune as tuning

        outcome.tuning = tuning.tune(run, best[0].candidate)


def prove(run: "Run", outcome: Outcome) -> None:
    """Where the project asks for it, say how well the supernet ranks its students."""
    if outcome.shared is not None:
        from edgekd.search.evidence import prove_ranking

        prove_ranking(run, outcome)


def compare_untaught(run: "Run", outcome: Outcome, seeds: int) -> None:
    """Train each selected student without its teacher too, over several seeds, and say whether the teacher helped."""
    from edgekd.distill.honest import gain_line, honest_gain

    own = run.project.distill
    # A learning rate that was tuned for soft targets may not suit the plain student: it takes the better of both.
    rates = {own.learning_rate, run.recipe.learning_rate}
    recipes = [replace(run.recipe, learning_rate=rate) for rate in sorted(rates)]
    for candidate in dict.fromkeys(trial.candidate for _, trial, _ in outcome.selected):
        run.console.say(f"{candidate.id}: {seeds} seeds with the teacher and without; its own training is not counted")
        plan = run.plan(candidate, run.pilots.fitting(candidate, run.recipe))
        accuracy = run.teacher["accuracy"]
        entry = honest_gain(run.training, plan, seeds=seeds, teacher_accuracy=accuracy, plain_recipes=recipes)
        outcome.honest.append(entry)
        run.console.say(f"{candidate.id}: {gain_line(entry)}")


def conclude(run: "Run", outcome: Outcome) -> dict[str, Any]:
    """Write the report; then say by the error raised what a script should know."""
    from edgekd.report import write_report
    from edgekd.run_report import make_report, write_cards

    report = make_report(run, outcome)
    write_cards(run, report)
    write_report(report, run.store.folder)
    run.console.say(f"report: {run.store.folder / 'report.html'}")
    failed = outcome.nothing_passed()
    misses = [f"{r['device']} / {r['target']}: infeasible: {r['text']}" for r in outcome.infeasible_records]
    misses += [test_miss(entry) for entry in report["selected"] if not entry["within_budget"]]
    if outcome.lost_records:
        losses = [f"{r['device']} / {r['target']}: device lost: {r['text']}" for r in outcome.lost_records]
        raise DeviceError("; ".join([*losses, *misses]) + "; the same command goes on when it is back")
    if misses:
        raise InfeasibleError("; ".join(misses))
    if failed:
        raise NothingPassedError(failed)
    return report


def test_miss(entry: dict[str, Any]) -> str:
    """What to say of an artifact that was within budget on the validation split, and is not on the test split."""
    validation, test = entry["validation"]["artifact"], entry["accuracy"]["artifact"]
    accuracies = f"accuracy {validation:.4f} on the validation split is {test:.4f} on the test split"
    return f"{entry['device']} / {entry['target']}: selected, but {accuracies}, less than the budget needs"
