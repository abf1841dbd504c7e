"""What a worker can be asked to do: a name of `TASKS` and what that step takes. To add one, add a function and its line there."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from edgekd.errors import InputError, StageError, did_you_mean
from edgekd.types import Candidate, Precision

if TYPE_CHECKING:
    from edgekd.deployment import Deployment
    from edgekd.outcome import TrialRecord
    from edgekd.stages import Run

Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One step for one candidate. Travels as JSON.

    Args:
        what: a name of `TASKS`.
        deployment: its index in the project, where the step is for one.
        precisions: as printed, where the step is for some; of those that measure, one each.
        stage: of `Run.train`; `epochs` too.
        samples: of a rating; 0 takes as many as the flow's first rating does.
    """

    what: str
    candidate: Candidate
    deployment: int | None = None
    precisions: tuple[str, ...] = ()
    stage: str = "final"
    epochs: int = 0
    samples: int = 0

    def __post_init__(self) -> None:
        if self.what not in TASKS:
            raise InputError(f"no worker can '{self.what}'" + did_you_mean(self.what, TASKS))

    def __str__(self) -> str:
        parts = [self.what, self.candidate.id, *([] if self.deployment is None else [f"deployment {self.deployment}"])]
        parts += [", ".join(self.precisions)] if self.precisions else []
        return " ".join([*parts, self.stage] if self.what == "train" else parts)

    def device(self, run: "Run") -> str | None:
        """The device that it measures on; None where it measures nothing."""
        return self._for(run).device.name if self.what in MEASURING else None

    def is_remote(self, run: "Run") -> bool:
        """Whether it measures on another machine than this one, whatever this one does meanwhile."""
        return self.what in MEASURING and self._for(run).connect is not None

    def to_json(self) -> Record:
        return {**asdict(self), "candidate": {"family": self.candidate.family, "values": self.candidate.values}}

    @classmethod
    def from_json(cls, record: Record) -> Self:
        candidate = Candidate.of(record["candidate"]["family"], record["candidate"]["values"])
        return cls(**{**record, "candidate": candidate, "precisions": tuple(record["precisions"])})

    def _for(self, run: "Run") -> "Deployment":
        assert self.deployment is not None  # what builds or measures is made with one
        return run.deployments[self.deployment]

    @property
    def _formats(self) -> list[Precision]:
        return [Precision.parse(text) for text in self.precisions]


def _screen(run: "Run", task: Task) -> None:
    """Build the untrained candidate and measure it; without `precisions`, until one fits, as the flow does."""
    deployment = task._for(run)
    if not task.precisions:
        run.screen(task.candidate, deployment)
    for precision in task._formats:
        run.screen_one(task.candidate, deployment, precision)


def _train(run: "Run", task: Task) -> None:
    run.train(task.candidate, task.stage, task.epochs)


def _rate(run: "Run", task: Task) -> None:
    """Rate a student of the supernet."""
    assert run.supernet is not None  # only its search asks for ratings
    if task.samples:
        run.supernet.rate(task.candidate, task.samples)
    else:
        run.supernet.rate(task.candidate)


def _build(run: "Run", task: Task) -> None:
    """Build and verify artifacts of a trained candidate; a precision that fails leaves the others."""
    trained = run.train(task.candidate, task.stage, task.epochs)
    for precision in task._formats if trained["failure"] is None else ():
        try:
            run.verified(task.candidate, trained, task._for(run), precision)
        except StageError:
            continue


def _artifact(run: "Run", task: Task) -> None:
    """Build, verify and measure artifacts of a trained candidate."""
    trained = run.train(task.candidate, task.stage, task.epochs)
    for precision in task._formats if trained["failure"] is None else ():
        run.artifact(task.candidate, trained, task._for(run), precision)


TASKS: dict[str, Callable[["Run", Task], None]] = {
    "screen": _screen,
    "train": _train,
    "rate": _rate,
    "build": _build,
    "artifact": _artifact,
}
MEASURING = frozenset({"screen", "artifact"})
"""Those that need a device, and have it to themselves."""


def screening_tasks(run: "Run", candidate: Candidate, deployments: "Sequence[Deployment]") -> list[Task]:
    """Screen a candidate on the devices that are elsewhere, where there are several to be measured at the same time."""
    remote = [run.deployments.index(deployment) for deployment in deployments if deployment.connect is not None]
    return [Task(what="screen", candidate=candidate, deployment=index) for index in remote] if len(remote) > 1 else []


def training_tasks(run: "Run", finalists: "Sequence[TrialRecord]") -> list[Task]:
    """Train each finalist."""
    return [Task(what="train", candidate=trial.candidate, epochs=run.project.distill.epochs) for trial in finalists]


def building_tasks(run: "Run", pairs: "Sequence[tuple[TrialRecord, list[Deployment]]]") -> list[Task]:
    """Build each trained finalist once for each target, measure it on each device.

    Those that come later read what the earlier ones record; workers wait for it.
    """
    epochs, found = run.project.distill.epochs, []
    for trial, deployments in pairs:
        indices = [run.deployments.index(deployment) for deployment in deployments]
        for index, precisions in _by_target(run, indices).items():
            found.append(Task(what="build", candidate=trial.candidate, deployment=index, precisions=precisions, epochs=epochs))
        # One at a time: a worker is sent what is read before the first unit that is missing, and would do the rest once more.
        found += [
            Task(what="artifact", candidate=trial.candidate, deployment=index, precisions=(str(precision),), epochs=epochs)
            for index in indices
            for precision in run.deployments[index].precisions
        ]
    return found


def _by_target(run: "Run", indices: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """All precisions that are built for a target, by the first deployment there: deployments share what is built."""
    first: dict[str, int] = {}
    found: dict[int, tuple[str, ...]] = {}
    for index in indices:
        deployment = run.deployments[index]
        place = first.setdefault(deployment.target.name, index)
        found[place] = tuple(dict.fromkeys([*found.get(place, ()), *map(str, deployment.precisions)]))
    return found
