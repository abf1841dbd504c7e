"""A space too large to go through: NSGA-II over the supernet's ratings and the predicted costs on every deployment.

Source: Deb et al. 2002, doi:10.1109/4235.996017 (NSGA-II), as in Optuna; the constraint is the smallest excess over any budget.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgekd.plugins import need
from edgekd.search.costing import Costing
from edgekd.search.supernet import Supernet
from edgekd.types import Candidate

if TYPE_CHECKING:
    from edgekd.stages import Run

POPULATION = 24
"""Of a generation: runs rate a few hundred students, not the 50,000 of OFA's evolution."""
OVER = 100.0
"""The cross-entropy of a student that is not rated: worse than any."""


def evolve(run: "Run", supernet: Supernet, costings: Mapping[str, Sequence[Costing]]) -> list[Candidate]:
    """Rate up to `[search] trials` students, each generation bred from those that no other beats; all of them, and the measured.

    Objectives are the cross-entropy and, for each deployment and precision, the predicted share of the budget's tightest limit.
    A student over every budget counts as infeasible and is not rated.
    """
    optuna = need("optuna", "train", "the search")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    every = [costing for ours in costings.values() for costing in ours]
    study = optuna.create_study(
        directions=["minimize"] * (1 + len(every)),
        sampler=optuna.samplers.NSGAIISampler(seed=run.seed, population_size=min(POPULATION, run.project.search.trials)),
    )
    for candidate in (supernet.space.largest, supernet.space.smallest):
        study.enqueue_trial(candidate.values)
    seen: dict[Candidate, None] = {}
    with run.console.bar("evolution", run.project.search.trials) as bar:
        for number in range(run.project.search.trials):
            trial = study.ask()
            axes = supernet.space.axes
            values = {axis: trial.suggest_categorical(axis, list(choices)) for axis, choices in axes.items()}
            candidate = Candidate.of(supernet.space.family, values)
            seen[candidate] = None
            bar.at(number, candidate.id)
            shares = [costing.share(candidate) for costing in every]
            excess = min(shares) - 1 if run.allowed(candidate) else 1.0
            trial.set_constraint("budget", excess)
            loss = supernet.rate(candidate)["loss"] if excess <= 0 else OVER
            study.tell(trial, [loss, *shares])
    measured = {candidate: None for costing in every for candidate in costing.measured}
    return [candidate for candidate in {**seen, **measured} if run.allowed(candidate)]
