"""What a student minimises is the sum that its recipe writes down."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from synthetic_data import CONTRACT
from torch import Tensor
from torch.nn import functional as F
from training_runs import AUGMENT, DATA, RECIPE, cache_of, losses, stages, teacher_network, training

from edgekd.distill import Batch, Outputs
from edgekd.distill import loss as make_loss
from edgekd.distill.ensemble import combine
from edgekd.distill.objective import Objective, gradient_scales, loss_temperature, term_names
from edgekd.distill.recipe import Recipe, WeightedLoss
from edgekd.distill.trainer import Trainer
from edgekd.errors import InputError

BATCH = Batch(inputs=torch.zeros(6, 1, 8, 8), labels=torch.arange(6) % 4)


def outputs(seed: int) -> Outputs:
    draws = torch.Generator().manual_seed(seed)
    maps = {"stride1": torch.randn(6, 3, 8, 8, generator=draws), "stride2": torch.randn(6, 5, 4, 4, generator=draws)}
    return Outputs(logits=torch.randn(6, 4, generator=draws), embedding=torch.randn(6, 7, generator=draws), features=maps)


def objective(*items: WeightedLoss, taught: bool = True, **changes: Any) -> Objective:
    return Objective(replace(RECIPE, losses=items, **changes), taught=taught)


def item(name: str, weight: float, **numbers: Any) -> WeightedLoss:
    return WeightedLoss(name=name, weight=weight, numbers=numbers)


def test_the_terms_are_those_of_the_formula() -> None:
    """task_weight · CE + Σ weight · loss, by hand; two terms of one loss are told apart."""
    student, teacher = outputs(0), outputs(1)
    items = (item("soft_targets", 0.7, temperature=2.0), item("soft_targets", 0.2, temperature=5.0), item("similarity", 3.0))
    found = objective(*items, task_weight=0.4).parts(student, [teacher], BATCH)
    assert list(found) == ["task", "soft_targets 1", "soft_targets 2", "similarity"]
    assert torch.equal(found["task"], 0.4 * F.cross_entropy(student.logits, BATCH.labels))
    for name, one in zip(list(found)[1:], items, strict=True):
        expected = one.weight * make_loss(one.name, **one.numbers)(student, teacher, BATCH)
        assert torch.allclose(found[name], expected, rtol=1e-6), name


def test_what_weighs_nothing_is_not_computed() -> None:
    """A loss of weight 0 asks for no maps, no teacher and no cache, and is no dead term."""
    made = objective(item("hints", 0.0), item("soft_targets", 1.0))
    assert made.needs == {"logits"}
    assert list(made.parts(Outputs(logits=outputs(0).logits), [outputs(1)], BATCH)) == ["task", "soft_targets"]
    assert "task" not in objective(item("soft_targets", 1.0), task_weight=0.0).parts(outputs(0), [outputs(1)], BATCH)


def test_without_a_teacher_what_ignores_it_stays() -> None:
    """Exits learn from their own network; all else leaves."""
    made = objective(item("soft_targets", 1.0), item("exits", 1.0), item("hints", 1.0), taught=False)
    assert made.needs == {"logits", "student features"}
    assert list(made.parts(outputs(0), [], BATCH)) == ["task", "exits"]


@pytest.mark.parametrize(
    ("names", "needs"),
    [
        (("soft_targets", "dist"), {"logits"}),
        (("attention",), {"energy"}),
        (("attention", "hints"), {"energy", "features"}),
        (("rkd_distance",), {"embedding"}),
        (("exits",), {"logits", "student features"}),
    ],
)
def test_only_what_losses_look_at_is_asked_for(names: tuple[str, ...], needs: set[str]) -> None:
    """Attention alone needs maps of one channel; no loss brings what it does not read."""
    assert objective(*losses(*names)).needs == needs


def test_each_loss_gets_the_ensemble_at_its_own_temperature() -> None:
    """Two losses at two temperatures are two targets; one without a temperature takes 1."""
    teachers, student = [outputs(1), outputs(2), outputs(3)], outputs(0)
    items = (item("soft_targets", 1.0, temperature=2.0), item("soft_targets", 1.0), item("dist", 1.0, temperature=6.0))
    for weighting in ("mean_probabilities", "ca_mkd", "ae_kd"):
        found = objective(*items, combine=weighting).parts(student, teachers, BATCH)
        for (name, value), one, temperature in zip(list(found.items())[1:], items, (2.0, 4.0, 6.0), strict=True):
            target = combine(weighting, teachers, student, BATCH, temperature)
            assert torch.allclose(value, make_loss(one.name, **one.numbers)(student, target, BATCH)), (weighting, name)
    assert loss_temperature("soft_targets", {}) == 4.0
    assert loss_temperature("correlation", {}) == 1.0


def test_names_tell_equal_losses_apart() -> None:
    """In the order in which the recipe has them."""
    assert term_names(losses("dist", "pkt", "dist")) == ["dist 1", "pkt", "dist 2"]


def test_scales_make_weights_ratios_of_gradients() -> None:
    """By hand: gradients of 4 at weight 2 and of 3 at weight 0.5; what gives no gradient is left as it is."""
    found = gradient_scales({"task": 2.0, "a": 8.0, "b": 1.5, "none": 0.0}, {"task": 0.5, "a": 2.0, "b": 0.5, "none": 1.0})
    assert found == pytest.approx({"a": 1.0, "b": 4 / 3})


def test_to_normalize_takes_labels() -> None:
    """Without them there is no unit: that is said, not passed over."""
    with pytest.raises(InputError, match="normalize"):
        objective(item("soft_targets", 1.0), task_weight=0.0, normalize=True)


def norms(parts: dict[str, Tensor], parameters: Sequence[Tensor]) -> dict[str, float]:
    found = {}
    for name, value in parts.items():
        gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        found[name] = float(torch.stack([g.norm() for g in gradients if g is not None]).norm())
    return found


def test_a_normalized_weight_is_a_ratio_of_gradients(tmp_path: Path) -> None:
    """On batches that were not measured, each term's gradient in the student is its weight times the labels', within a factor.

    Of losses whose own gradients differ by orders of magnitude, and of one with an adapter, which does not count.
    """
    from edgekd.teachers import FeatureRequest

    weights = {"soft_targets": 2.0, "attention": 0.5, "hints": 1.0}
    items = tuple(item(name, weight) for name, weight in weights.items())
    recipe: Recipe = replace(RECIPE, losses=items, task_weight=1.0, normalize=True, batch_size=64, epochs=2)
    cache = cache_of(tmp_path / "cache", 0, FeatureRequest())
    (stage,) = stages(recipe)
    with training(tmp_path / "run", (cache,)) as made:
        trainer: Trainer = made._trainer(stage, {}, tmp_path / "checkpoint", lambda *told: False, lambda step: None)
    batches = list(trainer._batches(0, 0))
    trainer._step(*batches[0])
    student = list(trainer.learner.student().parameters())
    for batch, teachers in batches[1:]:
        found = norms(trainer.learner.learn(batch, teachers).parts, student)
        for name, weight in weights.items():
            assert found[name] / found["task"] == pytest.approx(weight, rel=0.6), name
    assert trainer.learner.objective.scales.keys() == weights.keys()
    assert max(trainer.learner.objective.scales.values()) > 5 * min(trainer.learner.objective.scales.values())


def test_the_networks_of_these_tests_know_something() -> None:
    """A teacher that guesses would make every comparison here an empty one."""
    from edgekd.data.prepare import prepare
    from edgekd.distill.trainer import predict

    answers = predict(teacher_network(), prepare(DATA.validation.inputs, CONTRACT)).argmax(1)
    assert (answers == DATA.validation.labels).mean() > 0.8
    assert AUGMENT.shift
