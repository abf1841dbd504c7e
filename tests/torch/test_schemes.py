"""Every scheme plans what can be trained, or says by name why it cannot."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from synthetic_data import LINEAR
from training_runs import RECIPE, candidate, losses, plan

from edgekd.distill.recipe import Tap
from edgekd.distill.schemes import SCHEMES, find_scheme
from edgekd.distill.schemes.chain import assistant_candidates
from edgekd.distill.schemes.progressive import grow, split_epochs
from edgekd.distill.stage import TEACHER, Plan
from edgekd.errors import InputError, StageError
from edgekd.students import find_family
from edgekd.types import Candidate

NUMBERS: dict[str, list[dict[str, Any]]] = {
    "born_again": [{}, {"generations": 3, "together": True}, {"with_teacher": False}],
    "chain": [{}, {"assistants": 3}, {"precision": "w8"}, {"precision": "w4"}],
    "collaborative": [{}, {"branches": 2, "with_teacher": False}],
    "direct": [{}],
    "exits": [{}, {"temperature": 2.0, "with_teacher": False}],
    "mutual": [{}, {"peers": 4}],
    "plain": [{}],
    "progressive": [{}],
}


def test_every_scheme_is_tried_here() -> None:
    """A new scheme without an entry is not tested."""
    assert NUMBERS.keys() == SCHEMES.keys()


@pytest.mark.parametrize(("name", "numbers"), [(name, numbers) for name, tried in NUMBERS.items() for numbers in tried])
def test_every_scheme_plans_a_graph_that_ends_in_what_was_wanted(name: str, numbers: dict[str, Any]) -> None:
    """Parents come before children, names are unique, and the last stage is the wanted candidate with the plan's seed."""
    wanted = plan(depth=3, seed=5)
    planned = find_scheme(name, numbers)(wanted)
    known = {TEACHER}
    for stage in planned:
        assert known >= {*stage.taught_by, *([stage.starts_from] if stage.starts_from else [])}
        assert stage.name not in known
        known.add(stage.name)
        assert stage.recipe.task_weight + sum(item.weight for item in stage.recipe.losses) > 0
        assert stage.taught_by or not [item for item in stage.recipe.losses if item.name != "exits"]
    last = planned[-1]
    assert (last.candidate, last.seed) == (wanted.candidate, wanted.seed)
    # Each stage but the last is some other's parent: none is trained for nothing.
    parents = {parent for stage in planned for parent in (*stage.taught_by, stage.starts_from)}
    assert all(stage.name in parents for stage in planned[:-1])


@pytest.mark.parametrize(
    ("name", "numbers", "said"),
    [
        ("chain", {"assistant": 2}, "assistant"),
        ("chain", {"assistants": 0}, "assistants is 0"),
        ("chain", {"precision": "fp16"}, "fp16"),
        ("chain", {"precision": "w8a8"}, "w8a8"),
        ("born_again", {"generations": 0}, "generations is 0"),
        ("mutual", {"peers": 1}, "1 students"),
        ("mutual", {"branches": 2}, "branches"),
        ("exits", {"temprature": 2.0}, "temprature"),
        ("exits", {"alpha": 2.0}, "alpha"),
        ("direct", {"epochs": 3}, "epochs"),
        ("chian", {}, "did you mean 'chain'"),
    ],
)
def test_what_a_scheme_does_not_take_is_named(name: str, numbers: dict[str, Any], said: str) -> None:
    """Before anything is trained, with the scheme's name and the number's."""
    with pytest.raises(InputError, match=said) as found:
        find_scheme(name, numbers)
    assert name in str(found.value)


# Chain --------------------------------------------------------------------------------------------------------------------


def fine(params: int, teacher: int | None, width: int = 8) -> Plan:
    """A family whose parameters are known in closed form: `params` times the square of the width over the student's."""
    size = lambda given: round(params * (given.values["width"] / width) ** 2)  # noqa: E731
    return replace(plan(width=width), params=size, teacher_params=teacher)


