"""The search with one supernet: train it once, measure a few students on each device, predict and rate the others, choose.

    supernet → measure a design → predict → rate those that may fit → measure where it decides → measure the best → finalists

Whatever becomes a finalist is measured. The finalists are the best rated for each deployment of those that measure within budget.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgekd.absence import for_each
from edgekd.deployment import Deployment
from edgekd.outcome import Outcome, TrialRecord
from edgekd.search.budget import held
from edgekd.search.costing import Costing
from edgekd.search.evolution import evolve
from edgekd.search.front import Point, over
from edgekd.search.predictor import FEWEST
from edgekd.search.supernet import Supernet
from edgekd.types import Candidate
from edgekd.workers.task import Task

if TYPE_CHECKING:
    from edgekd.stages import Run

Record = dict[str, Any]
DESIGN_SHARE = 2 / 3
"""Of the students to measure, those spread over the space, but as many as a prediction needs; the others are chosen by what
the first ones said."""
MOST_MISSES = 12
"""Students in a row that measure over budget though they were predicted to fit, before the best measured ones must do."""


@dataclass(kw_only=True)
class Shared:
    """What a search with a supernet has found: ratings of students, costs for each deployment and precision."""

    supernet: Supernet
    costings: dict[str, list[Costing]] = field(default_factory=dict)
    ratings: dict[Candidate, Record] = field(default_factory=dict)

    @property
    def accuracies(self) -> dict[Candidate, float]:
        return {candidate: float(rating["accuracy"]) for candidate, rating in self.ratings.items()}

    def points(self, label: str) -> list[Point]:
        """Every rated student in every precision of a deployment."""
        return [point for costing in self.costings[label] for point in costing.points(self.accuracies)]

    def measured_if_promising(self, candidate: Candidate, deployment: Deployment) -> list[Record]:
        """What the student measures on a deployment in the precisions in which it is not predicted to be over budget."""
        accuracy = {candidate: 1.0}
        promising = [
            costing
            for costing in self.costings[deployment.label]
            if not any(over(point, deployment.budget) for point in costing.points(accuracy))
        ]
        return [costing.measure(candidate) for costing in promising]


def search_shared(run: "Run", supernet: Supernet, outcome: Outcome) -> None:
    """Train the supernet and find the finalists of every open deployment."""
    supernet.cutter.check()
    enumerated = run.project.search.space == "coupled"
    candidates = [c for c in supernet.space.candidates() if run.allowed(c)] if enumerated else supernet.sample()
    size = supernet.space.size
    run.console.say(f"supernet: {size:,} students share {run.params(supernet.space.largest):,} parameters")
    say_trained(run, supernet)
    found = outcome.shared = Shared(supernet=supernet)
    for deployment in outcome.open_deployments:
        found.costings[deployment.label] = [
            Costing(run=run, deployment=deployment, precision=precision, candidates=candidates)
            for precision in deployment.precisions
        ]
    design(run, found, outcome)
    if not enumerated:
        candidates = evolve(run, supernet, found.costings)
        for label, ours in found.costings.items():
            found.costings[label] = [costing.among(candidates) for costing in ours]
    if not outcome.open_deployments:
        return
    rate(run, found, candidates)
    wanted = 1 + (run.project.search.finalists - 1) // len(outcome.open_deployments)

    def finish(deployment: Deployment) -> None:
        for costing in found.costings[deployment.label]:
            refine(run, costing, found)
        settle(run, found, deployment.label, wanted)

    for_each(run, outcome, finish)
    outcome.trials += trials(run, found, outcome)


def say_trained(run: "Run", supernet: Supernet) -> None:
    trained = supernet.trained
    for event in trained["rollbacks"]:
        run.console.say(f"supernet: rolled back at step {event['step']}: {event['cause']}")
    last = trained["curve"][-1]
    run.console.say(f"supernet: the largest student's accuracy {last['accuracy']:.4f} after {last['epoch']} epochs")


def design(run: "Run", found: Shared, outcome: Outcome) -> None:
    """Measure students spread over the space, on every deployment in every precision; of lost devices nothing is kept."""
    measured = run.project.search.measured
    count = max(min(FEWEST, measured), round(DESIGN_SHARE * measured))
    work = {label: [(c, student) for c in ours for student in c.design(count)] for label, ours in found.costings.items()}
    run.workers.warm(run, [screening(run, *pair) for pairs in work.values() for pair in pairs])
    with run.console.bar("measuring", sum(map(len, work.values()))) as bar:

        def measure(deployment: Deployment) -> None:
            for costing, candidate in work[deployment.label]:
                done = sum(len(costing.measured) for ours in found.costings.values() for costing in ours)
                bar.at(done, f"{candidate.id} {deployment.label} / {costing.precision}")
                costing.measure(candidate)

        for_each(run, outcome, measure)
    found.costings = {d.label: found.costings[d.label] for d in outcome.open_deployments}


def screening(run: "Run", costing: Costing, candidate: Candidate) -> Task:
    """What a worker is asked for where the flow is about to measure this student."""
    index = run.deployments.index(costing.deployment)
    return Task(what="screen", candidate=candidate, deployment=index, precisions=(str(costing.precision),))


def rate(run: "Run", found: Shared, candidates: list[Candidate]) -> None:
    """Rate the students that may be the best somewhere."""
    costings = [costing for costings in found.costings.values() for costing in costings]
    promising = set().union(*(costing.promising(found.supernet.space) for costing in costings))
    worth = [candidate for candidate in candidates if candidate in promising]
    run.workers.warm(run, [Task(what="rate", candidate=candidate) for candidate in worth])
    with run.console.bar("rating", len(worth)) as bar:
        for done, candidate in enumerate(worth):
            bar.at(done, candidate.id)
            found.ratings[candidate] = found.supernet.rate(candidate)
    kept = f"{len(found.ratings)} of {len(candidates)}"
    run.console.say(f"supernet: {kept} students rated, the others are over every budget or smaller than need be")


def refine(run: "Run", costing: Costing, found: Shared) -> None:
    """Measure where a measurement says most about which students are within budget."""
    for _ in range(run.project.search.measured - len(costing.measured)):
        candidate = costing.next(found.accuracies)
        if candidate is None:
            break
        costing.measure(candidate)


def settle(run: "Run", found: Shared, label: str, wanted: int) -> None:
    """Measure the best rated students that should hold the budget, until as many as are wanted as finalists really do."""
    costings = found.costings[label]
    budget = held(costings[0].deployment.budget)
    misses = 0
    while misses < MOST_MISSES:
        fitting = sorted((p for p in found.points(label) if not over(p, budget)), key=_rank(found))
        best = list(dict.fromkeys(point.candidate for point in fitting))[:wanted]
        guessed = [(p, c) for p in fitting for c in costings if p.candidate in best and _unmeasured(p, c)]
        if not guessed:
            break
        point, costing = guessed[0]
        misses = 0 if costing.measure(point.candidate)["fits"] else misses + 1
    measured = sum(len(costing.measured) for costing in costings)
    run.console.say(f"{label}: {measured} measurements of {len(costings[0].candidates)} students")


def next_best(run: "Run", found: Shared, outcome: Outcome) -> None:
    """Measure one more good student for each deployment to which nothing that was built ships."""

    def one_more(deployment: Deployment) -> None:
        tried = sum(trial.tried(deployment) for trial in outcome.trials)
        settle(run, found, deployment.label, tried + 1)

    for_each(run, outcome, one_more, outcome.waiting)
    known = {trial.candidate: trial for trial in outcome.trials}
    for fresh in trials(run, found, outcome):
        trial = known.get(fresh.candidate)
        if trial is None:
            outcome.trials.append(fresh)
            continue
        trial.screening |= fresh.screening
        if trial.status == "screened-out":
            trial.status, trial.rank, trial.rungs = fresh.status, fresh.rank, fresh.rungs


def _unmeasured(point: Point, costing: Costing) -> bool:
    return point.precision == str(costing.precision) and point.candidate not in costing.measured


def _rank(found: Shared) -> Any:
    """Best first: the lower cross-entropy, which tells students apart that accuracy on a few thousand samples does not."""
    return lambda point: (found.ratings[point.candidate]["loss"], point.candidate.id)


def trials(run: "Run", found: Shared, outcome: Outcome) -> list[TrialRecord]:
    """Every measured student as a trial; those that are rated and fit somewhere may become finalists, the best rated first."""
    records: dict[Candidate, TrialRecord] = {}
    for label, costings in found.costings.items():
        for costing in costings:
            for candidate, screened in costing.measured.items():
                record = records.setdefault(candidate, TrialRecord(candidate=candidate, params=run.params(candidate)))
                record.screening.setdefault(label, []).append(screened)
    epochs = found.supernet.recipe.epochs
    for candidate, record in records.items():
        rating = found.ratings.get(candidate)
        if rating is not None and record.survives:
            record.status = "rated"
            record.rank = -rating["loss"]
            record.rungs.append({"stage": "supernet", "epochs": epochs, "accuracy": rating["accuracy"]})
    return list(records.values())
