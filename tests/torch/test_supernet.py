"""A supernet's training: resumes bit-identically, rolls back where it collapses, and its students take their share."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from synthetic_data import CLASSES, CONTRACT
from training_runs import DATA, EVERY_STEP, FAMILY, RECIPE, Cut, Watch, cache_of, recorded, trained, training

from edgekd.data.prepare import prepare
from edgekd.distill import Batch, Outputs, guard, trainer
from edgekd.distill.cache import TeacherCache
from edgekd.distill.checkpoint import read_tensors
from edgekd.distill.guard import Guard
from edgekd.distill.learners.sandwich import TEMPERATURE, Sandwich, divergence, resized
from edgekd.distill.objective import Objective
from edgekd.distill.recipe import Recipe, WeightedLoss
from edgekd.distill.stage import Stage
from edgekd.errors import StageError
from edgekd.search.supernet import Supernet
from edgekd.students.space import Space

SPACE = Space(
    family="resnet",
    axes={
        "width": (8, 12),
        "growth": (1.5,),
        "depth1": (1, 2),
        "depth2": (1, 2),
        "kernel": (3,),
        "bottleneck": (0.0,),
        "skip": (True,),
        "input_size": (6, 8),
    },
)


def supernet(recipe: Recipe = RECIPE, seed: int = 3, learner: Any = "turns") -> Stage:
    axes = tuple(SPACE.axes.items())
    return Stage(name="supernet", candidate=SPACE.largest, recipe=recipe, seed=seed, learner=learner, axes=axes)


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> tuple[TeacherCache, ...]:
    return (cache_of(tmp_path_factory.mktemp("cache")),)


@pytest.mark.parametrize(("learner", "epochs"), [("sandwich", 8), ("turns", 16)])
def test_all_students_learn(learner: str, epochs: int, caches: Any, tmp_path: Path) -> None:
    """After a short training the smallest student, cut out and calibrated, is far above chance."""
    from edgekd.distill.calibration import calibrate
    from edgekd.distill.trainer import predict

    found = trained(tmp_path / "run", (supernet(replace(RECIPE, epochs=epochs), learner=learner),), caches)
    assert found["failure"] is None
    tensors, _ = read_tensors(tmp_path / "run" / found["weights"])
    with training(tmp_path / "run", caches) as made:
        cutter = made.cutter(supernet())
        for candidate in (SPACE.smallest, SPACE.largest):
            student = FAMILY.build(candidate.values, (1, int(candidate.values["input_size"]), 6), CLASSES)
            student.load_state_dict(cutter.cut(candidate, tensors))
            contract = made.contract(candidate)
            calibrate(student, [torch.from_numpy(prepare(DATA.train.inputs, contract))])
            answers = predict(student, prepare(DATA.validation.inputs, contract)).argmax(1)
            assert (answers == DATA.validation.labels).mean() > 1.6 / CLASSES


@pytest.mark.parametrize("learner", ["turns", "sandwich"])
def test_a_supernet_cut_off_anywhere_ends_bit_identically(
    learner: str, caches: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Power cuts between any two steps change neither weights nor curve, roll-backs among them."""
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", EVERY_STEP)
    monkeypatch.setattr(guard, "EVERY", 5)

    def once(self: Guard, step: int, loss: float) -> str:
        return "planted" if step == 22 and not self.state["rollbacks"] else ""

    monkeypatch.setattr(Guard, "failing", once)
    whole = trained(tmp_path / "whole", (supernet(learner=learner),), caches)
    assert [event["cause"] for event in whole["rollbacks"]] == ["planted"]
    for cut in (3, 9, 13, 6, 20):
        with pytest.raises(Cut):
            trained(tmp_path / "cut", (supernet(learner=learner),), caches, watch=Watch(cut))
    trained(tmp_path / "cut", (supernet(learner=learner),), caches)
    assert recorded(tmp_path / "cut") == recorded(tmp_path / "whole")


def test_a_rate_too_high_is_halved_until_it_holds(caches: Any, tmp_path: Path) -> None:
    """A loss that is no number rolls the training back instead of ending it."""
    found = trained(tmp_path / "run", (supernet(replace(RECIPE, learning_rate=1e9)),), caches)
    events = found["rollbacks"] if found["failure"] is None else found["failure"]["cause"]
    assert "not-a-number" in str(events)
    assert found["failure"] is None or "after 5 roll-backs" in found["failure"]["cause"]


def test_a_collapse_is_told_from_a_slow_start(tmp_path: Path) -> None:
    """By chance in the first tenth is allowed, later it is not; the state before comes back, at half the rate."""
    kept = []
    watch = Guard(kept=tmp_path / "kept", classes=4, steps=2000)
    watch.keep(0, kept.append)
    watch.note(0.25)
    assert watch.failing(100, 1.0) == ""
    assert watch.failing(150, 1.0) == ""
    assert "collapse" in watch.failing(300, 1.0)
    watch.roll_back(300, "collapse", kept.append)
    assert watch.state["rate"] == 0.5
    assert kept == [tmp_path / "kept"] * 2
    for _ in range(4):
        watch.roll_back(300, "collapse", kept.append)
    with pytest.raises(StageError, match="after 5 roll-backs"):
        watch.roll_back(300, "collapse", kept.append)


