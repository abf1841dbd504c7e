"""A training that is stopped anywhere goes on bit-identically; what goes wrong is a StageError."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from synthetic_data import CONTRACT, QuarterTeacher, equal_states, small_net, synthetic

from edgekd.data.views import Augment
from edgekd.distill import trainer as module
from edgekd.distill.answers import Answers
from edgekd.distill.cache import TeacherCache, open_cache
from edgekd.distill.learners.solo import Solo
from edgekd.distill.objective import Objective
from edgekd.distill.recipe import Recipe, WeightedLoss, average_decay, rate
from edgekd.distill.taps import Tapped
from edgekd.distill.trainer import Step, Trainer
from edgekd.errors import InputError, StageError

AUGMENT = Augment(shift=1, flip=True)
RECIPE = Recipe(epochs=3, batch_size=64, views=2, threads=1, learning_rate=0.05, average_decay=0.9)
DATA = synthetic()
STEPS = RECIPE.epochs * RECIPE.steps_per_epoch(len(DATA.train))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> TeacherCache:
    teacher = QuarterTeacher()
    found = open_cache(tmp_path_factory.mktemp("cache"), teacher, DATA, AUGMENT, 0)
    found.fill(teacher, RECIPE.views, lambda title, done, total: None)
    return found


def make(folder: Path, cache: TeacherCache | None, recipe: Recipe = RECIPE, student: Any = None, **told: Any) -> Trainer:
    answers = None if cache is None else Answers(caches=(cache,))
    learner = Solo(Tapped(student or small_net(), len(CONTRACT.classes)), Objective(recipe, taught=cache is not None))
    return Trainer(learner, DATA, CONTRACT, recipe, answers, AUGMENT, folder / "checkpoint.safetensors", 0, **told)


class Cut(Exception):
    """A power cut."""


def interrupted(folder: Path, cache: TeacherCache | None, steps: list[int], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Train with a cut right after each of `steps`; checkpoints are written whenever they may be."""
    monkeypatch.setattr(module, "CHECKPOINT_SECONDS", -1.0)
    for cut in steps:

        def on_step(step: Step, cut: int = cut) -> None:
            if step.step == cut:
                raise Cut

        with pytest.raises(Cut):
            make(folder, cache, on_step=on_step).run()
    return make(folder, cache).run()


