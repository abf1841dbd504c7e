"""Temperature, weights and learning rate of a recipe, searched on the validation split by short direct trainings.

The project's own numbers come first, so what is chosen is never worse than they are by the search's own measure; then the
same with half the learning rate, as soft targets often want less than labels do. What differs from the project's own numbers
by no more than chance is not chosen: one standard error of the paired difference, as in search/selection.py.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgekd.distill import LOSSES
from edgekd.distill.objective import loss_temperature, term_names
from edgekd.distill.recipe import Recipe
from edgekd.plugins import load_attribute, need
from edgekd.search.proposer import RANDOM_TRIALS, Trial
from edgekd.types import Candidate

if TYPE_CHECKING:
    from edgekd.stages import Run

Record = dict[str, Any]
TEMPERATURES = (1.0, 20.0)
"""1 does not soften; 20 is the largest that Hinton et al. 2015 (arXiv:1503.02531, section 3) tried."""
WEIGHT_FACTORS = (0.1, 10.0)
"""Weights of published recipes for one loss differ by about as much."""
RATE_FACTORS = (0.1, 2.0)
"""More below than above: the project's rate is one for labels, and the gradient of soft targets adds to theirs."""
HALF = 0.5
"""Of the learning rate, in the second trial."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """Of a number that is searched on a logarithmic scale. It always holds the project's own."""

    own: float
    low: float
    high: float

    @staticmethod
    def around(own: float, factors: tuple[float, float]) -> "Range":
        return Range(own=own, low=own * factors[0], high=own * factors[1])


def ranges(recipe: Recipe) -> dict[str, Range]:
    """What may be tuned, by name. A weight of 0 stays 0, a loss without a temperature gets none."""
    found = {"learning_rate": Range.around(recipe.learning_rate, RATE_FACTORS)}
    if recipe.task_weight:
        found["task_weight"] = Range.around(recipe.task_weight, WEIGHT_FACTORS)
    for name, item in zip(term_names(recipe.losses), recipe.losses, strict=True):
        if item.weight:
            found[f"{name} weight"] = Range.around(item.weight, WEIGHT_FACTORS)
            if takes_temperature(item.name):
                own = loss_temperature(item.name, item.numbers)
                found[f"{name} temperature"] = Range(own=own, low=min(own, TEMPERATURES[0]), high=max(own, TEMPERATURES[1]))
    return found


def takes_temperature(name: str) -> bool:
    return "temperature" in inspect.signature(load_attribute(LOSSES.get(name, name), None)).parameters


def with_numbers(recipe: Recipe, numbers: Mapping[str, float]) -> Recipe:
    """The recipe with these numbers, by the names of `ranges`, in place of its own."""
    losses = []
    for name, item in zip(term_names(recipe.losses), recipe.losses, strict=True):
        softened = {"temperature": numbers[f"{name} temperature"]} if f"{name} temperature" in numbers else {}
        weight = numbers.get(f"{name} weight", item.weight)
        losses.append(replace(item, weight=weight, numbers={**item.numbers, **softened}))
    return replace(
        recipe,
        losses=tuple(losses),
        task_weight=numbers.get("task_weight", recipe.task_weight),
        learning_rate=numbers["learning_rate"],
    )


class Tuner:
    """Proposes numbers for a recipe: its own, then half its learning rate, then Optuna's TPE, with median pruning.

    Args:
        epochs: of each short training.
        seed: of the sampler.
    """

    def __init__(self, recipe: Recipe, candidate: Candidate, epochs: int, seed: int) -> None:
        optuna = need("optuna", "train", "tuning")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._candidate, self._epochs, self._ranges = candidate, epochs, ranges(recipe)
        self.own = {name: found.own for name, found in self._ranges.items()}
        self._study = optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM_TRIALS, multivariate=True),
            # As in the search of candidates: while the rate is high, accuracies say little.
            pruner=optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=1 + epochs // 2),
        )
        self._study.enqueue_trial(self.own)
        self._study.enqueue_trial({**self.own, "learning_rate": HALF * recipe.learning_rate})

    def next(self) -> tuple[dict[str, float], Trial]:
        """The numbers to try next, by name, and the trial that is told how they do."""
        asked = self._study.ask()
        numbers = {name: asked.suggest_float(name, r.low, r.high, log=True) for name, r in self._ranges.items()}
        return numbers, Trial(self._candidate, asked, self._study, self._epochs)


