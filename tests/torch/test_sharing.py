"""Students cut out of the largest one: their weights are its leading slices, and their answers those of the weights cut."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_data import CONTRACT
from torch import nn
from torch.func import functional_call

from edgekd.distill.calibration import calibrate
from edgekd.errors import InputError
from edgekd.students import elastic_axes, find_family
from edgekd.students.program import build_student
from edgekd.students.sharing import Cutter
from edgekd.students.space import ENUMERABLE, Space

SHAPE, CLASSES = (1, 28, 28), 4


def cutter(family: str, coupled: bool = True) -> Cutter:
    found = find_family(family)
    return Cutter(found, Space(family=family, axes=elastic_axes(found, SHAPE, coupled)), SHAPE, CLASSES)


@pytest.mark.parametrize("family", ["resnet", "mbconv"])
@pytest.mark.parametrize("coupled", [True, False])
@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_every_student_of_a_space_is_a_cutting(family: str, coupled: bool, seed: int) -> None:
    """Whatever its axes, its tensors have a place in the largest one, and its network loads and answers with them."""
    made = cutter(family, coupled)
    made.check()
    student = made.space.draw(np.random.default_rng(seed))
    tensors = {name: torch.randn(shape) for name, shape in made.largest.items()}
    weights = made.cut(student, tensors)
    network = made.skeleton(student)
    assert {name: tuple(t.shape) for name, t in network.state_dict().items()} == {n: tuple(t.shape) for n, t in weights.items()}


def test_kernels_are_cropped_to_their_centre_and_channels_from_the_front() -> None:
    """A 3x3 kernel in a 5x5 one keeps the middle; the first channels, the first blocks."""
    made = cutter("mbconv")
    small = {**made.space.smallest.values, "kernel": 3}
    candidate = made.space.smallest.of("mbconv", small)
    name = "stage1_block1.body.1.0.weight"
    whole = torch.arange(np.prod(made.largest[name]), dtype=torch.float32).reshape(made.largest[name])
    found = made.cut(candidate, {name: whole})[name]
    assert torch.equal(found, whole[: found.shape[0], :, 1:4, 1:4])


def test_a_cutting_shares_memory_and_gradients() -> None:
    """What a student learns is learnt by the largest one, in its slice alone."""
    made = cutter("resnet")
    largest = build_student(made.family, made.space.largest, CONTRACT, 0)
    weights = made.cut(made.space.smallest, dict(largest.named_parameters()))
    network = build_student(made.family, made.space.smallest, CONTRACT, 0).train()
    functional_call(network, weights, (torch.randn(8, 1, 8, 8),)).square().sum().backward()
    kernel = dict(largest.named_parameters())["stem.0.weight"]
    assert kernel.grad is not None
    assert kernel.grad[:8].abs().sum() > 0
    assert kernel.grad[8:].abs().sum() == 0


def test_students_that_cannot_share_are_named() -> None:
    """Axes whose values change layers in other ways than by size are refused before any training."""
    family = find_family("resnet")
    axes = {**elastic_axes(family, SHAPE, True), "bottleneck": (0.5, 0.0), "depth1": (3, 1)}
    with pytest.raises(InputError, match="cannot share weights"):
        Cutter(family, Space(family="resnet", axes=axes), SHAPE, CLASSES).check()


def test_a_space_too_large_to_go_through_says_so() -> None:
    """The free space of thousands is drawn from, not enumerated; the coupled one is at least a hundred."""
    assert len(cutter("resnet").space.candidates()) == 162
    assert len(cutter("mbconv").space.candidates()) == 324
    free = cutter("mbconv", coupled=False).space
    assert free.size > ENUMERABLE
    with pytest.raises(InputError, match="more than 2,000"):
        free.candidates()


def test_calibration_takes_plain_means_over_all_batches() -> None:
    """The running mean is that of the batches' means, whatever it was before; weights and mode are as they were."""
    norm = nn.BatchNorm2d(3)
    network = nn.Sequential(norm, nn.Dropout(0.9))
    batches = [torch.randn(16, 3, 4, 4) + 5 for _ in range(4)]
    with torch.no_grad():
        norm.running_mean.fill_(100.0)
    first = calibrate(network, batches)
    means = torch.stack([batch.mean((0, 2, 3)) for batch in batches]).mean(0)
    assert torch.allclose(norm.running_mean, means, atol=1e-5)
    assert not any(module.training for module in first.modules())
    assert norm.momentum == 0.1
    again = norm.running_var.clone()
    calibrate(network, batches)
    assert torch.equal(again, norm.running_var)


def test_memory_is_flat_over_many_calibrations() -> None:
    """Fifty calibrations leave no tensor behind (AlphaNet issue 11)."""
    import gc

    network, batches = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8)), [torch.randn(8, 1, 8, 8)]

    def tensors() -> int:
        gc.collect()
        return sum(isinstance(found, torch.Tensor) for found in gc.get_objects())

    calibrate(network, batches)
    before = tensors()
    for _ in range(50):
        calibrate(network, batches)
    assert tensors() == before
