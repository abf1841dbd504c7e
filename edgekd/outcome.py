"""What a run has found so far: its trials, what is infeasible, what was selected."""

from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from edgekd.deployment import Deployment
from edgekd.errors import DeviceError
from edgekd.search.budget import Over, least_accuracy, number, over_budget, smallest_reachable
from edgekd.search.selection import choose
from edgekd.types import Candidate

if TYPE_CHECKING:
    from edgekd.absence import Absence
    from edgekd.search.shared import Shared
    from edgekd.stages import Run

Record = dict[str, Any]


@dataclass(kw_only=True)
class TrialRecord:
    """One candidate: how it screened for each deployment, how it learnt, what was built of it."""

    candidate: Candidate
    params: int
    status: str = "screened-out"
    failure: Record | None = None
    rank: float | None = None
    """What finalists are chosen by, more is better; None goes by the accuracy of the first rung."""
    screening: dict[str, list[Record]] = field(default_factory=dict)
    rungs: list[Record] = field(default_factory=list)
    curve: list[Record] = field(default_factory=list)
    artifacts: list[Record] = field(default_factory=list)
    full: Record | None = None
    """Of its training as a finalist."""

    @property
    def ready(self) -> bool:
        """Whether it is trained in full."""
        return self.full is not None and self.full["failure"] is None

    @property
    def final_accuracy(self) -> float:
        """On the validation split, trained in full and not built yet."""
        return float(self.full["curve"][-1]["accuracy"]) if self.full else 0.0

    def tried(self, deployment: Deployment) -> bool:
        """Whether it was built for the deployment."""
        return any(_is_for(record, deployment) for record in self.artifacts)

    def fits(self, deployment: Deployment) -> bool:
        return any(record["fits"] for record in self.screening.get(deployment.label, ()))

    @property
    def survives(self) -> bool:
        """Whether it fits anywhere."""
        return any(record["fits"] for records in self.screening.values() for record in records)

    @property
    def rung_accuracy(self) -> float:
        return float(self.rungs[0]["accuracy"]) if self.rungs else 0.0

    def learnt(self, trained: Record, stage: str) -> None:
        """Take up the end of a training."""
        self.failure = trained["failure"]
        if trained["curve"]:
            self.curve = trained["curve"]
            self.rungs.append({"stage": stage, "epochs": len(self.curve), "accuracy": self.curve[-1]["accuracy"]})
        if self.failure is not None:
            self.status = "failed"
        else:
            self.status = "pruned" if trained["stopped"] == "pruned" else "trained"

    def summary(self) -> str:
        """One line for the console."""
        text = f"{self.candidate.id}, {self.params:,} parameters: {self.status}"
        failures = [r["failure"] for records in self.screening.values() for r in records if r["failure"]]
        failure = self.failure or (failures[0] if failures and not self.survives else None)
        if failure:
            return f"{text}: {failure['stage']}: {failure['cause']}"
        return f"{text}, accuracy {self.rung_accuracy:.4f} after {self.rungs[0]['epochs']} epochs" if self.rungs else text