def tune(run: "Run", candidate: Candidate) -> Record:
    """Search numbers for the project's recipe with short trainings of `candidate`, and make what wins the run's recipe.

    Returns:
        `report["tuning"]`: the trials with their numbers and validation accuracies, and which was chosen.
    """
    own, epochs = run.project.distill, run.project.rung_epochs
    # What short trainings leave out keeps the project's numbers.
    tuner = Tuner(run.pilots.fitting(candidate, own, final=False), candidate, epochs, run.seed)
    tried: list[tuple[Recipe, Record]] = []
    trials: list[Record] = []
    for index in range(own.tune_trials):
        numbers, trial = tuner.next()
        # The project's own numbers are those of the candidate's rung, which is recorded.
        recipe, label = (own, "rung") if numbers == tuner.own else (with_numbers(own, numbers), "tune")
        trained = run.train(candidate, label, epochs, trial, recipe)
        accuracy = _accuracy(trained)
        trial.tell(accuracy, 0.0)
        tried.append((recipe, trained))
        trials.append({"numbers": numbers, "accuracy": accuracy, "status": _status(trained)})
        run.console.say(f"tuning {index + 1}/{own.tune_trials}: {trial_line(trials[-1])}")
    chosen, reason = _choose(run, candidate, [trained for _, trained in tried])
    run.tuned = tried[chosen][0]
    run.console.say(f"tuning: {reason}: {numbers_text(trials[chosen]['numbers'])}")
    return {
        "candidate": candidate.id,
        "epochs": epochs,
        "trials": trials,
        "chosen": chosen,
        "reason": reason,
        "accuracy": trials[chosen]["accuracy"],
        "untuned_accuracy": trials[0]["accuracy"],
    }


def _choose(run: "Run", candidate: Candidate, trained: list[Record]) -> tuple[int, str]:
    """The number of the best trial, or 0 for the project's own numbers where they do as well; and why."""
    from edgekd.distill.honest import right_on
    from edgekd.search.selection import ties
    from edgekd.verify import pack

    accuracies = [_accuracy(record) for record in trained]
    whole = [index for index, accuracy in enumerate(accuracies) if accuracy is not None]
    best = max(whole, key=lambda index: accuracies[index] or 0.0, default=0)
    if best == 0:
        return 0, "the project's own numbers are the best"
    found = f"accuracy {accuracies[best]:.4f}"
    if accuracies[0] is None:
        return best, f"{found}, where the project's own numbers failed"
    correct = [{"correct": pack(right_on(run.training, candidate, trained[index], "validation"))} for index in (0, best)]
    against = f"{found} against {accuracies[0]:.4f} of the project's own numbers"
    if ties(*correct):
        return 0, f"{against} is within one standard error; they are kept"
    return best, against


def _accuracy(trained: Record) -> float | None:
    """On the validation split; None where the training failed or was ended early."""
    return float(trained["curve"][-1]["accuracy"]) if _status(trained) == "trained" and trained["curve"] else None


def _status(trained: Record) -> str:
    if trained["failure"] is not None:
        return "failed"
    return "pruned" if trained["stopped"] == "pruned" else "trained"


def trial_line(trial: Mapping[str, Any]) -> str:
    """One line on a trial for the console."""
    found = trial["status"] if trial["accuracy"] is None else f"accuracy {trial['accuracy']:.4f}"
    return f"{found}, {numbers_text(trial['numbers'])}"


def numbers_text(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in numbers.items())
