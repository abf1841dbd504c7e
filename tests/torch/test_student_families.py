"""Families besides the convolutional ones: what they take, which student is the smallest, whose weights can be shared."""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from family_data import CLASSES, family_data
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgekd.errors import InputError, MissingExtraError
from edgekd.students import elastic_axes, find_family, resized_shape, restricted
from edgekd.students.program import build_student, count_params, weights_hash
from edgekd.students.sharing import Cutter
from edgekd.students.space import ENUMERABLE, Space
from edgekd.types import Candidate, Contract

torch.set_num_threads(1)
SHAPES = {
    "vit": [(1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 40, 101)],
    "mixer": [(1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 40, 101)],
    "conv1d": [(1, 40, 101), (6, 1, 128), (3, 1, 12)],
    "text": [(1, 1, 8), (1, 1, 24), (1, 1, 700)],
}
CASES = [(family, shape) for family, shapes in SHAPES.items() for shape in shapes]
IDS = [f"{family}-{'x'.join(map(str, shape))}" for family, shape in CASES]


def contract(shape: tuple[int, ...]) -> Contract:
    return Contract(classes=tuple("abcd"), mean=(0.0,) * shape[0], std=(1.0,) * shape[0], value_max=1.0, shape=shape)


def single_changes(family: str, shape: tuple[int, ...]) -> list[Candidate]:
    """The smallest candidate, and all that differ from it on one axis."""
    space = find_family(family).space(shape)
    least = Space(family=family, axes=space).smallest.values
    changes = [least] + [{**least, axis: value} for axis, values in space.items() for value in values[1:]]
    return [Candidate.of(family, values) for values in changes]


def inputs(family: str, shape: tuple[int, ...], count: int = 2) -> torch.Tensor:
    rng = np.random.default_rng(0)
    if family == "text":
        return torch.from_numpy(rng.integers(0, 9000, (count, *shape)).astype(np.float32))
    return torch.from_numpy(rng.standard_normal((count, *shape)).astype(np.float32))


def built(candidate: Candidate, shape: tuple[int, ...], seed: int = 0) -> nn.Module:
    return build_student(find_family(candidate.family), candidate, contract(shape), seed).eval()


def operations(candidate: Candidate, shape: tuple[int, ...]) -> int:
    counter, taken = FlopCounterMode(display=False), resized_shape(candidate, shape)
    with torch.device("meta"), torch.no_grad(), counter:
        find_family(candidate.family).build(candidate.values, taken, CLASSES)(torch.zeros(1, *taken))
    return counter.get_total_flops()


def cutter(family: str, shape: tuple[int, ...], coupled: bool) -> Cutter:
    found = find_family(family)
    return Cutter(found, Space(family=family, axes=elastic_axes(found, shape, coupled)), shape, CLASSES)


@pytest.mark.parametrize(("family", "shape"), CASES, ids=IDS)
def test_every_value_of_every_axis_answers(family: str, shape: tuple[int, ...]) -> None:
    """Each student gives finite logits (B, classes), which depend on the sample."""
    for candidate in single_changes(family, shape):
        with torch.no_grad():
            # By the batch's own statistics: the initial ones let a deep network without shortcuts fade to one answer.
            logits = built(candidate, shape).train()(inputs(family, resized_shape(candidate, shape)))
        assert logits.shape == (2, CLASSES), candidate
        assert torch.isfinite(logits).all(), candidate
        assert not torch.equal(logits[0], logits[1]), candidate


@pytest.mark.parametrize(("family", "shape"), CASES, ids=IDS)
def test_the_smallest_is_the_smallest(family: str, shape: tuple[int, ...]) -> None:
    """No change of one axis gives fewer parameters or operations: what the smallest cannot meet, none can."""
    found, (least, *others) = find_family(family), single_changes(family, shape)
    params, flops = count_params(found, least, contract(shape)), operations(least, shape)
    for other in others:
        assert count_params(found, other, contract(shape)) >= params, other
        assert operations(other, shape) >= flops, other


