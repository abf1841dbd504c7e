"""Evidence of a search with a supernet: its space, ratings and fronts, why each was selected, how well the supernet ranks."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekd.deployment import Deployment
from edgekd.outcome import Outcome
from edgekd.search.budget import least_accuracy
from edgekd.search.costing import Costing
from edgekd.search.front import LIMITS, Point, figures_record
from edgekd.search.hypervolume import over_time, reference_of
from edgekd.search.ranking import Pair, ranking
from edgekd.search.shared import Shared
from edgekd.search.supernet import RATED_ON
from edgekd.search.why import explain
from edgekd.types import Candidate
from edgekd.workers.task import Task

if TYPE_CHECKING:
    from edgekd.stages import Run

Record = dict[str, Any]


def search_record(run: "Run", outcome: Outcome) -> Record | None:
    """The `search` part of a report; None where candidates were trained one by one, or the supernet never trained."""
    found = outcome.shared
    if found is None or not found.ratings:
        return None
    supernet, settings = found.supernet, run.project.search
    trained = supernet.trained
    return {
        "method": settings.method,
        "space": {
            "axes": {axis: list(values) for axis, values in supernet.space.axes.items()},
            "candidates": supernet.space.size,
            "coupled": settings.space == "coupled",
        },
        "supernet": {
            "candidate": supernet.space.largest.id,
            "params": run.params(supernet.space.largest),
            "epochs": len(trained["curve"]),
            "seconds": trained["curve"][-1]["seconds"],
            "curve": trained["curve"],
            "rollbacks": trained["rollbacks"],
        },
        "rated": [
            {
                "candidate": candidate.id,
                "values": candidate.values,
                "params": run.params(candidate),
                "accuracy": rating["accuracy"],
                "loss": rating["loss"],
            }
            for candidate, rating in found.ratings.items()
        ],
        "deployments": [
            _deployment(run, outcome, found, deployment, costing)
            for deployment in run.deployments
            for costing in found.costings.get(deployment.label, ())
        ],
        "ranking": outcome.ranking,
    }


def _deployment(run: "Run", outcome: Outcome, found: Shared, deployment: Deployment, costing: Costing) -> Record:
    points = costing.points(found.accuracies)
    limit = binding_limit(points, deployment)
    chosen = next((trial.candidate for d, trial, r in outcome.selected if d == deployment and _is(r, costing)), None)
    measured = {point.candidate: point for point in points if point.candidate in costing.measured}
    in_order = [measured[candidate] for candidate in costing.measured if candidate in measured]
    reference = reference_of(points, limit, deployment.budget, 1 / len(run.data.contract.classes))
    return {
        "device": deployment.device.name,
        "target": deployment.target.name,
        "precision": str(costing.precision),
        "hypervolume_limit": limit,
        "selected": None if chosen is None else chosen.id,
        "budget": asdict(deployment.budget),
        "predictor": {"measured": len(costing.measured)} if costing.predictors else None,
        "front": [
            {"candidate": point.id, "precision": point.precision, "accuracy": point.accuracy, "figures": figures_record(point)}
            for point in sorted(points, key=lambda point: _cost(point, limit))
        ],
        "hypervolume": over_time(in_order, limit, reference),
        "why": None if chosen is None else _why(run, points, chosen, deployment, costing),
    }


def _why(run: "Run", points: list[Point], chosen: Candidate, deployment: Deployment, costing: Costing) -> Record | None:
    """None where the selected student was never rated: it came from elsewhere."""
    if not any(point.candidate == chosen for point in points):
        return None
    samples = min(RATED_ON, len(run.data.validation))
    found = explain(
        points,
        chosen,
        deployment.budget,
        precision=str(costing.precision),
        samples=samples,
        least_accuracy=least_accuracy(deployment.budget, run.teacher_accuracy),
    )
    compared = f"these accuracies are the supernet's, on {samples:,} validation samples, before any student's own training"
    return {**found, "notes": [*found["notes"], compared]}


def _is(record: Record, costing: Costing) -> bool:
    return bool(record["precision"] == str(costing.precision))


def binding_limit(points: list[Point], deployment: Deployment) -> str:
    """The limit of the budget that most points are over; latency, or else the first that is known, where none binds."""
    known = [limit for limit in LIMITS if any(limit in point.figures for point in points)] or ["size_bytes"]
    limits = {limit: allowed for limit in known if (allowed := getattr(deployment.budget, limit)) is not None}
    over = {
        limit: sum(p.figures[limit].value > allowed for p in points if limit in p.figures) for limit, allowed in limits.items()
    }
    return max(over, key=lambda limit: over[limit]) if any(over.values()) else next(iter(limits), known[0])


def _cost(point: Point, limit: str) -> tuple[float, str]:
    figure = point.figures.get(limit)
    return (np.inf if figure is None else figure.value, point.id)


def prove_ranking(run: "Run", outcome: Outcome) -> None:
    """Train `[search] ranking` students of the supernet alone, and say how well it ranked them: Kendall's tau.

    They are spread evenly over the rated ones by accuracy. Validation samples, never the test split.
    """
    found, count = outcome.shared, run.project.search.ranking
    if found is None or not count or not found.ratings:
        return
    rated = sorted(found.ratings, key=lambda candidate: (found.ratings[candidate]["accuracy"], candidate.id))
    chosen = [rated[int(row)] for row in np.unique(np.linspace(0, len(rated) - 1, count).astype(int))]
    pairs, epochs = [], run.project.distill.epochs
    run.workers.warm(run, [Task(what="train", candidate=c, stage="alone", epochs=epochs) for c in chosen])
    for candidate in chosen:
        trained = run.train(candidate, "alone", epochs)
        if trained["failure"] is None:
            accuracy = trained["curve"][-1]["accuracy"]
            rating = found.supernet.rate(candidate, len(run.data.validation))["accuracy"]
            pairs.append(Pair(candidate=candidate.id, supernet=rating, alone=accuracy))
            run.console.say(f"{candidate.id}: {rating:.4f} by the supernet, {accuracy:.4f} trained alone")
    if len(pairs) >= 8:
        outcome.ranking = ranking(pairs, np.random.default_rng(run.seed))
        run.console.say(f"supernet: Kendall's tau {outcome.ranking['kendall_tau']:.2f} over {len(pairs)} students")
