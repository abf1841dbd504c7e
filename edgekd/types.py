"""The words of edgekd: frozen values that travel between the stages and into reports.

The unit is in the name, and the name is the same in TOML, here, in JSON and in reports. Every figure travels with its
provenance. Nothing here imports torch, a converter or a runtime.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from edgekd.errors import InputError, did_you_mean

Scalar: TypeAlias = str | int | float | bool
Layout: TypeAlias = Literal["NCHW", "NHWC", "NC"]


class Provenance(StrEnum):
    """How a figure was got; a figure of a lower kind is never shown as one of a higher."""

    MEASURED = "measured"
    EMULATED = "emulated"
    PREDICTED = "predicted"
    MODELLED = "modelled"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits of one deployment; None is no limit. Accuracies are fractions, `max_accuracy_drop` is against the teacher."""

    latency_ms: float | None = None
    latency_percentile: int = 90
    peak_memory_bytes: int | None = None
    size_bytes: int | None = None
    energy_mj: float | None = None
    min_accuracy: float | None = None
    max_accuracy_drop: float | None = None

    def __post_init__(self) -> None:
        for limit in ("latency_ms", "peak_memory_bytes", "size_bytes", "energy_mj"):
            value = getattr(self, limit)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{limit} is {value}, expected a number above 0")
        if not 50 <= self.latency_percentile <= 99:
            raise InputError(f"latency_percentile is {self.latency_percentile}, expected 50 to 99")
        for share in ("min_accuracy", "max_accuracy_drop"):
            value = getattr(self, share)
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"{share} is {value}, expected a fraction from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class Precision:
    """Number format of an artifact: bits of weights and activations; `dynamic` scales activations at run time.

    Printed as `fp32`, `fp16`, `w8` (weights only), `w4`, `w8a8` (static), `w8a8-dynamic`.
    """

    weights: int
    activations: int
    dynamic: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the printed form. Raises InputError for anything else."""
        if text in ("fp32", "fp16"):
            bits = int(text[2:])
            return cls(weights=bits, activations=bits)
        found = re.fullmatch(r"w(8|4)(?:a(8)(-dynamic)?)?", text)
        if not found:
            raise InputError(f"precision '{text}' is not known" + did_you_mean(text, KNOWN_PRECISIONS))
        weights, activations, dynamic = found.groups()
        return cls(weights=int(weights), activations=int(activations or 32), dynamic=dynamic is not None)

    def __str__(self) -> str:
        if self.weights == self.activations and self.weights > 8:
            return f"fp{self.weights}"
        activations = f"a{self.activations}" if self.activations == 8 else ""
        return f"w{self.weights}{activations}" + ("-dynamic" if self.dynamic else "")

    @property
    def is_float(self) -> bool:
        """Whether weights stay floating point, so that no calibration data is needed."""
        return self.weights > 8


KNOWN_PRECISIONS = ("fp32", "fp16", "w8", "w4", "w8a8", "w8a8-dynamic")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A student architecture: a family and a value for each of its axes. Hashable; its id names its folder."""

    family: str
    params: tuple[tuple[str, Scalar], ...]

    @classmethod
    def of(cls, family: str, params: Mapping[str, Scalar]) -> Self:
        return cls(family=family, params=tuple(sorted(params.items())))

    @property
    def values(self) -> dict[str, Scalar]:
        return dict(self.params)

    @property
    def id(self) -> str:
        return f"{self.family.split(':')[-1]}-{digest([self.family, self.params])[:10]}"


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output of an artifact, as its runtime wants it. `shape` includes the batch of 1.

    `scale` and `zero_point` are set where the artifact takes or gives integers: real = (integer - zero_point) * scale.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: Layout
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True, kw_only=True)
class Contract:
    """How to feed an artifact and read its answer; travels in its metadata and as JSON beside it.

    input = (value / value_max - mean) / std, channel by channel, where `value` is the raw pixel or feature.
    `image_size` is (height, width) that raw images are resized to before anything else; None keeps them.
    """

    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    value_max: float
    shape: tuple[int, ...]
    """Of one raw sample, channels first: (C, H, W), or (F,)."""
    image_size: tuple[int, int] | None = None
    output: Literal["logits"] = "logits"
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()

    def to_json(self) -> str:
        return json.dumps({"schema": "edgekd.contract/1", **asdict(self)}, indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote. Raises InputError for anything else: artifacts come from anywhere."""
        try:
            document = json.loads(text)
            schema = document.pop("schema")
            if schema != "edgekd.contract/1":
                raise InputError(f"contract has schema '{schema}', expected 'edgekd.contract/1'")
            for key in ("inputs", "outputs"):
                document[key] = tuple(TensorSpec(**{**spec, "shape": tuple(spec["shape"])}) for spec in document[key])
            for key in ("classes", "mean", "std", "shape", "image_size"):
                document[key] = None if document[key] is None else tuple(document[key])
            return cls(**document)
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise InputError(f"contract of the artifact cannot be read: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A built model file (or folder of files) for one target, with the contract that it carries."""

    path: Path
    target: str
    precision: Precision
    contract: Contract
    size_bytes: int
    sha256: str
    parent: str
    """Hash of what it was built from: the student's weights."""
    tools: dict[str, str]
    """Versions of the converter, the quantizer and their framework."""


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """How an artifact's answers compare with its student's, over `samples` real inputs.

    `margin_disagreements` counts samples whose top-1 differs though the student's margin exceeds 2 · max_abs_error.
    """

    samples: int
    max_abs_error: float
    max_abs_logit: float
    snr_db: float | None
    """None where it is no number: both are equal to the last bit, or the student's answers are all 0."""
    agreement: float
    margin_disagreements: int
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Raw values of one metric, in the order they were taken, and the conditions they were taken under."""

    metric: Literal["latency_ms", "peak_memory_bytes", "size_bytes", "energy_mj"]
    values: tuple[float, ...]
    provenance: Provenance
    conditions: dict[str, Scalar] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    reason: str = ""
    """Why it is unavailable, where it is."""
    interval: tuple[float, float] | None = None
    """95 % interval of the values' mean, where what is told is that mean (energy)."""

    @classmethod
    def unavailable(cls, metric: Literal["latency_ms", "peak_memory_bytes", "energy_mj"], reason: str) -> Self:
        return cls(metric=metric, values=(), provenance=Provenance.UNAVAILABLE, reason=reason)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A stage that failed: a result of its trial, not the end of the run."""

    stage: str
    cause: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """All that was measured of one artifact on one device."""

    latency_ms: Measurement
    peak_memory_bytes: Measurement
    energy_mj: Measurement
    size_bytes: int
    memory: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The other two figures of memory, as reports show them: `pss_bytes` and `planned_peak_bytes`."""
    use: dict[str, Any] = field(default_factory=dict)
    """What a way of use measures beyond latency: cold start's parts, sustained windows, throughput (bench/uses.py)."""


def digest(value: Any) -> str:
    """SHA-256 of a value's canonical JSON: the content address of anything that JSON can hold."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
