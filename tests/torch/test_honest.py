"""Whether the teacher helped: paired trainings at equal epochs and equal time, the test split at the end, an honest verdict."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from synthetic_data import CLASSES, LINEAR, QuarterTeacher, cut_at_step, synthetic

from edgekd.console import Console
from edgekd.data import Data, Split
from edgekd.data.views import Augment
from edgekd.distill import trainer
from edgekd.distill.cache import TeacherCache, open_cache
from edgekd.distill.honest import DISTILLED, EQUAL_EPOCHS, EQUAL_TIME, beats_teacher, gain_line, honest_gain, own_epochs
from edgekd.distill.recipe import Recipe, Scheme, WeightedLoss
from edgekd.distill.schemes import find_scheme
from edgekd.distill.stage import Plan
from edgekd.distill.training import Training
from edgekd.errors import InputError
from edgekd.finish import advise
from edgekd.outcome import Outcome
from edgekd.store import Store
from edgekd.teachers import TeacherOutputs
from edgekd.types import Candidate

AUGMENT = Augment(shift=0, flip=False)


def hard() -> Data:
    """Noise on top of the noise, so that a linear student is right on about nine of ten."""
    data, rng = synthetic(train=256, held=400), np.random.default_rng(1)

    def noisy(split: Split) -> Split:
        inputs = split.inputs + rng.normal(0, 120, split.inputs.shape)
        return replace(split, inputs=inputs.clip(0, 255).astype(np.uint8))

    return replace(data, train=noisy(data.train), validation=noisy(data.validation), test=noisy(data.test), fingerprint="hard")


DATA = hard()
SOFT = WeightedLoss(name="soft_targets", weight=0.9, numbers={"temperature": 4.0})
RECIPE = Recipe(epochs=4, batch_size=64, views=2, threads=1, learning_rate=0.05, average_decay=0.9, losses=(SOFT,))
STUDENT = Candidate.of("linear", {"input_size": 8})


class RandomTeacher(QuarterTeacher):
    """Answers without looking: confidently, and each time something else."""

    def __init__(self) -> None:
        super().__init__()
        self.fingerprint, self.rng = "random", np.random.default_rng(0)

    def outputs(self, inputs: NDArray[np.float32]) -> TeacherOutputs:
        return TeacherOutputs(logits=self.rng.normal(0, 2, (len(inputs), CLASSES)).astype(np.float32), embedding=None)


def cache_of(root: Path, teacher: Any) -> TeacherCache:
    found = open_cache(root, teacher, DATA, AUGMENT, 0)
    found.fill(teacher, RECIPE.views, lambda title, done, total: None)
    return found


@pytest.fixture
def training(tmp_path: Path) -> Any:
    store = Store(tmp_path / "run")
    yield make(store, tmp_path, QuarterTeacher())
    store.close()


def make(store: Store, root: Path, teacher: Any) -> Training:
    return Training(
        data=DATA,
        augment=AUGMENT,
        family=LINEAR,
        store=store,
        console=Console(),
        view_seed=0,
        cache_root=root / "cache",
        caches=(cache_of(root / "cache", teacher),),
    )


def plan(recipe: Recipe = RECIPE, seed: int = 5) -> Plan:
    return Plan(candidate=STUDENT, recipe=recipe, seed=seed, params=lambda c: 260, teacher_params=None)


def compared(training: Training, recipe: Recipe = RECIPE, **more: Any) -> dict[str, Any]:
    return honest_gain(training, plan(recipe), seeds=3, teacher_accuracy=0.99, **more)


def variants(entry: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {found["name"]: found for found in entry["variants"]}


def test_the_entry_has_what_the_report_shows(training: Training) -> None:
    """Three variants over three seeds, a gain against each control at the shared confidence, and it is plain JSON."""
    entry = compared(training)
    assert (entry["candidate"], entry["seeds"], entry["epochs"], entry["failure"]) == (STUDENT.id, 3, 4, None)
    assert list(variants(entry)) == [EQUAL_EPOCHS, EQUAL_TIME, DISTILLED]
    for found in entry["variants"]:
        assert len(found["accuracies"]) == len(found["epochs"]) == len(found["seconds"]) == 3
    assert [gain["against"] for gain in entry["gains"]] == [EQUAL_EPOCHS, EQUAL_TIME]
    assert {gain["confidence"] for gain in entry["gains"]} == {0.975}
    for gain in entry["gains"]:
        theirs = np.mean(variants(entry)[gain["against"]]["accuracies"])
        assert gain["gain_points"] == pytest.approx(100 * (np.mean(variants(entry)[DISTILLED]["accuracies"]) - theirs))
    assert entry["verdict"] == entry["gains"][0]["verdict"]
    assert json.loads(json.dumps(entry, allow_nan=False)) == entry
    assert gain_line(entry).count("against plain") == 2


def test_equal_time_counts_the_teachers_answering_and_nothing_less(training: Training) -> None:
    """Its epochs are what fits in all that the distilled student took, at the plain student's pace, and no fewer than equal."""
    cache = training.caches[0]
    slow = 0.3
    (cache.folder / "view-000.seconds").write_text(str(slow))
    short = replace(RECIPE, epochs=2)
    entry = compared(training, short)
    plain, longer, distilled = (variants(entry)[name] for name in (EQUAL_EPOCHS, EQUAL_TIME, DISTILLED))
    assert plain["epochs"] == distilled["epochs"] == [2, 2, 2]
    assert all(seconds >= slow for seconds in distilled["seconds"])
    for seed in range(3):
        fits = int(distilled["seconds"][seed] / plain["seconds"][seed] * 2)
        assert longer["epochs"][seed] == max(2, fits)
        assert longer["epochs"][seed] > 2


