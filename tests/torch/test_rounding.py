"""Training with rounded weights: what ships is on the grid, under the family's names, and the gradient goes straight through."""

import copy

import pytest
import torch
from synthetic_data import CLASSES, CONTRACT
from torch import nn
from training_runs import FAMILY, candidate

from edgekd.distill.rounding import RoundedWeight, stripped, with_rounded_weights
from edgekd.distill.taps import Tapped


def network() -> nn.Module:
    torch.manual_seed(0)
    built: nn.Module = FAMILY.build(candidate().values, CONTRACT.shape, CLASSES)
    return built


def matrices(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value for name, value in module.state_dict().items() if value.ndim > 1}


@pytest.mark.parametrize("bits", [4, 8])
def test_what_ships_is_on_the_grid(bits: int) -> None:
    """Each output channel is whole multiples of its largest weight over 2^(bits-1) - 1; the largest stays as it is."""
    plain, levels = matrices(network()), 2 ** (bits - 1) - 1
    found = stripped(with_rounded_weights(network(), bits))
    assert found.state_dict().keys() == network().state_dict().keys()
    for name, weight in matrices(found).items():
        for channel, original in zip(weight.double().flatten(1), plain[name].double().flatten(1), strict=True):
            scale = original.abs().max() / levels
            assert (channel / scale - (channel / scale).round()).abs().max() < 1e-4
            assert (channel - original).abs().max() <= 0.5001 * scale
            assert channel.abs().max() == pytest.approx(float(original.abs().max()), rel=1e-6)


def test_rounding_what_is_rounded_changes_nothing() -> None:
    """A quantizer with the same grid finds the weights where they are."""
    once = stripped(with_rounded_weights(network(), 8))
    twice = stripped(with_rounded_weights(copy.deepcopy(once), 8))
    for name, weight in matrices(once).items():
        assert torch.allclose(matrices(twice)[name], weight, rtol=1e-6, atol=0), name


def test_the_gradient_goes_straight_through() -> None:
    """The weights below learn what the rounded ones are told, wherever they lie between two levels."""
    weight = torch.randn(3, 5, requires_grad=True)
    told = torch.randn(3, 5)
    (RoundedWeight(4)(weight) * told).sum().backward()
    assert torch.equal(weight.grad, told)  # type: ignore[arg-type]


def test_it_answers_with_the_rounded_weights() -> None:
    """While it learns and when it ships, to the bit; and otherwise than the plain network."""
    inputs, rounded = torch.randn(4, 1, 8, 8), with_rounded_weights(network(), 4).eval()
    before = Tapped(rounded, CLASSES).outputs(inputs).logits
    assert torch.equal(stripped(copy.deepcopy(rounded))(inputs), before)
    assert not torch.allclose(network().eval()(inputs), before, rtol=1e-3)


def test_a_channel_of_zeros_stays_zero() -> None:
    """No division by its largest weight."""
    weight = torch.zeros(2, 3)
    weight[0] = torch.tensor([1.0, -0.5, 0.3])
    found = RoundedWeight(8)(weight)
    assert torch.isfinite(found).all()
    assert torch.equal(found[1], torch.zeros(3))
