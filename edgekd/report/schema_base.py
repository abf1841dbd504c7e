"""What every part of the schema shares: strict about the types of the keys it knows, other keys are kept."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

STRICT = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)
Kind = Literal["measured", "emulated", "predicted", "modelled", "unavailable"]


class Epoch(BaseModel):
    """One epoch of training; `loss` is None where it was not finite."""

    model_config = STRICT
    epoch: int
    loss: float | None = None
    accuracy: float | None = None
    agreement: float | None = None
    seconds: float | None = None
    gradient_ratios: dict[str, float | None] = {}


class BudgetLimits(BaseModel):
    model_config = STRICT
    latency_ms: float | None = None
    latency_percentile: int = 90
    peak_memory_bytes: float | None = None
    size_bytes: float | None = None
    energy_mj: float | None = None
    min_accuracy: float | None = None
    max_accuracy_drop: float | None = None