def test_earlier_stages_count_in_the_time_and_not_in_the_epochs(training: Training) -> None:
    """A born-again student is compared at the epochs of its own training; its first generation's time is the scheme's."""
    recipe = replace(RECIPE, scheme=Scheme(name="born_again", numbers={}))
    entry = compared(training, recipe)
    assert variants(entry)[DISTILLED]["epochs"] == [4, 4, 4]
    stages = find_scheme("born_again", {})(plan(recipe))
    first = training.run(stages[:1], "stage")
    assert variants(entry)[DISTILLED]["seconds"][0] > sum(first["spent"].values())


def test_no_teacher_is_no_gain(training: Training) -> None:
    """A scheme that is plain training itself gives exactly zero, and no gain is made of it."""
    entry = compared(training, replace(RECIPE, scheme=Scheme(name="plain", numbers={})))
    assert entry["gains"][0]["gain_points"] == 0
    assert set(entry["gains"][0]["interval_points"]) == {0.0}
    assert entry["verdict"] == "no gain"
    assert entry["transfer_effectiveness"]["value"] == 0


def test_a_teacher_that_answers_at_random_hurts(tmp_path: Path) -> None:
    """With nearly all the weight on random answers the verdict is that distillation hurts."""
    store = Store(tmp_path / "run")
    loud = replace(RECIPE, epochs=8, task_weight=0.1, losses=(replace(SOFT, weight=0.99),))
    entry = compared(make(store, tmp_path, RandomTeacher()), loud)
    store.close()
    assert entry["failure"] is None
    assert [gain["verdict"] for gain in entry["gains"]] == ["hurts", "hurts"]
    assert entry["verdict"] == "hurts"
    assert entry["transfer_effectiveness"]["value"] < 0


def test_seeds_are_paired_and_the_runs_own_training_is_reused(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    """The final training of the run is its first seed's; nothing is trained twice; plain students start from the same weights."""
    final = training.run(find_scheme("direct", {})(plan()), "final")
    trained: list[Any] = []
    real = Training._train

    def counted(self: Training, stage: Any, key: str, label: str, *rest: Any) -> Any:
        trained.append((label, stage.seed))
        return real(self, stage, key, label, *rest)

    monkeypatch.setattr(Training, "_train", counted)
    entry = compared(training)
    assert ("final", 5) not in trained
    assert len(trained) == len({*trained}) + sum(epochs > 4 for epochs in variants(entry)[EQUAL_TIME]["epochs"])
    assert [seed for label, seed in trained if label == "distilled"] == [6, 7]
    assert variants(entry)[DISTILLED]["curve"] == final["curve"]
    trained.clear()
    assert compared(training) == entry
    assert trained == []


def test_the_test_split_is_read_once_a_student(training: Training) -> None:
    """Asked again, the recorded answers are taken: not even a test split that is gone changes a figure."""
    entry = compared(training)
    blank = replace(DATA.test, inputs=np.zeros_like(DATA.test.inputs))
    training.data = replace(DATA, test=blank)
    assert compared(training) == entry


@pytest.mark.parametrize("cut", [3, 17, 30, 61])
def test_a_comparison_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int) -> None:
    """Cut at any step of any of its trainings and begun again over the same folder, accuracies are those of one that ran through.

    Equal time is left out: what was measured is different each time.
    """
    undisturbed = accuracies(tmp_path / "whole", tmp_path)
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", -1.0)
    cut_at_step(monkeypatch, cut)
    with pytest.raises(KeyboardInterrupt):
        accuracies(tmp_path / "cut", tmp_path)
    assert accuracies(tmp_path / "cut", tmp_path) == undisturbed


