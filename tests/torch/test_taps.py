"""Looking inside a network: what is found, what pairs, and that nothing of it stays behind."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from synthetic_data import CONTRACT
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.distill import Batch, Outputs
from edgekd.distill import loss as make_loss
from edgekd.distill.rounding import with_rounded_weights
from edgekd.distill.taps import Tapped, layer_at, spatial_taps
from edgekd.errors import InputError
from edgekd.students import find_family
from edgekd.teachers import FeatureRequest
from edgekd.teachers.accelerate import through_onnxruntime
from edgekd.teachers.torch_module import tapped_teacher, torch_teacher

CLASSES = 10
COMMON: dict[str, Any] = {"width": 8, "growth": 1.0, "depth": 2, "kernel": 3, "skip": True}
OWN: dict[str, dict[str, Any]] = {"resnet": {"bottleneck": 0.0}, "mbconv": {"expansion": 2, "stem_stride": 1}}


def built(family: str, side: int, **changes: Any) -> nn.Module:
    torch.manual_seed(0)
    values = {**COMMON, **OWN[family], "input_size": side, **changes}
    network: nn.Module = find_family(family).build(values, (1, side, side), CLASSES)
    return network.eval()


class UsersNet(nn.Module):
    """One activation for all layers, channels-last maps, and a head of two layers, as users write them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3, 2, 1)
        self.relu, self.last = nn.ReLU(), nn.Identity()
        self.hidden, self.head = nn.Linear(6, 5), nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.second(self.relu(self.first(x))))
        x = self.last(x.permute(0, 2, 3, 1)).mean((1, 2))
        logits: Tensor = self.head(self.relu(self.hidden(x)))
        return logits


@pytest.mark.parametrize("family", ["resnet", "mbconv"])
@pytest.mark.parametrize("rounded", [False, True])
def test_the_embedding_is_what_the_classifier_takes(family: str, rounded: bool) -> None:
    """Multiplied by the last layer it gives the logits, whether or not weights are rounded on the way."""
    network = built(family, 20)
    network = with_rounded_weights(network, 8) if rounded else network
    with torch.no_grad():
        found = Tapped(network, CLASSES).outputs(torch.randn(3, 1, 20, 20))
        assert isinstance(network, nn.Sequential)
        assert torch.equal(network[-1](found.embedding), found.logits)


def test_a_users_embedding_is_that_of_the_last_layer() -> None:
    """Of two linear layers the one that gives the classes is the classifier."""
    found = Tapped(UsersNet(), CLASSES).outputs(torch.randn(3, 1, 8, 8))
    assert found.embedding.shape == (3, 5)


def test_a_classifier_on_every_place_shows_no_embedding() -> None:
    """(B, N, D) is no embedding (B, D)."""

    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(8, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x.flatten(2).transpose(1, 2)).mean(1)

    assert Tapped(Dense(), CLASSES).outputs(torch.randn(2, 8, 3, 3)).embedding is None


@pytest.mark.parametrize(
    ("side", "strides"), [(8, {1, 2}), (20, {1, 2, 4}), (28, {1, 2, 4})], ids=lambda value: str(value).replace(" ", "")
)
def test_networks_pair_by_how_much_their_maps_shrink(side: int, strides: set[int]) -> None:
    """At any size both families have the same keys, and each key's map is smaller than the input by about that factor."""
    for family in ("resnet", "mbconv"):
        network = built(family, side)
        taps = spatial_taps(network, (1, side, side))
        assert taps.keys() == {f"stride{stride}" for stride in strides}, family
        found = Tapped(network, CLASSES, taps).outputs(torch.randn(2, 1, side, side)).features
        for key, maps in found.items():
            assert abs(side / maps.shape[2] - int(key.removeprefix("stride"))) <= 1.0, (family, key)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("side", [8, 28])
def test_rounded_weights_are_no_feature_maps(kernel: int, side: int) -> None:
    """A weight (out, in, k, k) that is computed in every pass looks like a map: it must not be tapped for one."""
    plain, rounded = built("mbconv", side, kernel=kernel), with_rounded_weights(built("mbconv", side, kernel=kernel), 8)
    assert spatial_taps(rounded, (1, side, side)) == spatial_taps(plain, (1, side, side))


def test_a_layer_that_runs_twice_has_no_resolution() -> None:
    """A shared activation's last output is not the map that it gave at the other resolution; channels last are no map."""
    assert spatial_taps(UsersNet(), (1, 8, 8)) == {"stride1": "first", "stride2": "second"}


