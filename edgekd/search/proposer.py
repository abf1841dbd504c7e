"""Which candidate to try next: Optuna's TPE over a family's space, told what was measured and how well the survivors learnt.

Source: Bergstra et al. 2011 (TPE); Optuna's constrained sampling and median pruning.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from edgekd.plugins import need
from edgekd.students.space import Space
from edgekd.types import Candidate

MAX_ASKS = 500
"""Proposals in a row that were known or too large before the space counts as exhausted."""
PATIENCE = 20
"""Of those, before candidates are drawn at random: the sampler may keep to what it knows to be good."""
RANDOM_TRIALS = 4
"""Before the sampler trusts what it was told: runs have about a dozen trials, not the hundred that Optuna expects."""


class Trial:
    """One proposal: told the accuracy after each epoch, it says whether to stop."""

    def __init__(self, candidate: Candidate, trial: Any, study: Any, epochs: int) -> None:
        self.candidate, self._trial, self._study, self._epochs = candidate, trial, study, epochs

    def report(self, epoch: int, accuracy: float) -> bool:
        """Whether to stop: this candidate is worse than the median of the others at the same epoch, and not at its end."""
        self._trial.report(accuracy, epoch)
        return epoch < self._epochs and bool(self._trial.should_prune())

    def tell(self, accuracy: float | None, violation: float) -> None:
        """The end of the trial: its accuracy, None where it never trained or failed, and how far it is over budget."""
        from optuna.trial import TrialState

        self._trial.set_constraint("budget", violation)
        if accuracy is None:
            self._study.tell(self._trial, state=TrialState.PRUNED)
        else:
            self._study.tell(self._trial, accuracy)


class Proposer:
    """Proposes candidates that were not proposed before and that `allowed` lets pass; `first` come first."""

    def __init__(
        self,
        space: Space,
        seed: int,
        allowed: Callable[[Candidate], bool],
        first: Iterable[Candidate],
        rung_epochs: int,
    ) -> None:
        optuna = need("optuna", "train", "the search")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space, self._allowed = space, allowed
        self._epochs = rung_epochs
        self._seen: set[Candidate] = set()
        self._rng = np.random.default_rng(seed)
        self._study = optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM_TRIALS, multivariate=True),
            # In the first half of a short schedule the rate is high, and accuracies say little.
            pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=1 + rung_epochs // 2),
        )
        for candidate in first:
            self._study.enqueue_trial(candidate.values)

    def next(self) -> Trial | None:
        """The next trial; None where the space is exhausted."""
        from optuna.trial import TrialState

        for ask in range(MAX_ASKS):
            if ask >= PATIENCE:
                self._study.enqueue_trial(self._space.draw(self._rng).values)
            trial = self._study.ask()
            values = {axis: trial.suggest_categorical(axis, list(choices)) for axis, choices in self._space.axes.items()}
            candidate = Candidate.of(self._space.family, values)
            if candidate not in self._seen and (not self._seen or self._allowed(candidate)):
                self._seen.add(candidate)
                return Trial(candidate, trial, self._study, self._epochs)
            self._study.tell(trial, state=TrialState.FAIL)
        return None