def accuracies(folder: Path, root: Path) -> list[list[float]]:
    store = Store(folder)
    try:
        found = variants(compared(make(store, root, QuarterTeacher())))
    finally:
        store.close()
    return [found[name]["accuracies"] for name in (EQUAL_EPOCHS, DISTILLED)]


def test_the_control_takes_the_better_learning_rate_on_validation(training: Training) -> None:
    """A rate that was tuned for soft targets and ruins the plain student is not forced on it."""
    rates = (1e-5, RECIPE.learning_rate)
    tuned = replace(RECIPE, learning_rate=1e-5, losses=(replace(SOFT, weight=500.0),))
    entry = compared(training, tuned, plain_recipes=[replace(tuned, learning_rate=rate) for rate in rates])
    alone = compared(training, RECIPE)
    assert variants(entry)[EQUAL_EPOCHS]["accuracies"] == variants(alone)[EQUAL_EPOCHS]["accuracies"]


def test_a_training_that_fails_is_said_and_not_compared(training: Training) -> None:
    """No verdict is made of students that are not there."""
    entry = compared(training, replace(RECIPE, learning_rate=1e30))
    assert entry["verdict"] == "not comparable"
    assert "seed 5" in entry["failure"]
    assert (entry["variants"], entry["gains"], entry["transfer_effectiveness"]["value"]) == ([], [], None)
    assert "not comparable" in gain_line(entry)


def test_fewer_than_three_seeds_are_refused_before_any_training(training: Training) -> None:
    """Two seeds cannot tell a gain from luck."""
    with pytest.raises(InputError, match="--seeds is 2, expected at least 3"):
        honest_gain(training, plan(), seeds=2, teacher_accuracy=0.99)
    assert training.store.units("distil") == []


def test_epochs_of_a_student_that_grows_are_those_of_all_its_depths() -> None:
    """What goes on from earlier weights has trained as long as they have; an assistant's epochs are not the student's."""
    grown = Candidate.of("resnet", {"width": 8, "depth": 3, "skip": True, "input_size": 8})
    params: Callable[[Candidate], int] = lambda candidate: int(candidate.values["width"]) ** 2  # noqa: E731
    given = Plan(candidate=grown, recipe=replace(RECIPE, epochs=12), seed=0, params=params, teacher_params=4096)
    assert own_epochs(find_scheme("progressive", {})(given)) == 12
    assert own_epochs(find_scheme("chain", {"assistants": 2})(given)) == 12
    assert own_epochs(find_scheme("chain", {"precision": "w8"})(given)) == 12 + 3


def test_a_student_that_beats_its_teacher_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A run goes on, but its report and the console say so and what to do; a student below its teacher is no news."""
    store = Store(tmp_path / "run")
    stages = find_scheme("plain", {})(plan())
    for teacher, expected in ((RandomTeacher(), ["student-beats-teacher"]), (QuarterTeacher(), [])):
        training, outcome = make(store, tmp_path, teacher), Outcome(deployments=())
        run: Any = SimpleNamespace(training=training, data=DATA, console=training.console)
        capfd.readouterr()
        advise(run, outcome, STUDENT, training.run(stages, "final"))
        assert [advice["rule"] for advice in outcome.advice] == expected
        assert all(rule in capfd.readouterr().err for rule in expected)
    store.close()


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 200))
def test_a_student_beats_its_teacher_only_beyond_luck(ahead: int, behind: int, both: int) -> None:
    """Never where it is not ahead, always where nothing but it is right on a dozen, and never both ways."""
    student = np.repeat([True, False, True, False], [ahead, behind, both, 1])
    teacher = np.repeat([False, True, True, False], [ahead, behind, both, 1])
    advice = beats_teacher(student, teacher)
    if ahead <= behind:
        assert advice is None
    if behind == 0 and ahead >= 12:
        assert advice is not None
    if advice is not None:
        assert advice.rule == "student-beats-teacher"
        assert not advice.stop
        assert beats_teacher(teacher, student) is None