def test_nothing_stays_in_the_network() -> None:
    """No hook, and no change of mode or statistics, even where the network fails."""
    network = built("resnet", 8).train()
    tapped = Tapped(network, CLASSES, spatial_taps(network, (1, 8, 8)))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    spatial_taps(network, (1, 8, 8))
    with pytest.raises(RuntimeError):
        tapped.outputs(torch.randn(2, 3, 8, 8))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    tapped.outputs(torch.randn(2, 1, 8, 8))
    for module in network.modules():
        assert module.training
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert tapped.network.state_dict().keys() == network.state_dict().keys()


def test_energy_is_all_that_attention_looks_at() -> None:
    """sqrt(mean_c F²) in the place of F gives the same loss, to rounding."""
    network, student = built("resnet", 8), built("resnet", 8, width=12)
    taps, inputs = spatial_taps(network, (1, 8, 8)), torch.randn(4, 1, 8, 8)
    batch = Batch(inputs=inputs, labels=torch.zeros(4, dtype=torch.int64))
    ours: Outputs = Tapped(student, CLASSES, taps).outputs(inputs)
    full, energy = (Tapped(network, CLASSES, taps, energy).outputs(inputs) for energy in (False, True))
    assert {tuple(maps.shape[:2]) for maps in energy.features.values()} == {(4, 1)}
    attention = make_loss("attention")
    assert torch.allclose(attention(ours, energy, batch), attention(ours, full, batch), rtol=1e-5)


def test_a_layer_that_is_not_there_is_named() -> None:
    """With the nearest one that is."""
    with pytest.raises(InputError, match=r"no layer 'stage1_block1\.bodi' \(did you mean 'stage1_block1\.body'\?\)"):
        layer_at(built("resnet", 8), "stage1_block1.bodi")
    with pytest.raises(InputError, match="no layer 'x'"):
        Tapped(built("resnet", 8), CLASSES, {"key": "x"})


def test_a_layer_without_a_map_is_named() -> None:
    """A linear layer's output is no feature map."""
    with pytest.raises(InputError, match="'head' gives no feature map"):
        Tapped(UsersNet(), CLASSES, {"key": "head"}).outputs(torch.randn(2, 1, 8, 8))


@pytest.mark.parametrize("energy", [False, True])
def test_taps_survive_the_export(energy: bool) -> None:
    """Through ONNX Runtime a teacher shows the same logits, embedding and maps, for batches of other sizes too."""
    network = built("resnet", 8)
    contract = replace(CONTRACT, classes=tuple("abcdefghij"))
    tapped = tapped_teacher(network, contract, FeatureRequest(energy=energy))
    inputs = np.random.default_rng(0).normal(size=(6, 1, 8, 8)).astype(np.float32)
    exported, direct = through_onnxruntime(tapped, inputs), torch_teacher("t", tapped, code="")
    for batch in (inputs, inputs[:1]):
        ours, theirs = direct.outputs(batch).by_name(), exported(batch).by_name()
        assert list(theirs) == ["logits", "embedding", "stride1", "stride2"] == list(ours)
        for name in ours:
            assert np.allclose(theirs[name], ours[name], rtol=1e-4, atol=1e-4 * np.abs(ours[name]).max()), name


def test_a_tapped_network_learns_as_the_bare_one() -> None:
    """The gradient through taps and logits is that of the network alone."""
    network, inputs = built("resnet", 8), torch.randn(4, 1, 8, 8)
    alone = torch.autograd.grad(F.cross_entropy(network(inputs), torch.arange(4)), list(network.parameters()))
    found = Tapped(network, CLASSES, spatial_taps(network, (1, 8, 8))).outputs(inputs)
    tapped = torch.autograd.grad(F.cross_entropy(found.logits, torch.arange(4)), list(network.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(alone, tapped, strict=True))


@pytest.mark.parametrize(("family", "changes"), [("mbconv", {}), ("resnet", {"bottleneck": 0.5}), ("resnet", {})])
def test_a_block_that_shrinks_is_not_looked_into(family: str, changes: dict[str, Any]) -> None:
    """Its first convolution still works at the larger resolution: the map to compare there is the block's before."""
    assert spatial_taps(built(family, 8, **changes), (1, 8, 8)) == {"stride1": "stage1_block2", "stride2": "stage2_block2"}


def test_a_backbone_inside_of_a_network_is_looked_into() -> None:
    """Its last map is of one resolution; the others are found inside, each the last that is no part of a shrinking block."""
    network = nn.Sequential(built("mbconv", 20)[:-3], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(CLASSES))  # type: ignore[index]
    assert spatial_taps(network, (1, 20, 20)) == {"stride1": "0.stage1_block2", "stride2": "0.stage2_block2", "stride4": "0"}
