"""The words of edgekd: frozen, checked when made, and the same after a trip through text."""

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd import types
from edgekd.errors import InputError
from edgekd.types import KNOWN_PRECISIONS, Budget, Candidate, Contract, Measurement, Precision, Provenance, TensorSpec, digest

NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32)
SPECS = st.builds(
    TensorSpec,
    name=st.text(max_size=8),
    shape=st.lists(st.integers(1, 64), max_size=4).map(tuple),
    dtype=st.sampled_from(["float32", "int8", "uint8"]),
    layout=st.sampled_from(["NCHW", "NHWC", "NC"]),
    scale=st.none() | NUMBERS,
    zero_point=st.none() | st.integers(-128, 255),
)
CONTRACTS = st.builds(
    Contract,
    classes=st.lists(st.text(max_size=8), max_size=4).map(tuple),
    mean=st.lists(NUMBERS, max_size=3).map(tuple),
    std=st.lists(NUMBERS, max_size=3).map(tuple),
    value_max=NUMBERS,
    shape=st.lists(st.integers(1, 64), max_size=3).map(tuple),
    image_size=st.none() | st.tuples(st.integers(1, 64), st.integers(1, 64)),
    inputs=st.lists(SPECS, max_size=2).map(tuple),
    outputs=st.lists(SPECS, max_size=2).map(tuple),
)
PARAMS = st.dictionaries(st.text(max_size=5), st.integers() | st.booleans() | st.text(max_size=5) | NUMBERS, max_size=5)


@pytest.mark.parametrize("text", KNOWN_PRECISIONS)
def test_a_precision_prints_as_it_is_written(text: str) -> None:
    """Each known precision is read and printed as the same text, and no two are equal."""
    assert str(Precision.parse(text)) == text
    assert [other for other in KNOWN_PRECISIONS if Precision.parse(other) == Precision.parse(text)] == [text]


def test_floating_point_needs_no_calibration() -> None:
    """Only fp32 and fp16 keep floating-point weights."""
    assert [text for text in KNOWN_PRECISIONS if Precision.parse(text).is_float] == ["fp32", "fp16"]


@given(st.text(max_size=14))
def test_any_other_precision_is_refused(text: str) -> None:
    """Text that is read as a precision prints as itself; all other text is an InputError."""
    try:
        assert str(Precision.parse(text)) == text
    except InputError as error:
        assert repr(text)[1:-1] in str(error) or text in str(error)  # noqa: PT017


@given(CONTRACTS)
def test_a_contract_survives_json(contract: Contract) -> None:
    """A contract that was written as JSON is read as the same value."""
    assert Contract.from_json(contract.to_json()) == contract


@given(st.text(max_size=30) | st.sampled_from(['{"schema": "edgekd.contract/1"}', "[]", "null", "3", "{}"]))
def test_a_contract_of_other_text_is_refused(text: str) -> None:
    """Artifacts come from anywhere: no text makes reading a contract raise anything but InputError."""
    with pytest.raises(InputError):
        Contract.from_json(text)


@given(CONTRACTS, st.data())
def test_a_contract_with_a_key_less_or_more_is_refused(contract: Contract, data: st.DataObject) -> None:
    """Every key is needed and no other is taken."""
    document = json.loads(contract.to_json())
    key = data.draw(st.sampled_from(["classes", "mean", "std", "value_max", "shape", "inputs", "schema"]))
    for wrong in ({k: v for k, v in document.items() if k != key}, document | {"extra": 1}, document | {"schema": "x"}):
        with pytest.raises(InputError):
            Contract.from_json(json.dumps(wrong))


@given(PARAMS)
def test_a_candidate_is_its_values(params: dict[str, types.Scalar]) -> None:
    """The order in which parameters are given does not matter, to equality, hash or id."""
    one, other = Candidate.of("resnet", params), Candidate.of("resnet", dict(reversed(params.items())))
    assert (one, hash(one), one.id) == (other, hash(other), other.id)
    assert one.values == params
    assert Candidate.of("mbconv", params).id != one.id


def test_a_users_family_names_a_folder() -> None:
    """The id of a candidate of `module:name` holds no character that a path gives a meaning to."""
    assert Candidate.of("my.module:Family", {"width": 8}).id.startswith("Family-")


@pytest.mark.parametrize("limit", ["latency_ms", "peak_memory_bytes", "size_bytes", "energy_mj"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_a_limit_is_a_number_above_zero(limit: str, value: float) -> None:
    """A budget's limits are finite and positive; the message names limit and value."""
    with pytest.raises(InputError, match=f"{limit} is {value}"):
        Budget(**{limit: value})


@pytest.mark.parametrize("limit", ["min_accuracy", "max_accuracy_drop"])
@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, 93])
def test_an_accuracy_is_a_fraction(limit: str, value: float) -> None:
    """93 for 0.93 is refused."""
    with pytest.raises(InputError, match=f"{limit} is {value}"):
        Budget(**{limit: value})


@pytest.mark.parametrize("value", [49, 100, 0, -1])
def test_a_percentile_is_one_that_can_be_estimated(value: int) -> None:
    """Below the median and at the maximum there is nothing to hold a budget against."""
    with pytest.raises(InputError, match="latency_percentile"):
        Budget(latency_percentile=value)


def test_an_unavailable_measurement_has_a_reason_and_no_value() -> None:
    """No sensor is no zero."""
    found = Measurement.unavailable("energy_mj", "no meter")
    assert (found.values, found.provenance, found.reason) == ((), Provenance.UNAVAILABLE, "no meter")


def test_all_values_are_frozen() -> None:
    """No dataclass of the vocabulary can be changed after it was made."""
    kinds = [kind for kind in vars(types).values() if dataclasses.is_dataclass(kind)]
    assert len(kinds) >= 9
    assert all(kind.__dataclass_params__.frozen for kind in kinds)


@given(PARAMS)
def test_a_digest_follows_content(params: dict[str, types.Scalar]) -> None:
    """Equal content has an equal digest in any order; more content has another."""
    assert digest(params) == digest(dict(reversed(params.items())))
    assert digest(params) != digest({**params, "another key": 1})


def test_a_digest_takes_no_nan() -> None:
    """NaN is not equal to itself and names nothing."""
    with pytest.raises(ValueError, match="JSON"):
        digest(math.nan)
