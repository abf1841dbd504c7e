"""What learns together, who teaches whom, and what ships of it."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from synthetic_data import CLASSES, CONTRACT, equal_states
from torch import Tensor, nn
from torch.nn import functional as F
from training_runs import FAMILY, RECIPE, candidate, losses, stages

from edgekd.distill import Batch, Outputs
from edgekd.distill.learners.collaborative import TEMPERATURE, Collaborative, trunk_length
from edgekd.distill.learners.mutual import Mutual, mutual_divergence
from edgekd.distill.learners.solo import Solo
from edgekd.distill.objective import Objective
from edgekd.distill.taps import Tapped, spatial_taps
from edgekd.errors import InputError
from edgekd.students import find_family

BATCH = Batch(inputs=torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)), labels=torch.arange(8) % CLASSES)
TEACHER = Outputs(logits=torch.randn(8, CLASSES, generator=torch.Generator().manual_seed(1)))


def network(seed: int, **changes: Any) -> nn.Module:
    torch.manual_seed(seed)
    built: nn.Module = FAMILY.build(candidate(**changes).values, CONTRACT.shape, CLASSES)
    return built.train()


def untaught() -> Objective:
    return Objective(replace(RECIPE, losses=(), task_weight=1.0), taught=False)


def gradients(value: Tensor, module: nn.Module) -> list[Tensor]:
    return [
        g for g in torch.autograd.grad(value, list(module.parameters()), retain_graph=True, allow_unused=True) if g is not None
    ]


def total(parts: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(parts.values())).sum()


# Mutual -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3])
def test_each_peer_has_the_gradient_of_its_own_loss(count: int) -> None:
    """CE_i + 1/(K-1) Σ KL(p_j ‖ p_i), the others being constants: none is pulled by what the others want of it.

    KD_Lib's peers were not detached, and it compared raw logits (distillation.md, 1.3, defect 6).
    """
    peers = [network(seed) for seed in range(count)]
    learner = Mutual([Tapped(peer, CLASSES) for peer in peers], untaught())
    told = learner.learn(BATCH, [])
    for index, peer in enumerate(peers):
        z = [other(BATCH.inputs) for other in peers]
        p = [F.softmax(logits, 1).detach() for logits in z]
        terms = [
            (p[j] * (p[j].log() - F.log_softmax(z[index], 1))).sum(1).mean() / (count - 1) for j in range(count) if j != index
        ]
        expected = gradients(F.cross_entropy(z[index], BATCH.labels) + torch.stack(terms).sum(), peer)
        for ours, theirs in zip(gradients(total(told.parts), peer), expected, strict=True):
            assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_divergence_is_summed_over_classes_and_averaged_over_samples() -> None:
    """By hand for two samples of two classes: (3/4, 1/4) and (1/2, 1/2), both ways. As a mean over classes it would be half."""
    one, other = torch.tensor([[3.0, 1.0]] * 2).log(), torch.zeros(2, 2)
    forth, back = 0.75 * torch.tensor(1.5).log() + 0.25 * torch.tensor(0.5).log(), -0.5 * torch.tensor(0.75).log()
    assert mutual_divergence([one, other]) == pytest.approx(float(forth + back), rel=1e-5)
    assert mutual_divergence([one, one, one]) == pytest.approx(0.0, abs=1e-6)


def test_the_first_peer_ships_and_shares_its_weights() -> None:
    """What is trained is what ships, without a copy between; the teacher's terms are those of all peers."""
    peers = [network(seed) for seed in range(2)]
    objective = Objective(RECIPE, taught=True)
    learner = Mutual([Tapped(peer, CLASSES) for peer in peers], objective)
    assert learner.student() is peers[0]
    told = learner.learn(BATCH, [TEACHER])
    each = [objective.parts(Outputs(logits=peer(BATCH.inputs)), [TEACHER], BATCH)["soft_targets"] for peer in peers]
    assert torch.allclose(told.parts["soft_targets"], each[0] + each[1])
    assert torch.equal(told.logits, peers[0](BATCH.inputs))


# Collaborative ------------------------------------------------------------------------------------------------------------


def branched(objective: Objective, count: int = 3, epochs: int = 100) -> Collaborative:
    return Collaborative([network(seed) for seed in range(count)], objective, CONTRACT.shape, epochs)


@pytest.mark.parametrize("family", ["resnet", "mbconv"])
@pytest.mark.parametrize("side", [8, 20, 28])
def test_the_trunk_ends_before_the_last_resolution(family: str, side: int) -> None:
    """Branches hold the blocks of the smallest maps, pooling and classifier; the trunk has all that is larger."""
    found = find_family(family)
    values = {**candidate(depth=2).values, "expansion": 2, "stem_stride": 1, "input_size": side}
    built = found.build(values, (1, side, side), CLASSES).eval()
    split = trunk_length(built, (1, side, side))
    trunk, branch = built[:split], built[split:]
    maps = trunk(torch.zeros(1, 1, side, side))
    assert maps.shape[2] > branch[0](maps).shape[2] > 1
    assert len(branch) == 2 + 3  # two blocks, pooling, flattening, classifier