@given(
    width=st.integers(2, 12).map(lambda n: 4 * n),
    params=st.integers(1_000, 1_000_000),
    ratio=st.floats(1.5, 5_000.0),
    count=st.integers(1, 8),
)
def test_assistants_are_spaced_evenly(width: int, params: int, ratio: float, count: int) -> None:
    """In log parameters, for any two sizes: as even as widths in steps of 4 allow, strictly between student and teacher."""
    teacher = round(ratio * params)
    given_plan = fine(params, teacher, width)
    widths = range(width + 4, 16 * width + 1, 4)
    if sum(round(params * (w / width) ** 2) < teacher for w in widths) < count:
        with pytest.raises(StageError, match="chain"):
            assistant_candidates(given_plan, count)
        return
    found = assistant_candidates(given_plan, count)
    sizes = [given_plan.params(one) for one in found]
    assert sizes == sorted(set(sizes), reverse=True)
    assert len(sizes) == count
    assert params < sizes[-1]
    assert sizes[0] < teacher
    top = min(ratio ** (count / (count + 1)), 16.0**2)
    for index, one in enumerate(reversed(found), start=1):
        ideal = width * math.sqrt(top) ** (index / count)
        # Within half a step of the ideal, but where neighbours want the same width.
        assert abs(int(one.values["width"]) - ideal) <= 4 * count + 2


def test_where_the_teachers_size_is_unknown_steps_are_fourfold() -> None:
    """One assistant has four times the student's parameters, about."""
    (found,) = assistant_candidates(fine(10_000, None), 1)
    assert fine(10_000, None).params(found) == pytest.approx(40_000, rel=0.5)


def test_nothing_between_fails_this_candidate_only() -> None:
    """A student as large as the teacher has no assistant: a failed trial with a hint, while smaller ones go on."""
    with pytest.raises(StageError, match=r"chain.*0 widths") as found:
        assistant_candidates(fine(10_000, 9_000), 1)
    assert "fewer assistants" in found.value.hint


def test_a_family_without_widths_has_no_chain() -> None:
    """Said by name, of the family."""
    given_plan = replace(plan(), candidate=Candidate.of("linear", {"input_size": 8}))
    assert "width" not in LINEAR.space((1, 8, 8))
    with pytest.raises(InputError, match="linear has not"):
        assistant_candidates(given_plan, 1)


# Progressive --------------------------------------------------------------------------------------------------------------


@given(depth=st.integers(2, 6), epochs=st.integers(1, 200))
def test_the_epochs_are_shared_without_rest(depth: int, epochs: int) -> None:
    """They sum to the recipe's, each depth has one, the full depth about half; too few are refused."""
    if epochs < depth:
        with pytest.raises(StageError, match="progressive"):
            split_epochs(epochs, depth)
        return
    found = split_epochs(epochs, depth)
    assert (sum(found), len(found)) == (epochs, depth)
    assert min(found) >= 1
    assert abs(found[-1] - epochs / 2) <= depth


@pytest.mark.parametrize("family", ["resnet", "mbconv"])
@pytest.mark.parametrize("bottleneck", [0.0, 0.5])
@pytest.mark.parametrize("side", [8, 20])
def test_a_grown_network_computes_what_the_smaller_one_did(family: str, bottleneck: float, side: int) -> None:
    """Exactly, in evaluation mode, from depth 1 to 2 to 3; and its new blocks can learn."""

    def built(depth: int) -> Any:
        torch.manual_seed(depth)
        values = {**candidate(depth=depth).values, "expansion": 2, "stem_stride": 1, "bottleneck": bottleneck, "growth": 1.5}
        network = find_family(family).build(values, (1, side, side), 4).train()
        network(torch.randn(16, 1, side, side))  # statistics of its own
        return network

    inputs, small = torch.randn(4, 1, side, side), built(1)
    for depth in (2, 3):
        large = built(depth)
        grow(small.state_dict(), large)
        assert torch.equal(large.eval()(inputs), small.eval()(inputs))
        assert len(large) > len(small)
        small = large
    added = small[3].body[-1][-1]
    small(inputs).logsumexp(1).sum().backward()
    assert float(added.weight.grad.abs().sum()) > 0


def test_a_shallow_student_has_nothing_to_grow() -> None:
    """Depth 1 is trained directly; without shortcuts, or with taps of one depth, growing is refused by name."""
    scheme = find_scheme("progressive", {})
    assert [stage.name for stage in scheme(plan(depth=1))] == ["student"]
    with pytest.raises(StageError, match="progressive"):
        scheme(plan(depth=2, skip=False))
    taps = replace(RECIPE, taps=(Tap(teacher="a", student="b"),), losses=losses("hints"))
    with pytest.raises(InputError, match=r"progressive.*taps"):
        scheme(plan(taps, depth=2))
    with pytest.raises(InputError, match=r"'depth'.* linear has not"):
        scheme(replace(plan(), candidate=Candidate.of("linear", {"input_size": 8})))
