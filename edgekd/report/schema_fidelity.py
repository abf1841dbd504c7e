"""The parts of `report.json` on what a teacher is worth: its check, fidelity to it, and the gain over training without it.

As `edgekd.fidelity.measures`, `cka` and `robustness`, `edgekd.teachers.suitability` and `edgekd.distill.honest` make them.
"""

from typing import Literal

from pydantic import BaseModel, Field

from edgekd.report.schema_base import STRICT


class _Part(BaseModel):
    model_config = STRICT


class Bin(_Part):
    lower: float
    upper: float
    samples: int
    confidence: float | None
    accuracy: float | None


class NetworkScores(_Part):
    accuracy: float
    nll: float
    ece: float
    reliability: list[Bin]


class ClassFidelity(_Part):
    name: str
    samples: int
    teacher_accuracy: float | None
    student_accuracy: float | None
    agreement: float | None
    inherited_errors: float | None


class NewConfusion(_Part):
    label: str
    predicted: str
    samples: int


class ComparisonEntry(_Part):
    """A network, the student or the artifact, against the teacher; `student` is the network that is compared."""

    samples: int
    student: NetworkScores
    teacher: NetworkScores
    agreement: float
    top5_agreement: float | None
    kl: float
    inherited_errors: float | None
    classes: list[ClassFidelity]
    new_confusions: list[NewConfusion] = []


class Cka(_Part):
    value: float
    null_mean: float
    null_p95: float
    p_value: float
    samples: int
    permutations: int


class OfEach(_Part):
    """A fraction of each of the three networks."""

    teacher: float
    student: float
    artifact: float


class Condition(_Part):
    corruption: str
    severity: int = Field(ge=1, le=5)
    accuracy: OfEach
    agreement: OfEach


class NetworkRobustness(_Part):
    clean_accuracy: float
    mean_corruption_error: float
    mean_agreement: float
    relative_corruption_error: float | None


class Networks(_Part):
    teacher: NetworkRobustness
    student: NetworkRobustness
    artifact: NetworkRobustness


class RobustnessEntry(_Part):
    samples: int
    conditions: list[Condition]
    networks: Networks


class TeacherFidelity(_Part):
    """Of one artifact and its student to the teacher, on the test split. A part is None where `reasons` says why."""

    student: ComparisonEntry | None
    artifact: ComparisonEntry | None
    cka: Cka | None
    robustness: RobustnessEntry | None
    reasons: dict[str, str]
    provenance: Literal["measured", "emulated"]


class Advice(_Part):
    rule: str
    text: str
    next_step: str
    stop: bool = False


class StudentAdvice(Advice):
    candidate: str


class TeacherCheck(_Part):
    samples: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    train_accuracy: float
    entropy_nats: float
    entropy_share: float
    ece: float
    top2_margin: float
    temperature: float
    params_ratio: float | None
    reference_accuracy: float
    advice: list[Advice]


class Contribution(_Part):
    """Of one teacher of several: accuracy of all on the validation split, with it and without it."""

    accuracy_with: float
    accuracy_without: float


class VariantCurve(_Part):
    epoch: int
    accuracy: float | None = None


class Variant(_Part):
    """A way to train, over the seeds; all lists have one value for each seed."""

    name: str
    accuracies: list[float]
    epochs: list[int]
    seconds: list[float]
    curve: list[VariantCurve] = []


class GainEntry(_Part):
    against: str
    gain_points: float
    interval_points: tuple[float, float] = Field(strict=False)
    seed_gains_points: list[float]
    confidence: float
    samples: int
    verdict: str


class Effectiveness(_Part):
    value: float | None
    reason: str = ""


class Honest(_Part):
    """One selected candidate, trained with its teacher and without it. Without variants where `failure` says why."""

    candidate: str
    seeds: int
    failure: str | None = None
    variants: list[Variant]
    gains: list[GainEntry]
    verdict: str
    transfer_effectiveness: Effectiveness
