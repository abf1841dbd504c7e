"""Losses with weights of their own: made once, from a seed alone, trained, copied, and put back by a resumed training."""

import copy

import pytest
import torch
from loss_outputs import WITH_WEIGHTS, batch_of, mapped, network
from torch import nn

from edgekd import Outputs, loss
from edgekd.distill import LOSSES
from edgekd.distill.losses.review import hierarchical_difference
from edgekd.errors import InputError

each = pytest.mark.parametrize("name", WITH_WEIGHTS)


def called(name: str, **numbers: int) -> nn.Module:
    criterion: nn.Module = loss(name, **numbers)
    criterion(network(0), network(1, width=2), batch_of())
    return criterion


def same(ours: nn.Module, theirs: nn.Module) -> bool:
    a, b = ours.state_dict(), theirs.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in WITH_WEIGHTS])
def test_other_losses_have_none(name: str) -> None:
    """Nothing to train and nothing to keep in a checkpoint."""
    assert not called(name).state_dict()


@each
def test_the_first_call_makes_them_and_no_other(name: str) -> None:
    """The optimizer that was given them keeps training the same tensors."""
    criterion = called(name)
    before = list(criterion.parameters())
    criterion(network(2), network(3, width=2), batch_of())
    assert before
    assert [id(p) for p in criterion.parameters()] == [id(p) for p in before]


@each
def test_they_depend_on_the_seed_alone(name: str) -> None:
    """Not on other draws nor on the order of the taps; and other draws do not depend on them."""
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first = called(name)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(2)
    student = network(0)
    turned = Outputs(logits=student.logits, features=dict(reversed(student.features.items())))
    second = loss(name)
    second(turned, network(1, width=2), batch_of())
    assert same(first, second)
    assert not same(first, called(name, seed=1))


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_they_have_the_students_type(name: str, dtype: torch.dtype) -> None:
    """float32 at least."""
    criterion = loss(name)
    criterion(network(0, dtype=dtype), network(1, width=2, dtype=dtype), batch_of())
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    assert {parameter.dtype for parameter in criterion.parameters()} == {expected}


@each
def test_other_maps_than_at_the_first_call_are_refused(name: str) -> None:
    """One line says what they were made for and what is there now."""
    criterion = called(name)
    with pytest.raises(InputError, match=rf"loss '{name}' was made for maps .*early 3->.*, now sees .*early 9->"):
        criterion(network(0, width=3), network(1, width=2), batch_of())


@each
def test_a_resumed_training_puts_them_back(name: str) -> None:
    """A fresh loss that was called once takes the kept state and gives the same values from then on."""
    trained = called(name)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.1)
    fresh = called(name, seed=5)
    fresh.load_state_dict(trained.state_dict())
    given = network(2), network(3, width=2), batch_of()
    assert float(fresh(*given).detach()) == float(trained(*given).detach())
    assert float(fresh(*given).detach()) != float(called(name)(*given).detach())


@each
def test_a_deep_copy_computes_with_its_own(name: str) -> None:
    """Training a copy leaves the original as it was: moving averages and trials of a few steps rely on it."""
    original, given = called(name), (network(2), network(3, width=2), batch_of())
    before = float(original(*given).detach())
    copied = copy.deepcopy(original)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    assert float(original(*given).detach()) == before
    assert float(copied(*given).detach()) != before


@each
def test_training_them_lowers_the_loss(name: str) -> None:
    """All of them get a gradient, and fifty steps of gradient descent fit the adapters to a fixed pair of networks."""
    criterion = loss(name)
    given = mapped(network(0), lambda t: t.detach()), network(1, width=2), batch_of()
    first = float(criterion(*given).detach())
    optimizer = torch.optim.Adam(criterion.parameters(), lr=0.02)
    for _ in range(50):
        optimizer.zero_grad()
        found = criterion(*given)
        found.backward()
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in criterion.parameters())
        optimizer.step()
    assert float(found.detach()) < 0.8 * first


@each
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_first_call_without_gradients_makes_weights_that_train(name: str, mode: type) -> None:
    """Calling once to make them, the usual way to prepare an optimizer, asks for no gradients."""
    criterion = loss(name)
    with mode():
        criterion(network(0), network(1, width=2), batch_of())
    criterion(network(0), network(1, width=2), batch_of()).backward()
    assert all(parameter.grad is not None for parameter in criterion.parameters())


def test_exits_teach_the_layers_before_them_only() -> None:
    """The last logits and the deepest map are targets; the earlier map learns. The teacher is not looked at."""
    student, nothing = network(0), Outputs(logits=None)
    loss("exits")(student, nothing, batch_of()).backward()
    assert student.features["early"].grad.abs().max() > 0
    assert student.features["block.2"].grad is None
    assert student.logits.grad is None


def test_review_fuses_from_the_deepest_map_on() -> None:
    """The early map's error reaches the deep map too; the deep one's stays there. By size, whatever the order of the keys."""
    student, teacher, criterion = network(0), network(1, width=2), called("review")
    made = criterion.weights.made
    assert made["map_block/2"].attend is None
    deep, of_deep = made["map_block/2"](student.features["block.2"], None)
    _, of_early = made["map_early"](student.features["early"], deep)
    early, late = student.features["early"], student.features["block.2"]
    assert all(g.abs().max() > 0 for g in torch.autograd.grad(of_early.sum(), [early, late], retain_graph=True))
    assert torch.autograd.grad(of_deep.sum(), [early], allow_unused=True) == (None,)
    pairs = ((of_early, "early"), (of_deep, "block.2"))
    expected = sum(hierarchical_difference(ours, teacher.features[key].detach()) for ours, key in pairs)
    torch.testing.assert_close(criterion(student, teacher, batch_of()), expected)