@pytest.mark.parametrize("family", SHAPES)
def test_the_seed_decides_the_weights(family: str) -> None:
    """The same seed gives the same bits, another seed others."""
    shape = SHAPES[family][0]
    least = Space(family=family, axes=find_family(family).space(shape)).smallest
    hashes = [weights_hash(built(least, shape, seed).state_dict()) for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("coupled", [True, False], ids=["coupled", "free"])
@pytest.mark.parametrize(("family", "shape"), CASES, ids=IDS)
@given(seed=st.integers(0, 10_000))
@settings(max_examples=5, deadline=None)
def test_smaller_students_are_leading_slices(family: str, shape: tuple[int, ...], coupled: bool, seed: int) -> None:
    """Of any two students, one no larger than the other on every axis has the same tensors, none of them larger."""
    made = cutter(family, shape, coupled)
    made.check()
    rng = np.random.default_rng(seed)
    one, other = (made.space.draw(rng).values for _ in range(2))
    order = {axis: {value: rank for rank, value in enumerate(values)} for axis, values in made.space.axes.items()}
    low, high = ({axis: pick((one[axis], other[axis]), key=order[axis].__getitem__) for axis in one} for pick in (min, max))
    small, large = (
        {name: tuple(tensor.shape) for name, tensor in made.skeleton(Candidate.of(family, values)).state_dict().items()}
        for values in (low, high)
    )
    assert small.keys() <= large.keys()
    assert all(a <= b for name, size in small.items() for a, b in zip(size, large[name], strict=True))


@pytest.mark.parametrize("family", SHAPES)
def test_coupled_spaces_can_be_gone_through(family: str) -> None:
    """At least a hundred students share weights, few enough to enumerate; the free space is far larger."""
    shape = SHAPES[family][1]
    coupled, free = (cutter(family, shape, which).space.size for which in (True, False))
    assert 100 <= coupled <= ENUMERABLE
    assert free > coupled


@pytest.mark.parametrize("family", SHAPES)
def test_a_few_steps_lower_the_loss(family: str) -> None:
    """Sixty steps on 128 samples of four classes bring the loss below 60 % of what a guess costs."""
    samples, labels = (torch.from_numpy(part) for part in family_data(family, 128))
    shape = tuple(samples.shape[1:])
    values = {axis: choices[min(1, len(choices) - 1)] for axis, choices in find_family(family).space(shape).items()}
    values |= {"vocabulary": 4000} if family == "text" else {}
    module = built(Candidate.of(family, values), shape).train()
    optimizer, losses = torch.optim.AdamW(module.parameters(), 5e-3), []
    for step in range(60):
        rows = torch.arange(32) + 32 * (step % 4)
        loss = nn.functional.cross_entropy(module(samples[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-4:]) < 0.6 * np.log(CLASSES) < losses[0]


@pytest.mark.parametrize("family", ["vit", "text"])
def test_a_student_of_fewer_heads_is_the_larger_one_without_the_others(family: str) -> None:
    """Cut to its first head, an attention answers as the whole one does whose other heads are silenced."""
    shape = SHAPES[family][1]
    made = cutter(family, shape, coupled=True)
    whole, fewer = made.space.largest, Candidate.of(family, {**made.space.largest.values, "heads": 1})
    network, small = built(whole, shape), built(fewer, shape)
    small.load_state_dict(made.cut(fewer, network.state_dict()))
    for number in range(1, int(whole.values["depth"]) + 1):
        network.get_submodule(f"block{number}.attention.out").weight.data[:, 16:] = 0
    sample = inputs(family, shape)
    with torch.no_grad():
        torch.testing.assert_close(small(sample), network(sample), rtol=1e-4, atol=1e-5)


def test_text_knows_padding_and_rare_tokens() -> None:
    """Padding changes nothing; a token beyond the vocabulary reads as the unknown one; texts are cut at `length`."""
    values = Space(family="text", axes=find_family("text").space((1, 1, 24))).smallest.values | {"vocabulary": 1000, "length": 24}
    student = built(Candidate.of("text", values), (1, 1, 24))
    tokens = torch.zeros(1, 1, 1, 24)
    tokens[..., :5] = torch.tensor([7.0, 999, 3, 1000, 40_000])
    unknown, other, longer = tokens.clone(), tokens.clone(), torch.cat([tokens, torch.full((1, 1, 1, 9), 8.0)], 3)
    unknown[..., 3:5], other[..., 1] = 1, 998
    with torch.no_grad():
        answer = student(tokens)
        assert torch.equal(student(unknown), answer)
        assert torch.equal(student(longer), answer)
        assert not torch.equal(student(other), answer)
        student.positions.data[:, 5:], student.tokens.weight.data[0] = 1.0, 1.0
        torch.testing.assert_close(student(tokens), answer, rtol=1e-4, atol=1e-6)
        assert torch.isfinite(student(torch.zeros(1, 1, 1, 24))).all()


def test_patches_reach_over_the_border() -> None:
    """A picture that patches do not divide is seen whole: its last pixel counts."""
    values = Space(family="vit", axes=find_family("vit").space((1, 28, 28))).smallest.values | {"patch": 8, "input_size": 28}
    student = built(Candidate.of("vit", values), (1, 28, 27))
    sample = torch.zeros(1, 1, 28, 27)
    changed = sample.clone()
    changed[..., -1, -1] = 5
    with torch.no_grad():
        assert not torch.equal(student(sample), student(changed))


ZOO = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, in_channels, num_classes=10, hidden=8, norm=None):
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(in_channels, hidden), nn.Linear(hidden, num_classes))

