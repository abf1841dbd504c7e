"""Failures of a training are found by what they do, and say their name and a next step."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from synthetic_data import CLASSES, CONTRACT
from torch import Tensor, nn
from training_runs import AUGMENT, DATA, RECIPE, cache_of, losses, stages, trained

from edgekd.data.views import Augment
from edgekd.distill import Batch, Outputs, detectors
from edgekd.distill.answers import Answers
from edgekd.distill.cache import TeacherCache
from edgekd.distill.learners import Learner
from edgekd.distill.learners.solo import Solo
from edgekd.distill.objective import Objective
from edgekd.distill.recipe import Recipe, WeightedLoss
from edgekd.distill.taps import Tapped
from edgekd.distill.trainer import Trainer
from edgekd.errors import StageError


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> TeacherCache:
    return cache_of(tmp_path_factory.mktemp("cache"))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    body = (nn.Conv2d(1, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, CLASSES))
    return nn.Sequential(*body)


def trainer(folder: Path, recipe: Recipe = RECIPE, learner: Learner | None = None, **changes: Any) -> Trainer:
    found = learner or Solo(Tapped(network(), CLASSES), Objective(recipe, taught=changes.get("answers") is not None))
    given = {"data": DATA, "answers": None, "augment": AUGMENT, **changes}
    return Trainer(found, given["data"], CONTRACT, recipe, given["answers"], given["augment"], folder / "checkpoint")


def fails(name: str, run: Callable[[], object]) -> StageError:
    with pytest.raises(StageError, match=f"^distil: {name}: ") as found:
        run()
    assert found.value.hint
    return found.value


def test_pictures_that_are_no_numbers(tmp_path: Path) -> None:
    """One NaN among the inputs ends the training in the step that meets it."""
    inputs = DATA.train.inputs.astype(np.float32)
    inputs[17, 0, 3, 3] = np.nan
    data = replace(DATA, train=replace(DATA.train, inputs=inputs))
    assert "step" in fails("not-a-number", trainer(tmp_path, data=data).run).cause


def test_a_student_that_learns_nothing(tmp_path: Path) -> None:
    """With a rate of almost zero it ends at chance, which is no result."""
    fails("collapse", trainer(tmp_path, replace(RECIPE, learning_rate=1e-12, losses=(), task_weight=1.0)).run)


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_chance_depends_on_the_classes(classes: int) -> None:
    """A tenth is nothing of ten classes and much of a thousand; half is nothing of two."""
    with pytest.raises(StageError, match="collapse"):
        detectors.collapse(1 / classes, classes)
    detectors.collapse(1 / classes + 0.06, classes)


@pytest.mark.parametrize("items", [losses("soft_targets", weight=1e-9), losses("similarity", weight=1e-12)])
def test_a_loss_that_does_nothing(items: tuple[WeightedLoss, ...], cache: TeacherCache, tmp_path: Path) -> None:
    """A distillation in name only is stopped, with the loss's name and what its gradient is."""
    recipe = replace(RECIPE, losses=items)
    found = fails("dead-kd-term", trainer(tmp_path, recipe, answers=Answers(caches=(cache,), embedding=True)).run)
    assert f"'{items[0].name}'" in found.cause


def test_a_loss_without_a_gradient_is_dead(cache: TeacherCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss of a user's own that detaches the student is found, not a crash."""

    def constant(student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        return (student.logits.detach() - teacher.logits).square().mean()

    objective = Objective(RECIPE, taught=True)
    monkeypatch.setattr(objective.terms[0], "criterion", constant)
    learner = Solo(Tapped(network(), CLASSES), objective)
    fails("dead-kd-term", trainer(tmp_path, learner=learner, answers=Answers(caches=(cache,))).run)


def test_an_adapter_that_learns_does_not_hide_a_dead_loss(cache: TeacherCache, tmp_path: Path) -> None:
    """What counts is the pull on the student, not that on the loss's own weights."""

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(CLASSES))

        def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
            return (self.weight * student.logits.detach() - teacher.logits).square().mean() + 1e-9 * student.logits.mean()

    objective = Objective(RECIPE, taught=True)
    objective.terms[0].criterion = Own()
    objective.modules_of_losses.append(objective.terms[0].criterion)
    learner = Solo(Tapped(network(), CLASSES), objective)
    fails("dead-kd-term", trainer(tmp_path, learner=learner, answers=Answers(caches=(cache,))).run)


@pytest.mark.parametrize("scheme", ["collaborative", "mutual"])
def test_what_comes_in_slowly_is_not_dead(scheme: str, tmp_path: Path) -> None:
    """A long ramp, or peers that agree, are no failure of the recipe."""
    recipe = replace(RECIPE, epochs=3, losses=(), task_weight=1.0)
    (stage,) = stages(recipe, scheme, {"with_teacher": False})
    long = replace(stage, recipe=replace(recipe, epochs=3))
    assert trained(tmp_path / "run", (long,))["failure"] is None
    detectors.dead_kd_term({"soft_targets": 1e-2})


@pytest.mark.parametrize("augment", [Augment(), Augment(shift=2), Augment(shift=1, flip=True)])
def test_other_pictures_than_the_teachers(augment: Augment, cache: TeacherCache, tmp_path: Path) -> None:
    """A cache that was filled with another augmentation is refused before the first step."""
    fails("unequal-views", lambda: trainer(tmp_path, answers=Answers(caches=(cache,)), augment=augment))


def test_other_pictures_for_one_of_several_teachers(cache: TeacherCache, tmp_path: Path) -> None:
    """Each cache is looked at, not the first alone."""
    other = cache_of(tmp_path / "other", 1)
    (other.folder / "view-000.witness").write_text("x")
    fails("unequal-views", lambda: trainer(tmp_path, answers=Answers(caches=(cache, other))))


def test_a_student_that_needs_its_adapter(tmp_path: Path) -> None:
    """What ships must answer as what was trained: a network that leans on a part that is left behind is found."""

    class Leaning(Solo):
        def __init__(self) -> None:
            super().__init__(Tapped(network(), CLASSES), Objective(replace(RECIPE, losses=(), task_weight=1.0), taught=False))
            self.adapter = nn.Parameter(torch.ones(CLASSES))

        def learn(self, batch: Batch, teachers: Any) -> Any:
            told = super().learn(batch, teachers)
            logits = told.logits + self.adapter
            return replace(told, logits=logits, parts={"task": nn.functional.cross_entropy(logits, batch.labels)})

    fails("adapter-in-student", trainer(tmp_path, learner=Leaning()).run)