def without_seconds(curve: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in point.items() if k != "seconds"} for point in curve]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("taught", [True, False], ids=["teacher", "no teacher"])
def test_an_interrupted_training_ends_bit_identically(
    seed: int, taught: bool, cache: TeacherCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut at three random steps and resumed, weights and curve are those of the undisturbed training."""
    taken = cache if taught else None
    undisturbed = make(tmp_path / "whole", taken).run()
    cuts = sorted(random.Random(seed).sample(range(1, STEPS + 1), 3))
    resumed = interrupted(tmp_path / "cut", taken, cuts, monkeypatch)
    assert equal_states(resumed.module.state_dict(), undisturbed.module.state_dict())
    assert without_seconds(resumed.curve) == without_seconds(undisturbed.curve)


def test_a_cut_at_every_epochs_end_loses_no_point(cache: TeacherCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between an epoch's last step and its point on the curve no checkpoint may be taken up from."""
    each = RECIPE.steps_per_epoch(len(DATA.train))
    found = interrupted(tmp_path, cache, [each, 2 * each, 3 * each], monkeypatch)
    assert [point["epoch"] for point in found.curve] == [1, 2, 3]


def test_a_student_learns_from_its_teacher(cache: TeacherCache, tmp_path: Path) -> None:
    """With the teacher's answers alone, no label, the student ends far above chance and agrees with the teacher."""
    recipe = replace(RECIPE, task_weight=0.0, epochs=12, losses=(WeightedLoss(name="soft_targets", weight=1.0, numbers={}),))
    found = make(tmp_path, cache, recipe).run()
    assert found.curve[-1]["accuracy"] > 0.8
    assert found.curve[-1]["agreement"] > 0.8
    assert not found.module.training
    assert found.stopped == ""


def test_without_a_teacher_no_loss_is_asked_for_one(tmp_path: Path) -> None:
    """The labels alone are learnt from, and no agreement is claimed."""
    found = make(tmp_path, None).run()
    assert [point["agreement"] for point in found.curve] == [None] * 3


def test_on_epoch_is_told_and_may_stop(cache: TeacherCache, tmp_path: Path) -> None:
    """It is told every epoch with its accuracy; True ends the training there, which is said."""
    told: list[tuple[int, float]] = []

    def on_epoch(epoch: int, accuracy: float) -> bool:
        told.append((epoch, accuracy))
        return epoch == 2

    found = make(tmp_path, cache, on_epoch=on_epoch).run()
    assert (found.stopped, [epoch for epoch, _ in told]) == ("pruned", [1, 2])
    assert [accuracy for _, accuracy in told] == [point["accuracy"] for point in found.curve]


def test_a_time_limit_keeps_what_there_is(cache: TeacherCache, tmp_path: Path) -> None:
    """Far below a step's time, one step is made and its weights are given."""
    steps: list[int] = []
    found = make(tmp_path, cache, replace(RECIPE, max_minutes=1e-9), on_step=lambda step: steps.append(step.step)).run()
    assert (found.stopped, steps) == ("time limit", [1])


def test_a_diverging_training_is_a_stage_error(tmp_path: Path) -> None:
    """A loss that is no number ends the trial with a hint, not with weights."""
    with pytest.raises(StageError, match="learning_rate") as found:
        make(tmp_path, None, replace(RECIPE, learning_rate=1e12, epochs=8)).run()
    assert found.value.stage == "distil"


def test_a_student_at_chance_has_collapsed(tmp_path: Path) -> None:
    """Constant answers at the end are a failure of the trial."""
    student = small_net()
    torch.nn.init.zeros_(student[-1].weight)
    for parameter in student.parameters():
        parameter.requires_grad_(False)
    student[-1].bias.requires_grad_(True)
    with pytest.raises(StageError, match="collapse"):
        make(tmp_path, None, student=student).run()


def test_a_damaged_checkpoint_is_an_input_error(cache: TeacherCache, tmp_path: Path) -> None:
    """Half a checkpoint is not taken up from."""
    (tmp_path / "checkpoint.safetensors").write_bytes(b"\x10" * 64)
    with pytest.raises(InputError, match=r"checkpoint\.safetensors"):
        make(tmp_path, cache).run()


def test_the_estimate_leaves_the_training_as_it_was(cache: TeacherCache, tmp_path: Path) -> None:
    """Asking how long it will take changes no weight of what is then trained."""
    plain, asked = make(tmp_path / "a", cache), make(tmp_path / "b", cache)
    assert asked.estimate_seconds() > 0
    assert equal_states(asked.run().module.state_dict(), plain.run().module.state_dict())


def test_the_rate_rises_and_falls() -> None:
    """From peak / 25 up to the peak after a fifth of the steps, down to almost nothing, without a jump."""
    rates = [rate(step, 100, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.1 / 25)
    assert max(rates) == rates[20] == pytest.approx(0.1)
    assert rates[-1] < 1e-3
    assert rates[:21] == sorted(rates[:21])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert all(rate(step, 1, 0.1) > 0 for step in range(1))


def test_the_average_forgets_the_untrained_network() -> None:
    """Short at first, the chosen decay at last; never above what a tenth of the training spans; 0 follows the weights."""
    assert average_decay(0, 10**6, 0.998) == pytest.approx(0.1)
    assert average_decay(10**6, 10**6, 0.998) == 0.998
    assert average_decay(10**6, 1000, 0.998) == pytest.approx(0.99)
    assert average_decay(5, 10**6, 0.0) == 0
    assert average_decay(0, 1, 0.998) == 0
