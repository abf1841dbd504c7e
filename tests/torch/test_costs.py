"""What layers cost and how much memory their activations need, against arithmetic done by hand and torch's own counter."""

import math
import time
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from edgekd.errors import InputError
from edgekd.students import FAMILIES, find_family
from edgekd.students.costs import FEATURES, KINDS, features, layer_costs
from edgekd.students.layers import Residual, conv_bn
from edgekd.students.liveness import planned_peak_bytes

torch.set_num_threads(1)
SHAPE = (1, 28, 28)
Costs = list[Any]


def student(family: str, last: bool, device: str = "cpu") -> nn.Module:
    """The smallest or the largest of the coupled space, at its own input size 28."""
    axes = find_family(family).elastic(SHAPE, coupled=True)
    values = {axis: choices[-1 if last else 0] for axis, choices in axes.items()}
    with torch.device(device):
        network: nn.Module = find_family(family).build(values, SHAPE, 10)
    return network


def multiplied(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Multiply-accumulates by torch's counter, which counts two operations for each."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network.eval()(torch.zeros(1, *shape))
    return counter.get_total_flops() // 2


class Attention(nn.Module):
    """One head over (B, L, C), written out."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(16, 48)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).chunk(3, -1)
        return (query @ key.transpose(-1, -2)).softmax(-1) @ value


class Branching(nn.Module):
    """Looks at values, and makes tensors of its own."""

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() >= 0:
            x = x + torch.arange(4.0)
        return x * 2


NETWORKS = {
    "resnet": (student("resnet", True), SHAPE),
    "mbconv": (student("mbconv", True), SHAPE),
    "attention": (Attention(), (10, 16)),
    "sequence": (nn.Sequential(nn.Conv1d(3, 8, 9), nn.BatchNorm1d(8), nn.ReLU()), (3, 100)),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, 2), (4, 8, 8)),
    "grouped": (nn.Conv2d(8, 12, 3, groups=2), (8, 8, 8)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_multiplications_are_those_that_torch_counts(name: str) -> None:
    """Over any network: convolutions, linear layers, attention."""
    network, shape = NETWORKS[name]
    assert sum(cost.macs for cost in layer_costs(network, shape)) == multiplied(network, shape)


def test_multiplications_of_an_encoder() -> None:
    """Which torch runs as one operator and does not count: projections, two heads of 8 over 10 places, the feed-forward part."""
    costs = layer_costs(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), (10, 16))
    assert sum(cost.macs for cost in costs) == 10 * 16 * 48 + 2 * 2 * 10 * 10 * 8 + 10 * 16 * 16 + 2 * 10 * 16 * 32


def test_each_layer_of_an_inverted_residual() -> None:
    """Kinds, weights, elements and resolutions of a block by hand; its norms and activations are no layers."""
    body = nn.Sequential(conv_bn(8, 32), conv_bn(32, 32, 3, groups=32), conv_bn(32, 8, activation=None))
    costs = layer_costs(nn.Sequential(conv_bn(3, 8, 3, 2), Residual(body, nn.Identity(), nn.Identity())), (3, 10, 10))
    assert [(c.kind, c.macs, c.padded_macs, c.params, c.input_elements, c.output_elements) for c in costs] == [
        ("conv", 25 * 9 * 3 * 8, 25 * 9 * 16 * 16, 9 * 3 * 8 + 8, 300, 200),
        ("pointwise", 25 * 8 * 32, 25 * 16 * 32, 8 * 32 + 32, 200, 800),
        ("depthwise", 25 * 9 * 32, 25 * 9 * 32, 9 * 32 + 32, 800, 800),
        ("pointwise", 25 * 32 * 8, 25 * 32 * 16, 32 * 8 + 8, 800, 200),
        ("elementwise", 0, 0, 0, 400, 200),
    ]
    assert {cost.resolution for cost in costs} == {(5, 5)}


@pytest.mark.parametrize(
    ("activation", "kinds"),
    [
        (nn.ReLU(), ["conv"]),
        (nn.ReLU(inplace=True), ["conv"]),
        (nn.ReLU6(), ["conv"]),
        (nn.Hardswish(), ["conv", "activation"]),
        (nn.SiLU(inplace=True), ["conv", "activation"]),
    ],
)
def test_activations_that_runtimes_fuse_are_no_layers(activation: nn.Module, kinds: list[str]) -> None:
    """ReLU and ReLU6 come with the convolution, written in place or not; others are a pass over memory."""
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), activation)
    assert [cost.kind for cost in layer_costs(network, (3, 8, 8))] == kinds


def test_what_is_read_twice_is_not_fused() -> None:
    """A norm or an activation before its convolution, or of a map that another layer reads too, is a layer."""

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.conv = nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(self.norm(x))
            return y.relu() + y

    assert [cost.kind for cost in layer_costs(Both(), (3, 8, 8))] == ["norm", "pointwise", "activation", "elementwise"]


def test_attention_is_told_from_linear_layers() -> None:
    """Products of two activations are attention, with a softmax between; the projection is a linear layer."""
    kinds = [cost.kind for cost in layer_costs(Attention(), (10, 16))]
    assert [kind for kind in kinds if kind != "other"] == ["linear", "attention", "attention", "attention"]


def test_a_linear_layer_over_a_transposed_map_is_one() -> None:
    """Which torch runs as a batched product with the weight: a mixer's over places, with gradients or without."""

    class Places(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Linear(10, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.mix(x.transpose(1, 2))

    (cost,) = [cost for cost in layer_costs(Places(), (10, 16)) if cost.macs]
    assert (cost.kind, cost.macs) == ("linear", 16 * 10 * 6)


def test_features_are_sums_over_the_layers() -> None:
    """Of two networks one after the other they are the sum of both, but for the largest layer; weights are counted exactly."""
    first, second = (nn.Sequential(conv_bn(8, 8, 3), conv_bn(8, 8)), nn.Sequential(conv_bn(8, 8, 5, groups=8)))
    parts = [features(layer_costs(network, (8, 9, 9))) for network in (first, second)]
    whole = features(layer_costs(nn.Sequential(first, second), (8, 9, 9)))
    assert len(whole) == len(FEATURES)
    np.testing.assert_array_equal(whole[:-1], (parts[0] + parts[1])[:-1])
    assert whole[-1] == max(parts[0][-1], parts[1][-1]) == 2 * 8 * 81
    assert whole[FEATURES.index("params")] == 8 * 8 * 9 + 8 + 64 + 8 + 8 * 25 + 8


@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_without_memory_costs_the_same(family: str) -> None:
    """Built on the meta device it gives the same costs, and a real one is left as it was, in training mode too."""
    real = student(family, True).train()
    before = {name: tensor.clone() for name, tensor in real.state_dict().items()}
    assert layer_costs(real, SHAPE) == layer_costs(student(family, True, "meta"), SHAPE)
    assert all(module.training for module in real.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in real.state_dict().items())


def test_a_network_that_looks_at_values_is_run() -> None:
    """What cannot run without values is run on the CPU, if it has weights there or none."""
    assert [cost.kind for cost in layer_costs(Branching(), (4,))] == ["other", "other", "elementwise", "elementwise"]


def test_a_network_that_does_not_fit_its_sample_is_an_input_error() -> None:
    """With the shape and torch's own words, and without a traceback."""
    with pytest.raises(InputError, match=r"the network Linear does not run on a sample of shape \(5,\)"):
        layer_costs(nn.Linear(3, 4), (5,))


def test_costs_take_milliseconds() -> None:
    """A free space has thousands of students. CPU time, and the best of ten, since other programs run here too."""
    network = student("resnet", False, "meta")
    layer_costs(network, SHAPE)
    times = []
    for _ in range(10):
        start = time.process_time()
        features(layer_costs(network, SHAPE))
        times.append(time.process_time() - start)
    assert min(times) < 0.01, times


def test_peak_of_a_chain() -> None:
    """Each layer holds its input and its output, no more; the third is the worst. The caller's input is never written over."""
    network = nn.Sequential(conv_bn(1, 8, 3), conv_bn(8, 16, 3, 2), conv_bn(16, 64, 1), conv_bn(64, 4, 1))
    assert planned_peak_bytes(network, (1, 16, 16)) == 4 * max(
        256 + 8 * 256, 8 * 256 + 16 * 64, 16 * 64 + 64 * 64, 64 * 64 + 4 * 64
    )
    assert planned_peak_bytes(nn.Sequential(nn.Hardswish(), nn.Hardswish()), (10,)) == 4 * 20


def test_peak_of_a_residual_block() -> None:
    """The shortcut lives to the addition, so its second convolution holds three maps; the addition writes over one of them."""
    block = Residual(nn.Sequential(conv_bn(8, 8, 3), conv_bn(8, 8, 3, activation=None)), nn.Identity(), nn.ReLU())
    network = nn.Sequential(conv_bn(1, 8, 3), block)
    assert planned_peak_bytes(network, (1, 12, 12)) == 4 * 3 * 8 * 144
    assert planned_peak_bytes(network, (1, 12, 12), activation_bytes=1) == 3 * 8 * 144


def test_peak_of_an_inverted_residual() -> None:
    """The depthwise convolution holds the block's input and both expanded maps; without a shortcut, only those."""
    body = nn.Sequential(conv_bn(8, 32), conv_bn(32, 32, 3, groups=32), conv_bn(32, 8, activation=None))
    for shortcut, maps in ((nn.Identity(), 8 + 32 + 32), (None, 32 + 32)):
        network = nn.Sequential(conv_bn(1, 8, 3), Residual(body, shortcut, nn.Identity()))
        assert planned_peak_bytes(network, (1, 12, 12)) == 4 * maps * 144


def test_an_activation_of_its_own_is_in_place_only_where_nobody_reads_on() -> None:
    """Hard-swish writes over the convolution's output; where that is added afterwards, it cannot."""

    class Kept(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x * 2
            return nn.functional.hardswish(y) + y

    maps = nn.Sequential(nn.Conv2d(1, 8, 1), nn.Hardswish())
    assert planned_peak_bytes(maps, (1, 6, 6)) == 4 * (36 + 8 * 36)
    assert planned_peak_bytes(Kept(), (36,)) == 4 * 2 * 36  # the input is gone when the second map of the two is made


@pytest.mark.parametrize("family", FAMILIES)
def test_peaks_of_students_grow_with_them(family: str) -> None:
    """No smaller than the largest layer's input and output, and larger for the larger student."""
    small, large = student(family, False, "meta"), student(family, True, "meta")
    assert planned_peak_bytes(small, SHAPE) < planned_peak_bytes(large, SHAPE)
    # An addition's three tensors are two: it writes over one.
    costs = [cost for cost in layer_costs(large, SHAPE) if cost.kind != "elementwise"]
    least = 4 * max(cost.input_elements + cost.output_elements for cost in costs)
    assert least <= planned_peak_bytes(large, SHAPE) <= 4 * sum(cost.output_elements for cost in costs) + 4 * math.prod(SHAPE)


def test_kinds_are_all_told() -> None:
    """Every kind that a cost may have is summed by the features."""
    assert all(f"{kind} count" in FEATURES for kind in KINDS)
