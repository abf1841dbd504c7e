"""Points and the evidence of a selection: what fits, what nothing beats, what binds, and what more budget would buy."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.errors import InputError
from edgekd.search.front import LIMITS, Figure, Point, fits, from_record, pareto, to_record, unmeasured
from edgekd.search.why import amount, explain, signed
from edgekd.types import Budget, Candidate, Provenance


def predicted(value: float, low: float, high: float) -> Figure:
    return Figure(value=value, low=low, high=high, provenance=Provenance.PREDICTED)


def point(width: int, accuracy: float, latency: float | Figure | None, size: float | None = None) -> Point:
    """A student of `width`, with a measured latency in ms (or a figure) and a size in bytes."""
    latency = Figure.measured(latency) if isinstance(latency, int | float) else latency
    figures = {"latency_ms": latency, "size_bytes": None if size is None else Figure.measured(size)}
    known = {limit: figure for limit, figure in figures.items() if figure is not None}
    candidate = Candidate.of("mbconv", {"width": width})
    return Point(candidate=candidate, params=100 * width, accuracy=accuracy, precision="fp32", figures=known)


SMALL, CHOSEN, BIG, LARGEST = (
    point(8, 0.900, 0.20, 50_000),
    point(16, 0.920, 0.29, 90_000),
    point(24, 0.923, predicted(0.336, 0.32, 0.35), 95_000),
    point(32, 0.930, 0.43, 99_000),
)
POINTS = [SMALL, CHOSEN, BIG, LARGEST]
BUDGET = Budget(latency_ms=0.3, size_bytes=100_000)


def test_a_figure_lies_in_its_interval() -> None:
    """An interval that does not hold the value, a number that is none and an unavailable figure are refused."""
    for value, low, high in ((1.0, 1.1, 1.2), (1.0, 0.5, 0.9), (float("nan"), 0.0, 1.0), (1.0, 0.0, float("inf"))):
        with pytest.raises(ValueError, match="inside"):
            predicted(value, low, high)
    with pytest.raises(ValueError, match="left out"):
        Figure(value=1.0, low=1.0, high=1.0, provenance=Provenance.UNAVAILABLE)


def test_a_limit_is_judged_by_value_or_by_the_upper_end() -> None:
    """At 0.34 ms the predicted one fits by its value, and not by the upper end of its interval; the limit itself fits."""
    budget = Budget(latency_ms=0.34)
    assert fits(BIG, budget)
    assert not fits(BIG, budget, "high")
    assert fits(BIG, Budget(latency_ms=0.35), "high")


def test_a_limit_without_a_figure_is_told() -> None:
    """Energy was not measured: it is not held against the point, and it is named."""
    budget = Budget(latency_ms=0.3, energy_mj=1.0)
    assert fits(CHOSEN, budget)
    assert unmeasured(CHOSEN, budget) == ["energy_mj"]


def test_accuracy_is_demanded_too() -> None:
    """The budget's least accuracy counts, and the teacher's less the drop where it is given."""
    assert not fits(SMALL, replace(BUDGET, min_accuracy=0.91))
    assert not fits(CHOSEN, BUDGET, least_accuracy=0.93)


def test_only_what_nothing_beats_is_on_the_front() -> None:
    """Dearer and no better falls out, of equals one stays, what has no figure is left out; cheapest first."""
    dearer, twin, blind = point(40, 0.920, 0.5), point(15, 0.920, 0.29), point(48, 0.99, None)
    assert [p.accuracy for p in pareto([LARGEST, dearer, twin, blind, *POINTS], "latency_ms")] == [0.900, 0.920, 0.923, 0.930]


def test_points_survive_json() -> None:
    """What was written is read back equal, with intervals and kinds."""
    assert [from_record(json.loads(json.dumps(to_record(p)))) for p in POINTS] == POINTS


def test_what_binds_is_what_keeps_a_better_one_out() -> None:
    """Latency keeps the better ones out; the size, of which more is used, keeps none."""
    budget = replace(BUDGET, latency_ms=0.32, size_bytes=99_000)
    why = explain(POINTS, CHOSEN.candidate, budget, samples=5000)
    assert why["binding"] == {
        "limit": "latency_ms",
        "value": 0.29,
        "allowed": 0.32,
        "share": pytest.approx(0.90625),
        "provenance": "measured",
    }
    assert why["text"] == "latency p90 binds: 0.29 ms of 0.32 ms (91 %, measured)"


def test_nothing_binds_where_the_largest_fits() -> None:
    """With room for all, no limit is blamed; nor where none is set."""
    why = explain(POINTS, LARGEST.candidate, Budget(latency_ms=5.0), samples=5000)
    assert why["binding"] is None
    assert why["text"] == "nothing binds: the largest student of the space fits"
    assert why["more"] == []
    assert "no limit is set" in explain(POINTS, LARGEST.candidate, Budget(), samples=5000)["text"]


def test_the_runner_up_says_what_it_costs_and_gains() -> None:
    """The most accurate of the others that fit, against the selected one."""
    runner_up = explain(POINTS, CHOSEN.candidate, BUDGET, samples=5000)["runner_up"]
    assert runner_up["candidate"] == SMALL.id
    assert runner_up["text"] == ("90.00 % (−2.0 point), latency p90 0.2 ms (−0.09 ms, measured), size 50 kB (−40 kB, measured)")
    assert explain(POINTS, SMALL.candidate, Budget(latency_ms=0.25), samples=5000)["runner_up"] is None


def test_a_little_more_budget() -> None:
    """The next better student and the best within half as much again, with the lowest provenance that they rest on."""
    more = explain(POINTS, CHOSEN.candidate, BUDGET, noise=0.001)["more"]
    assert [(step["candidate"], step["limit"], step["unit"]) for step in more] == [
        (BIG.id, "latency_ms", "ms"),
        (LARGEST.id, "latency_ms", "ms"),
    ]
    assert [step["text"] for step in more] == ["+0.036 ms → +0.3 point (predicted)", "+0.13 ms → +1.0 point (measured)"]
    assert more[0]["by"] == pytest.approx(0.036)
    assert more[0]["gain"] == pytest.approx(0.003)


def test_judged_by_the_upper_end_more_is_asked() -> None:
    """What must be certain costs up to the end of its interval."""
    more = explain(POINTS, CHOSEN.candidate, BUDGET, noise=0.001, judged="high")["more"]
    assert more[0]["text"] == "+0.05 ms → +0.3 point (predicted)"


def test_a_gain_within_chance_is_not_claimed() -> None:
    """With 5,000 samples, 0.3 point at 92 % is less than the standard error (0.38 point): only the larger step is told."""
    why = explain(POINTS, CHOSEN.candidate, BUDGET, samples=5000)
    assert why["noise"] == pytest.approx((0.92 * 0.08 / 5000) ** 0.5)
    assert [step["candidate"] for step in why["more"]] == [LARGEST.id]
    lucky = explain([SMALL, CHOSEN, BIG], CHOSEN.candidate, BUDGET, samples=5000)
    assert lucky["more"] == []
    assert lucky["notes"] == ["what more budget would buy is within chance (0.4 point)"]


def test_one_limit_alone_may_not_do() -> None:
    """Where the better ones break two limits at once, that is said, and no step is proposed."""
    why = explain([CHOSEN, point(64, 0.95, 0.5, 300_000)], CHOSEN.candidate, BUDGET, samples=5000)
    assert why["more"] == []
    assert why["notes"] == ["more accurate students break several limits at once: raising one alone buys nothing"]
    assert why["binding"]["limit"] == "latency_ms"


def test_a_limit_that_cannot_be_measured_is_named() -> None:
    """Energy without a meter, and students that nothing is known of."""
    budget = replace(BUDGET, energy_mj=0.1)
    why = explain([*POINTS, point(40, 0.94, None)], CHOSEN.candidate, budget, samples=5000)
    assert why["notes"] == [
        "energy is limited but could not be measured: nothing is said about it",
        "1 student is neither measured nor predicted in all that is limited, and not compared",
    ]


def test_a_little_less_accuracy() -> None:
    """What half a point saves; a saving that is only predicted must hold at the upper end of its interval."""
    cheaper, unsure = point(12, 0.915, predicted(0.25, 0.24, 0.26), 85_000), point(14, 0.918, predicted(0.26, 0.2, 0.28))
    less = explain([CHOSEN, cheaper, unsure], CHOSEN.candidate, Budget(latency_ms=0.3), noise=0.001)["less"]
    assert [step["text"] for step in less] == ["−0.5 point → −0.04 ms (predicted)"]
    assert less[0]["candidate"] == cheaper.id


def test_the_selected_one_must_be_there() -> None:
    """A candidate that is not among the points is refused, and so is a selection without a measure of chance."""
    with pytest.raises(InputError, match="not among the 3 points"):
        explain(POINTS[1:], SMALL.candidate, BUDGET, samples=5000)
    with pytest.raises(ValueError, match="noise"):
        explain(POINTS, SMALL.candidate, BUDGET)


def test_precisions_of_a_candidate_are_told_apart() -> None:
    """The selected artifact is the one of its precision; the same student in another is no runner-up and no saving."""
    quantized = replace(CHOSEN, precision="w8a8", figures={"latency_ms": Figure.measured(0.25)})
    why = explain([CHOSEN, quantized, BIG], CHOSEN.candidate, Budget(latency_ms=0.3), precision="w8a8", samples=5000)
    assert why["binding"]["value"] == 0.25
    assert why["runner_up"] is None
    assert explain([CHOSEN, quantized], CHOSEN.candidate, Budget(latency_ms=0.3), precision="fp32", samples=5000)["less"] == []


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (amount("latency_ms", 0.28512), "0.285 ms"),
        (amount("size_bytes", 185_432), "185 kB"),
        (amount("peak_memory_bytes", 20_000_000), "20 MB"),
        (signed("latency_ms", 0.0412, upwards=True), "+0.042 ms"),
        (signed("latency_ms", 0.4, upwards=True), "+0.4 ms"),
        (signed("size_bytes", 999_900, upwards=True), "+1000 kB"),
        (signed("energy_mj", -1.234), "−1.2 mJ"),
        (signed("size_bytes", 0), "+0 B"),
    ],
)
def test_costs_read_well(shown: str, text: str) -> None:
    """Three digits, two for a difference; what is asked for is rounded up."""
    assert shown == text


COSTS = st.floats(min_value=0.01, max_value=10, allow_nan=False)
INTERVALS = st.tuples(COSTS, st.floats(0, 0.5), st.floats(0, 0.5), st.booleans()).map(
    lambda t: predicted(t[0], t[0] * (1 - t[1]), t[0] * (1 + t[2])) if t[3] else Figure.measured(t[0])
)
SPACES = st.lists(
    st.tuples(st.sampled_from([0.8, 0.85, 0.851, 0.9, 0.9005, 0.95]), st.dictionaries(st.sampled_from(LIMITS), INTERVALS)),
    min_size=1,
    max_size=12,
).map(
    lambda rows: [
        Point(candidate=Candidate.of("f", {"n": n}), params=n, accuracy=a, precision="fp32", figures=f)
        for n, (a, f) in enumerate(rows)
    ]
)
BUDGETS = st.builds(Budget, latency_ms=st.none() | COSTS, size_bytes=st.none() | COSTS, energy_mj=st.none() | COSTS)


@given(SPACES, st.sampled_from(LIMITS))
def test_the_front_of_a_front_is_itself(points: list[Point], limit: str) -> None:
    """Idempotent; and each point left out is beaten or equalled by one that stays."""
    front = pareto(points, limit)
    assert pareto(front, limit) == front
    for p in points:
        if limit in p.figures:
            assert any(q.accuracy >= p.accuracy and q.figures[limit].value <= p.figures[limit].value for q in front)


@given(SPACES, BUDGETS, st.sampled_from(["value", "high"]), st.data())
def test_nothing_worse_is_proposed(points: list[Point], budget: Budget, judged: str, data: st.DataObject) -> None:
    """More budget, by what is said and by no limit else, admits the student named, more accurate; less saves and fits."""
    selected, noise = data.draw(st.sampled_from(points)), 0.001
    by_id = {p.id: p for p in points}
    why = explain(points, selected.candidate, budget, noise=noise, judged=judged)
    for step in why["more"]:
        other, allowed = by_id[step["candidate"]], getattr(budget, step["limit"])
        assert other.accuracy - selected.accuracy == step["gain"] > noise
        assert not fits(other, budget, judged)
        assert fits(other, replace(budget, **{step["limit"]: allowed + step["by"]}), judged)
        assert why["binding"] is not None
    for step in why["less"]:
        other = by_id[step["candidate"]]
        assert fits(other, budget, judged)
        assert step["gain"] <= 0
        assert other.figures[step["limit"]].high < selected.figures[step["limit"]].value
    if why["runner_up"] is not None:
        other = by_id[why["runner_up"]["candidate"]]
        assert other is not selected
        assert fits(other, budget, judged)
    json.dumps(why, allow_nan=False)
