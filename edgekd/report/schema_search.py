"""The part of `report.json` on how students were found: the supernet, its ratings, and for each deployment the evidence.

As `edgekd.search.why`, `hypervolume` and `ranking` make it. `report["search"]` is null where candidates are trained alone.
"""

from typing import Literal

from pydantic import BaseModel, Field

from edgekd.report.schema_base import STRICT, BudgetLimits, Epoch, Kind

Scalar = str | int | float | bool


class _Part(BaseModel):
    model_config = STRICT


class SpaceEntry(_Part):
    """Axes with their values; `candidates` is how many students they make."""

    axes: dict[str, list[Scalar]]
    candidates: int
    coupled: bool


class RollbackEntry(_Part):
    step: int
    cause: str


class SupernetEntry(_Part):
    """The network that holds all students; `candidate` and `params` are the largest one's."""

    candidate: str
    params: int
    epochs: int
    seconds: float
    curve: list[Epoch]
    rollbacks: list[RollbackEntry]


class Rated(_Part):
    """A student as cut out of the supernet, on `samples` samples of the validation split."""

    candidate: str
    values: dict[str, Scalar]
    params: int
    accuracy: float
    loss: float | None = None
    samples: int | None = None


class CostFigure(_Part):
    """A cost with its interval, in the unit of its limit; `low` and `high` are `value` where measured."""

    value: float
    low: float
    high: float
    provenance: Kind


class FrontPoint(_Part):
    candidate: str
    precision: str | None = None
    accuracy: float
    figures: dict[str, CostFigure]


class PredictorEntry(_Part):
    """What predicts the figures that were not measured; `interval_error` is its own estimate of its error, a fraction."""

    measured: int
    interval_error: float | None = None


class HypervolumePoint(_Part):
    measured: int
    value: float


class Binding(_Part):
    limit: str
    value: float
    allowed: float
    share: float
    provenance: Kind | None = None


class RunnerUp(_Part):
    candidate: str
    precision: str | None = None
    accuracy: float
    figures: dict[str, CostFigure]
    text: str


class BudgetStep(_Part):
    """A change of one limit by `by`, in `unit`, and the accuracy that it gains or, below 0, gives up."""

    limit: str
    by: float
    unit: str
    gain: float
    candidate: str
    provenance: Kind
    text: str


class Why(_Part):
    text: str = ""
    binding: Binding | None
    runner_up: RunnerUp | None
    more: list[BudgetStep]
    less: list[BudgetStep] = []
    notes: list[str] = []
    noise: float | None = None


class SearchedDeployment(_Part):
    """All points of one deployment, the cheapest first; `why` is None where nothing was selected.

    `hypervolume_limit` is the cost that the hypervolume is over.
    """

    device: str
    target: str
    precision: str
    selected: str | None = None
    budget: BudgetLimits | None = None
    predictor: PredictorEntry | None
    front: list[FrontPoint]
    hypervolume: list[HypervolumePoint]
    hypervolume_limit: str | None = None
    why: Why | None


class RankedPair(_Part):
    candidate: str
    supernet: float
    alone: float


class RankingEntry(_Part):
    """Kendall's tau-b with its interval; None where one side ranks nothing."""

    kendall_tau: float | None
    low: float | None
    high: float | None
    confidence: float = Field(default=0.95, gt=0, lt=1)
    n: int
    pairs: list[RankedPair]


class Search(_Part):
    method: Literal["supernet"]
    space: SpaceEntry
    supernet: SupernetEntry
    rated: list[Rated]
    deployments: list[SearchedDeployment]
    ranking: RankingEntry | None