@dataclass(kw_only=True)
class Outcome:
    deployments: tuple[Deployment, ...]
    trials: list[TrialRecord] = field(default_factory=list)
    infeasible_records: list[Record] = field(default_factory=list)
    selected: list[tuple[Deployment, TrialRecord, Record]] = field(default_factory=list)
    closed: list[Deployment] = field(default_factory=list)
    absent: dict[Deployment, "Absence"] = field(default_factory=dict)
    """Whose devices are lost for now."""
    lost_records: list[Record] = field(default_factory=list)
    tuning: Record | None = None
    honest: list[Record] = field(default_factory=list)
    advice: list[Record] = field(default_factory=list)
    shared: "Shared | None" = None
    ranking: Record | None = None

    @property
    def open_deployments(self) -> list[Deployment]:
        """Those that something may still be found for."""
        return [deployment for deployment in self.deployments if deployment not in self.closed]

    def infeasible(self, deployment: Deployment, over: Over, text: str) -> None:
        names = {"device": deployment.device.name, "target": deployment.target.name}
        self.infeasible_records.append({**names, "limit": over.limit, "smallest": over.value, "text": text})
        self.closed.append(deployment)

    def lose(self, deployment: Deployment, error: DeviceError) -> None:
        """The device failed, or does not come back."""
        names = {"device": deployment.device.name, "target": deployment.target.name}
        self.lost_records.append({**names, "cause": getattr(error, "cause", "failed"), "text": str(error)})
        self.absent.pop(deployment, None)
        self.closed.append(deployment)

    @property
    def ranked(self) -> list[TrialRecord]:
        """Those that may be finalists, the best first."""
        able = (t for t in self.trials if t.status in ("trained", "rated"))
        return sorted(able, key=lambda t: (-(t.rung_accuracy if t.rank is None else t.rank), t.candidate.id))

    @property
    def waiting(self) -> list[Deployment]:
        """Those that nothing was built for yet that is verified and within the budget's costs."""
        return [deployment for deployment in self.open_deployments if not self.within(deployment)]

    @property
    def served(self) -> list[Deployment]:
        """Those that something ships to."""
        return [deployment for deployment, _, _ in self.selected]

    def finalists(self, count: int) -> list[TrialRecord]:
        """What to train in full next: the best untried candidate of each waiting deployment, by turns the next up to `count`.

        What full trainings cost does not grow with the deployments, as long as there are no more of them than `count`.
        Each candidate comes once, the best first.
        """
        queues = [[t for t in self.ranked if t.fits(d) and not t.tried(d)] for d in self.waiting]
        chosen: dict[str, TrialRecord] = {}
        for turn, offered in enumerate(zip_longest(*queues)):
            for trial in filter(None, offered):
                if turn == 0 or len(chosen) < count:
                    chosen[trial.candidate.id] = trial
        return [trial for trial in self.ranked if trial.candidate.id in chosen]

    def within(self, deployment: Deployment) -> bool:
        """Whether an artifact is verified and within the budget's costs."""
        built = [r for t in self.trials for r in t.artifacts if _is_for(r, deployment)]
        return any(r["failure"] is None and not over_budget(r, deployment.budget) for r in built)

    def select(self, run: "Run", deployment: Deployment) -> None:
        """Choose what ships to a deployment, of what is built; nothing where nothing holds its budget when measured again."""
        built = [(trial, record) for trial in self.trials for record in trial.artifacts if _is_for(record, deployment)]
        verified = [record for _, record in built if record["failure"] is None]
        while deployment not in self.served and (best := choose(verified, deployment.budget)) is not None:
            trial = next(trial for trial, record in built if record is best)
            best |= run.confirm(best, trial.candidate, deployment)
            if best["within_budget"]:
                trial.status = "selected"
                self.selected.append((deployment, trial, best))

    def explain(self, run: "Run", deployment: Deployment) -> None:
        """Say what keeps everything that was built from a deployment to which nothing ships."""
        built = [record for trial in self.trials for record in trial.artifacts if _is_for(record, deployment)]
        verified = [record for record in built if record["failure"] is None]
        if verified and all(over_budget(record, deployment.budget) for record in verified):
            self.infeasible(deployment, *smallest_reachable(verified, deployment.budget))
        elif verified:
            self._too_inaccurate(run, deployment, verified)

    def _too_inaccurate(self, run: "Run", deployment: Deployment, verified: list[Record]) -> None:
        within = [record for record in verified if not over_budget(record, deployment.budget)]
        reached = max(float(record["accuracy"]["artifact"]) for record in within)
        needed = least_accuracy(deployment.budget, run.teacher_accuracy) or 0.0
        limit = "min_accuracy" if needed == deployment.budget.min_accuracy else "max_accuracy_drop"
        text = f"best reachable accuracy {number(reached)} within the other limits, the budget needs {number(needed)}"
        self.infeasible(deployment, Over(limit=limit, value=reached, allowed=needed), text)

    def nothing_passed(self) -> str:
        """Why a deployment has neither an artifact nor an infeasible budget; empty where none is so."""
        for deployment in self.open_deployments:
            if deployment in self.served:
                continue
            failures = [r["failure"] for t in self.trials for r in t.artifacts if _is_for(r, deployment)]
            failures += [t.failure for t in self.trials] + [
                r["failure"] for t in self.trials for r in t.screening.get(deployment.label, ())
            ]
            cause = next((f"{f['stage']}: {f['cause']}" for f in failures if f), "no candidate fits its budget")
            return f"{deployment.label}: no artifact passed: {cause}; the report has every trial"
        return ""


def _is_for(record: Record, deployment: Deployment) -> bool:
    return (record["device"], record["target"]) == (deployment.device.name, deployment.target.name)