def test_smaller_students_learn_from_the_largest_and_it_learns_nothing_from_them() -> None:
    """In-place distillation is detached: the target gets no gradient, and equal answers have no divergence."""
    target = torch.softmax(torch.randn(4, 3), 1)
    logits = (TEMPERATURE * target.log()).requires_grad_()
    value = divergence(target, logits)
    value.backward()
    assert abs(value.item()) < 1e-5
    assert logits.grad.abs().max() < 1e-6


def test_by_turns_a_step_trains_one_student(caches: Any, tmp_path: Path) -> None:
    """The largest student's terms are the recipe's; another's too where they look at logits alone, and soft targets where not."""
    hints = WeightedLoss(name="similarity", weight=1.0, numbers={})
    with training(tmp_path / "run", caches) as made:
        for recipe, of_others in (
            (RECIPE, {"task", "soft_targets"}),
            (replace(RECIPE, losses=(hints,)), {"task", "soft targets"}),
        ):
            objective = Objective(recipe, taught=True)
            learner, _ = made._learner(supernet(recipe), {}, objective, caches)
            inputs = torch.from_numpy(prepare(DATA.train.inputs[:16], CONTRACT))
            batch = Batch(inputs=inputs, labels=torch.from_numpy(DATA.train.labels[:16]), epoch=0)
            teacher = Outputs(logits=torch.randn(16, CLASSES), embedding=torch.randn(16, 8))
            told = [learner.train().learn(batch, [teacher]) for _ in range(24)]
            largest, others = ([t for t in told if (t.least is None) is which] for which in (True, False))
            assert largest
            assert others
            assert all(set(t.parts) == {"task", *(loss.name for loss in recipe.losses)} for t in largest)
            assert all(set(t.parts) == of_others for t in others)
            assert all(t.least is t.logits for t in others)


def test_pictures_are_resized_as_the_students_own_preparation_does() -> None:
    """A student trained inside the supernet sees what it will be fed with alone."""

    raw, small = DATA.train.inputs[:4], replace(CONTRACT, image_size=(6, 6))
    ours = resized(torch.from_numpy(prepare(raw, CONTRACT)), (6, 6))
    assert torch.allclose(ours, torch.from_numpy(prepare(raw, small)), atol=1e-5)


def test_a_finalist_takes_up_its_share_of_the_weights(caches: Any, tmp_path: Path) -> None:
    """Fine-tuned students start from the supernet: after one step of a tiny rate they still hold its weights."""
    tiny = replace(RECIPE, epochs=1, learning_rate=1e-7, weight_decay=0.0)
    axes = supernet().axes
    own = Stage(name="student", candidate=SPACE.smallest, recipe=tiny, seed=3, starts_from="supernet", axes=axes)
    found = trained(tmp_path / "run", (supernet(), own), caches)
    before = len(recorded(tmp_path / "run"))
    ours, _ = read_tensors(tmp_path / "run" / found["weights"])
    with training(tmp_path / "run", caches) as made:
        shared = made.run((supernet(),), "supernet")
        assert len(made.store.units("distil")) == before, "the supernet was trained again"
        cut = made.cutter(supernet()).cut(SPACE.smallest, read_tensors(made.store.folder / shared["weights"])[0])
    for name, tensor in ours.items():
        if "running" not in name and "num_batches" not in name:
            assert torch.allclose(tensor, cut[name], atol=1e-4), name


@pytest.mark.parametrize(("source", "stages", "starts_from"), [("supernet", 2, "supernet"), ("scratch", 1, None)])
def test_a_finalist_starts_where_the_project_says(source: str, stages: int, starts_from: str | None) -> None:
    search = SimpleNamespace(finalists_from=source, step="turns")
    project = SimpleNamespace(search=search, distill=RECIPE, fine_tuning_epochs=2)
    pilots = SimpleNamespace(fitting=lambda candidate, recipe, final: recipe)
    run = SimpleNamespace(project=project, pilots=pilots, space=SPACE, seed=3)
    found = Supernet(run=cast(Any, run)).finalist(SPACE.smallest)
    assert len(found) == stages
    assert (found[-1].candidate, found[-1].starts_from, found[-1].recipe.epochs) == (SPACE.smallest, starts_from, 2)


def test_the_learner_ships_the_largest_student(caches: Any, tmp_path: Path) -> None:
    """What a supernet's training leaves are the weights of the largest student, for the others to be cut from."""
    found = trained(tmp_path / "run", (supernet(),), caches)
    shapes = {name: tuple(tensor.shape) for name, tensor in read_tensors(tmp_path / "run" / found["weights"])[0].items()}
    with training(tmp_path / "run", caches) as made:
        assert shapes == made.cutter(supernet()).largest
        assert isinstance(made._learner(supernet(), {}, Objective(RECIPE, taught=True), caches)[0], Sandwich)
