"""The shape of `report.json`, schema `edgekd.run/1`, as pydantic reads it. Imported only when a report is checked.

Strict about what it knows: a wrong type, a missing key or a number that is not finite is an error. Keys that it does not
know are kept, so that a report of a newer edgekd of the same schema can still be read.

Versions: 1 (edgekd 0.1) the first.
"""

from typing import Any, Literal

from pydantic import BaseModel, Field

from edgekd.report.schema_base import STRICT, BudgetLimits, Epoch, Kind
from edgekd.report.schema_fidelity import Contribution, Honest, StudentAdvice, TeacherCheck, TeacherFidelity
from edgekd.report.schema_search import Search


class _Part(BaseModel):
    model_config = STRICT


class Latency(_Part):
    """Statistics in ms; p99 only where the samples allow it; None where unavailable."""

    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    n: int = 0
    provenance: Kind
    reason: str | None = None


class Figure(_Part):
    """One value; None where unavailable."""

    value: float | None = None
    provenance: Kind
    reason: str | None = None


class Accuracy(_Part):
    """Fractions on `split`; `artifact` is that of the built file itself."""

    student: float | None = None
    artifact: float | None = None
    split: str


class Fidelity(_Part):
    """As `edgekd.types.Fidelity`; `snr_db` is None where artifact and student are equal to the last bit."""

    samples: int
    max_abs_error: float
    max_abs_logit: float
    snr_db: float | None
    agreement: float
    margin_disagreements: int
    accuracy: float


class FailureEntry(_Part):
    stage: str
    cause: str
    hint: str = ""


class Values(_Part):
    """Raw values, in the order they were taken."""

    latency_ms: list[float] = []


class Confirmed(_Part):
    """What a second measurement of the selected artifact gave, in new processes."""

    latency_ms: Latency
    peak_memory_bytes: Figure


class Selected(_Part):
    device: str
    target: str
    precision: str
    candidate: str
    params: int
    artifact: str
    sha256: str
    accuracy: Accuracy
    latency_ms: Latency
    peak_memory_bytes: Figure
    size_bytes: int
    energy_mj: Figure
    fidelity: Fidelity
    budget: BudgetLimits
    within_budget: bool
    unmeasured: list[str]
    operators: dict[str, int] = {}
    teacher_fidelity: TeacherFidelity | None = None
    values: Values = Values()
    conditions: dict[str, Any] = {}
    warnings: list[str] = []
    confirmed: Confirmed | None = None
    leeway: dict[str, float] = {}


class Infeasible(_Part):
    device: str
    target: str
    limit: str
    smallest: float
    text: str


class Lost(_Part):
    """A deployment whose device failed, or was lost and did not come back."""

    device: str
    target: str
    cause: str
    text: str


class Screening(_Part):
    """Figures of the untrained candidate; None where it could not be built."""

    device: str
    target: str
    precision: str
    latency_ms: Latency | None = None
    peak_memory_bytes: Figure | None = None
    size_bytes: int | None = None
    fits: bool
    failure: FailureEntry | None = None


class Built(_Part):
    """One artifact of a trial; figures are None where a stage before them failed."""

    device: str
    target: str
    precision: str
    artifact: str | None = None
    sha256: str | None = None
    accuracy: Accuracy | None = None
    latency_ms: Latency | None = None
    values: Values | None = None
    peak_memory_bytes: Figure | None = None
    size_bytes: int | None = None
    energy_mj: Figure | None = None
    fidelity: Fidelity | None = None
    within_budget: bool | None = None
    unmeasured: list[str] = []
    failure: FailureEntry | None = None


class Rung(_Part):
    epochs: int
    accuracy: float


class TrialEntry(_Part):
    candidate: str
    family: str
    values: dict[str, str | int | float | bool]
    params: int | None
    status: Literal["selected", "trained", "rated", "pruned", "screened-out", "failed"]
    failure: FailureEntry | None = None
    screening: list[Screening] = []
    rungs: list[Rung] = []
    curve: list[Epoch] = []
    artifacts: list[Built] = []


class DataEntry(_Part):
    name: str
    train: int
    validation: int
    test: int
    classes: list[str]


class TeacherMember(_Part):
    """One teacher of several."""

    name: str
    params: int | None
    accuracy: float | None
    validation_accuracy: float | None = None
    runtime: str | None = None
    check: TeacherCheck | None = None
    contribution: Contribution | None = None


class TeacherEntry(TeacherMember):
    """The teacher, or several as one: then `members` are theirs."""

    members: list[TeacherMember] = []


class Environment(_Part):
    python: str | None = None
    platform: str | None = None
    cpu: str | None = None
    cores: int | None = None
    packages: dict[str, str] = {}


class Report(_Part):
    schema_: Literal["edgekd.run/1"] = Field(alias="schema")
    created: str
    project: dict[str, Any]
    data: DataEntry
    teacher: TeacherEntry
    selected: list[Selected]
    infeasible: list[Infeasible]
    lost: list[Lost] = []
    honest: list[Honest] | None = None
    advice: list[StudentAdvice] = []
    search: Search | None = None
    trials: list[TrialEntry]
    timings_s: dict[str, float]
    environment: Environment
