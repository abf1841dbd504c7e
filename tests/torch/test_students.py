"""Student families: every candidate of a space can be built, exported and counted, and the smallest is the smallest."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgekd.errors import InputError
from edgekd.students import FAMILIES, find_family, resized_shape, restricted
from edgekd.students.layers import channels
from edgekd.students.program import build_student, count_params, make_program, weights_hash
from edgekd.students.space import Space
from edgekd.types import Candidate, Contract, Scalar

torch.set_num_threads(1)
SHAPES = {"digits": (1, 8, 8), "fashion": (1, 28, 28), "colour": (3, 32, 32)}


def contract(shape: tuple[int, ...]) -> Contract:
    return Contract(classes=tuple("abcde"), mean=(0.0,) * shape[0], std=(1.0,) * shape[0], value_max=255.0, shape=shape)


def single_changes(family: str, shape: tuple[int, ...]) -> list[Candidate]:
    """The smallest candidate, and all that differ from it on one axis."""
    space = find_family(family).space(shape)
    least = Space(family=family, axes=space).smallest.values
    changes = [least] + [{**least, axis: value} for axis, values in space.items() for value in values[1:]]
    return [Candidate.of(family, values) for values in changes]


def built(candidate: Candidate, shape: tuple[int, ...], seed: int = 0) -> nn.Module:
    return build_student(find_family(candidate.family), candidate, contract(shape), seed).eval()


def operations(candidate: Candidate, shape: tuple[int, ...]) -> int:
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), torch.no_grad(), counter:
        find_family(candidate.family).build(candidate.values, resized_shape(candidate, shape), 5)(
            torch.zeros(1, *resized_shape(candidate, shape))
        )
    return counter.get_total_flops()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_value_of_every_axis_builds(family: str, shape: tuple[int, ...]) -> None:
    """Each gives finite logits (B, classes) for its own input size, and has as many parameters as are counted."""
    for candidate in single_changes(family, shape):
        module = built(candidate, shape)
        with torch.no_grad():
            logits = module(torch.randn(2, *resized_shape(candidate, shape), generator=torch.Generator().manual_seed(0)))
        assert logits.shape == (2, 5), candidate
        assert torch.isfinite(logits).all(), candidate
        params = sum(p.numel() for p in module.parameters())
        assert count_params(find_family(family), candidate, contract(shape)) == params, candidate


@pytest.mark.parametrize("family", FAMILIES)
def test_the_largest_builds(family: str) -> None:
    """All axes at their last value at once is a network too."""
    space = find_family(family).space((1, 28, 28))
    candidate = Candidate.of(family, {axis: values[-1] for axis, values in space.items()})
    assert built(candidate, (1, 28, 28))(torch.zeros(1, 1, 28, 28)).shape == (1, 5)


@pytest.mark.parametrize("family", FAMILIES)
def test_candidates_can_be_exported(family: str) -> None:
    """Converters begin with torch.export: it traces the smallest, and each other kind of block."""
    for candidate in single_changes(family, (1, 8, 8))[:: 3 if family == "resnet" else 4]:
        module = built(candidate, (1, 8, 8))
        sample = (torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)),)
        exported: Any = torch.export.export(module, sample).module()
        torch.testing.assert_close(exported(*sample), module(*sample))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_smallest_is_the_smallest(family: str, shape: tuple[int, ...]) -> None:
    """No change of one axis gives fewer parameters or fewer operations: what the smallest cannot meet, none can."""
    least, *others = single_changes(family, shape)
    params, flops = count_params(find_family(family), least, contract(shape)), operations(least, shape)
    for other in others:
        assert count_params(find_family(family), other, contract(shape)) >= params, other
        assert operations(other, shape) >= flops, other


def test_the_seed_decides_the_weights() -> None:
    """The same seed gives the same bits, another seed others, and torch's own generator is left alone."""
    candidate = Space(family="resnet", axes=find_family("resnet").space((1, 8, 8))).smallest
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    hashes = [weights_hash(built(candidate, (1, 8, 8), seed).state_dict()) for seed in (0, 0, 1)]
    assert torch.equal(torch.rand(1), expected)
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_program_says_what_it_takes() -> None:
    """A candidate with smaller images has them in its shape and in its contract; one with whole images says None."""
    space = find_family("mbconv").space((1, 28, 28))
    sizes = space["input_size"]
    assert sizes == (20, 28)
    for size, expected in ((20, (20, 20)), (28, None)):
        candidate = Candidate.of("mbconv", {**Space(family="mbconv", axes=space).smallest.values, "input_size": size})
        program = make_program(built(candidate, (1, 28, 28)), candidate, contract((1, 28, 28)))
        assert program.input_shape == (1, size, size)
        assert program.contract.image_size == expected
        assert not program.module.training


def test_a_weights_hash_sees_every_bit() -> None:
    """One flipped weight, another name or another shape gives another hash."""
    state = {"a": torch.zeros(2, 3), "b": torch.ones(1)}
    hashes = {weights_hash(s) for s in (state, {**state, "b": torch.zeros(1)}, {"a": torch.zeros(3, 2), "b": torch.ones(1)},
                                        {"a": torch.zeros(2, 3), "c": torch.ones(1)})}  # fmt: skip
    assert len(hashes) == 4


@pytest.mark.parametrize(("width", "expected"), [(1, 4), (8, 8), (13.9, 12), (18, 16), (54, 56)])
def test_channels_come_in_whole_lanes(width: float, expected: int) -> None:
    """Multiples of 4, at least 4."""
    assert channels(width) == expected


def test_unknown_families_and_axes_are_refused() -> None:
    """Misspelt names are answered with those that were meant."""
    with pytest.raises(InputError, match="did you mean 'resnet'"):
        find_family("resnt")
    space: dict[str, tuple[Scalar, ...]] = {"width": (8, 16), "depth": (1,)}
    with pytest.raises(InputError, match="did you mean 'width'"):
        restricted(space, {"widht": (4,)})
    assert restricted(space, {"width": (4,)}) == {"width": (4,), "depth": (1,)}