def make(input_shape, classes, *, width=4):
    return nn.Sequential(nn.Conv2d(input_shape[0], width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))

class Wide:
    def space(self, input_shape):
        return {"hidden": (4, 8)}
    def build(self, params, input_shape, classes):
        return Net(input_shape[0], classes, params["hidden"])

def nothing(classes):
    return "a network"

def greedy(classes, depth):
    return None

def blind(width=4):
    return None

ready, number = Net(1), 7
"""


@pytest.mark.parametrize(("name", "axis"), [("Net", "hidden"), ("make", "width"), ("Wide", "hidden")])
def test_anybodys_network_joins(name: str, axis: str, tmp_path: Path) -> None:
    """A class that was never made for edgekd, a plain function and a family's class; their own axes take other values."""
    (tmp_path / "zoo.py").write_text(ZOO)
    family = find_family(f"zoo:{name}", tmp_path)
    space = restricted(family.space((2, 8, 8)), {axis: (4, 12)})
    assert list(space) == [axis]
    for width in space[axis]:
        network = family.build({axis: width}, (2, 8, 8), 5)
        assert network(torch.zeros(3, 2, 8, 8)).shape == (3, 5)
        assert any(width in tensor.shape for tensor in network.state_dict().values())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("number", "is a int, expected a family"),
        ("ready", "give its class"),
        ("blind", "takes no number of classes"),
        ("greedy", "wants 'depth', which has no default"),
    ],
)
def test_what_makes_no_network_is_refused(name: str, expected: str, tmp_path: Path) -> None:
    """Before any work, saying what was found and what is expected."""
    (tmp_path / "zoo.py").write_text(ZOO)
    with pytest.raises(InputError, match=expected) as caught:
        find_family(f"zoo:{name}", tmp_path)
    assert f"'zoo:{name}'" in str(caught.value)


def test_a_function_that_makes_something_else_or_fails_says_so(tmp_path: Path) -> None:
    """What comes out is looked at, and what is raised is told with the values given."""
    (tmp_path / "zoo.py").write_text(ZOO)
    with pytest.raises(InputError, match=r"made a str, expected a torch\.nn\.Module"):
        find_family("zoo:nothing", tmp_path).build({}, (1, 8, 8), 4)
    with pytest.raises(InputError, match=r"made no network with \{'width': 'wide'\}: TypeError"):
        find_family("zoo:make", tmp_path).build({"width": "wide"}, (1, 8, 8), 4)


@pytest.mark.skipif(find_spec("timm") is not None, reason="timm is installed here")
def test_without_timm_the_command_is_named() -> None:
    """The whole pip command, as soon as the family is asked for."""
    with pytest.raises(MissingExtraError, match=r'family \'timm:lcnet_050\' needs timm.*pip install "edgekd\[timm\]"'):
        find_family("timm:lcnet_050")


def test_a_torchvision_of_another_torch_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What timm 1.0.31 raised with torchvision 0.28.0 beside torch 2.13.0+cpu is no ImportError, and means: install both anew."""
    (tmp_path / "timm.py").write_text('raise RuntimeError("operator torchvision::nms does not exist")')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    with pytest.raises(MissingExtraError, match=r"nms does not exist.*pip install --force-reinstall torch torchvision"):
        find_family("timm:lcnet_050")


@pytest.mark.skipif(find_spec("timm") is None, reason="needs timm")
@pytest.mark.parametrize(("name", "sizes"), [("lcnet_050", (20, 28, 56)), ("vit_tiny_patch16_224", (32,))])
def test_names_of_timm_are_families(name: str, sizes: tuple[int, ...]) -> None:
    """Untrained, of as many channels and classes as the data has, at sizes where they answer; misspelt names are corrected."""
    family = find_family(f"timm:{name}")
    assert family.space((1, 28, 28)) == {"input_size": sizes}
    network = family.build({"input_size": sizes[0]}, (1, sizes[0], sizes[0]), 4).eval()
    assert network(torch.zeros(2, 1, sizes[0], sizes[0])).shape == (2, 4)
    with pytest.raises(InputError, match=f"did you mean '{name}'"):
        find_family(f"timm:{name}x")