def test_what_ships_has_the_familys_names_and_is_the_first_branch() -> None:
    """A student of the family takes the weights, and answers as the first branch did."""
    learner = branched(untaught()).eval()
    state, alone = learner.student().state_dict(), network(7).eval()
    assert state.keys() == alone.state_dict().keys()
    alone.load_state_dict(state)
    assert torch.equal(alone(BATCH.inputs), learner.learn(BATCH, []).logits)
    next(learner.trunk.parameters()).data.add_(1)
    assert not equal_states(learner.student().state_dict(), alone.state_dict())


def test_named_layers_keep_their_names() -> None:
    """A user's sequence with names of its own ships under them; one with a `forward` of its own is refused."""
    layers = [("stem", nn.Conv2d(1, 8, 3, 1, 1)), ("down", nn.Conv2d(8, 8, 3, 2, 1)), ("pool", nn.AdaptiveAvgPool2d(1))]

    def named() -> nn.Sequential:
        head = [("flat", nn.Flatten()), ("head", nn.Linear(8, CLASSES))]
        return nn.Sequential(OrderedDict([*layers, *head]))

    learner = Collaborative([named(), named()], untaught(), CONTRACT.shape, 4)
    assert learner.student().state_dict().keys() == named().state_dict().keys()

    class Own(nn.Sequential):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input) * 2

    for refused in (Own(*named()), Tapped(named(), CLASSES)):
        with pytest.raises(InputError, match=r"nn\.Sequential"):
            Collaborative([refused, refused], untaught(), CONTRACT.shape, 4)


def test_the_gate_learns_from_the_labels_alone() -> None:
    """The ensemble is detached where it teaches: through the divergence nothing reaches gate or other branches."""
    learner = branched(untaught())
    nn.init.normal_(learner.gate.weight)
    told = learner.learn(BATCH, [])
    assert all(float(g.abs().sum()) > 0 for g in gradients(told.parts["task"], learner.gate))
    assert gradients(told.parts["collaborative"], learner.gate) == []


def test_each_branch_learns_from_the_ensemble() -> None:
    """T² KL(ensemble ‖ branch) summed over branches, by hand from the learner's own parts, at the end of the ramp."""
    learner = branched(untaught(), epochs=4).eval()
    shared = learner.trunk(BATCH.inputs)
    logits = [branch(shared) for branch in learner.branches]
    ensemble = torch.stack(logits).mean(0)  # the gate begins with equal voices
    p = F.softmax(ensemble / TEMPERATURE, 1)
    expected = [TEMPERATURE**2 * (p * (p.log() - F.log_softmax(z / TEMPERATURE, 1))).sum(1).mean() for z in logits]
    told = learner.learn(replace(BATCH, epoch=3), []).parts
    assert told["collaborative"].item() == pytest.approx(float(torch.stack(expected).sum()), rel=1e-4)
    labels = [F.cross_entropy(z, BATCH.labels) for z in [*logits, ensemble]]
    assert told["task"].item() == pytest.approx(float(torch.stack(labels).sum()), rel=1e-4)
    first = branched(untaught(), epochs=100).learn(BATCH, []).parts["collaborative"]
    assert float(first) < 0.1 * float(told["collaborative"])


def test_losses_on_maps_are_refused_before_any_training() -> None:
    """An ensemble has no feature maps: the scheme says so when it plans."""
    with pytest.raises(InputError, match=r"collaborative.* look at features"):
        stages(replace(RECIPE, losses=losses("hints")), "collaborative")


# Solo and what is left behind ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["exits", "hints", "review"])
def test_what_helps_to_learn_is_no_part_of_the_student(name: str) -> None:
    """Adapters and exits are the learner's: trained with it, and not in the student's weights."""
    bare = network(0)
    tapped = Tapped(bare, CLASSES, spatial_taps(bare, CONTRACT.shape))
    objective = Objective(replace(RECIPE, losses=losses(name)), taught=True)
    learner = Solo(tapped, objective)
    maps = {key: value.detach() for key, value in Tapped(bare, CLASSES, tapped.taps).outputs(BATCH.inputs).features.items()}
    learner.learn(BATCH, [replace(TEACHER, features=maps)])
    assert len(list(objective.parameters())) > 0
    assert {id(p) for p in objective.parameters()} <= {id(p) for p in learner.parameters()}
    assert not {id(p) for p in objective.parameters()} & {id(p) for p in learner.student().parameters()}
    assert learner.student().state_dict().keys() == network(1).state_dict().keys()


def test_an_heir_is_not_its_teacher() -> None:
    """Generations begin apart and the term that teaches is not zero (KD_Lib's were one object: 1.3, defect 5)."""
    planned: Sequence[Any] = stages(RECIPE, "born_again", {"generations": 3})
    assert len({stage.seed for stage in planned}) == len(planned)
    assert [stage.taught_by for stage in planned] == [("teacher",), *((stage.name,) for stage in planned[:-1])]
    first, heir = network(planned[0].seed), network(planned[1].seed)
    taught = Outputs(logits=first(BATCH.inputs).detach())
    parts = Solo(Tapped(heir, CLASSES), Objective(RECIPE, taught=True)).learn(BATCH, [taught]).parts
    assert parts["soft_targets"].item() > 1e-3
