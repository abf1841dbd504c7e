"""Tuning: the project's own numbers first, ranges around them, ties go to them, what is chosen is what ships; it resumes."""

import json
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_data import LINEAR, cut_at_step, synthetic

from edgekd.bench.settings import Settings
from edgekd.console import Console
from edgekd.data.views import Augment
from edgekd.distill.recipe import Recipe, WeightedLoss
from edgekd.distill.stage import Stage
from edgekd.distill.training import Training
from edgekd.distill.tune import Tuner, _choose, ranges, with_numbers
from edgekd.errors import InputError
from edgekd.export import verify_selected
from edgekd.pipeline import distill
from edgekd.project import Project, make_project, with_tuning
from edgekd.store import Store
from edgekd.types import Candidate

HERE = Path(__file__).parent
PROJECT = """
[data]
source = "users:data"
[teacher]
model = "users:Teacher"
[distill]
epochs = 4
learning_rate = 1.5
views = 2
threads = 1
batch_size = 64
losses = [{ name = "soft_targets", weight = 20.0, temperature = 1.5 }]
[students]
family = "users:LINEAR"
[search]
trials = 1
rung_epochs = 2
[[deploy]]
target = "null"
precisions = ["fp32"]
size_bytes = 100_000
"""
USERS = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
import torch
from synthetic_data import LINEAR, SIDE, synthetic
def data():
    return synthetic()
class Teacher(torch.nn.Module):
    def forward(self, x):
        half = SIDE // 2
        return 4 * x.reshape(len(x), 2, half, 2, half).mean(dim=(2, 4)).reshape(len(x), 4)
"""
TWO = Recipe(
    losses=(
        WeightedLoss(name="soft_targets", weight=0.9, numbers={}),
        WeightedLoss(name="attention", weight=1000.0, numbers={}),
        WeightedLoss(name="soft_targets", weight=0.0, numbers={"temperature": 30.0}),
    )
)
STUDENT = Candidate.of("linear", {"input_size": 8})


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("edgekd.prepare_run.Settings", lambda seed: Settings.quick(seed))
    (tmp_path / "users.py").write_text(USERS)


def project(base: Path, trials: int) -> Project:
    return with_tuning(make_project(tomllib.loads(PROJECT), base), trials)


def stable(report: dict[str, Any]) -> Any:
    return report["tuning"], [{key: e[key] for key in ("candidate", "sha256", "accuracy")} for e in report["selected"]]


def test_what_may_be_tuned() -> None:
    """Weights above 0, temperatures of losses that have one, the rate; a default temperature counts as the project's own."""
    found = ranges(TWO)
    assert set(found) == {
        "learning_rate",
        "task_weight",
        "soft_targets 1 weight",
        "soft_targets 1 temperature",
        "attention weight",
    }
    assert found["soft_targets 1 temperature"].own == 4.0
    assert (found["learning_rate"].low, found["learning_rate"].high) == pytest.approx((0.01, 0.2))
    assert (found["attention weight"].low, found["attention weight"].high) == pytest.approx((100, 10_000))


@given(st.floats(0.2, 60), st.floats(1e-4, 1e4), st.floats(1e-4, 10))
def test_the_projects_own_numbers_come_first_exactly(temperature: float, weight: float, rate: float) -> None:
    """Then the same at half the learning rate, even where a temperature is outside of the usual range."""
    loss = WeightedLoss(name="soft_targets", weight=weight, numbers={"temperature": temperature})
    recipe = Recipe(losses=(loss,), learning_rate=rate)
    tuner = Tuner(recipe, STUDENT, 2, 0)
    first, trial = tuner.next()
    assert first == tuner.own
    assert with_numbers(recipe, first) == recipe
    trial.tell(0.5, 0.0)
    second, _ = tuner.next()
    assert second == {**tuner.own, "learning_rate": rate / 2}


def test_numbers_stay_within_their_ranges_and_repeat_with_the_seed() -> None:
    """Whatever the sampler is told; a recipe takes them and keeps all else."""

    def proposed(seed: int) -> list[dict[str, float]]:
        tuner, found = Tuner(TWO, STUDENT, 2, seed), []
        for index in range(8):
            numbers, trial = tuner.next()
            found.append(numbers)
            trial.tell(None if index == 3 else 0.5 + index / 100, 0.0)
        return found

    found = proposed(1)
    assert found == proposed(1)
    assert found[2:] != proposed(2)[2:]
    allowed = ranges(TWO)
    for numbers in found:
        assert all(allowed[name].low <= value <= allowed[name].high for name, value in numbers.items())
        recipe = with_numbers(TWO, numbers)
        assert recipe.losses[0].numbers["temperature"] == numbers["soft_targets 1 temperature"]
        assert recipe.losses[1].weight == numbers["attention weight"]
        assert recipe.losses[2] == TWO.losses[2]
        assert replace(recipe, losses=TWO.losses, task_weight=TWO.task_weight, learning_rate=TWO.learning_rate) == TWO


def test_a_recipe_that_learns_too_fast_is_mended(tmp_path: Path) -> None:
    """Better numbers than a ruinous learning rate are found, the report has them, and it is the tuned student that ships."""
    report = distill(project(tmp_path, 6), tmp_path / "run")
    tuning = report["tuning"]
    own, chosen = tuning["trials"][0], tuning["trials"][tuning["chosen"]]
    assert len(tuning["trials"]) == 6
    assert own["numbers"]["learning_rate"] == 1.5
    assert own["accuracy"] == tuning["untuned_accuracy"] == report["trials"][0]["rungs"][0]["accuracy"]
    assert chosen["accuracy"] == tuning["accuracy"] > tuning["untuned_accuracy"]
    assert chosen["numbers"]["learning_rate"] < 1.5
    assert report["project"]["distill"]["tune_trials"] == 6
    verify_selected(tmp_path / "run")
    assert final_of(tmp_path / "run") == final_of(given_these(tmp_path, chosen["numbers"]))


def given_these(base: Path, numbers: dict[str, float]) -> Path:
    """The run of a project that says these numbers itself."""
    raw = tomllib.loads(PROJECT)
    loss = {"name": "soft_targets", "weight": numbers["soft_targets weight"], "temperature": numbers["soft_targets temperature"]}
    raw["distill"] |= {"losses": [loss], "learning_rate": numbers["learning_rate"], "task_weight": numbers["task_weight"]}
    distill(make_project(raw, base), base / "said")
    return base / "said"


def final_of(folder: Path) -> str:
    store = Store(folder)
    (sha256,) = [record["sha256"] for record in store.units("distil") if record["stage"] == "final"]
    store.close()
    return str(sha256)


def test_a_tie_goes_to_the_projects_own_numbers(tmp_path: Path) -> None:
    """A better accuracy within one standard error is not chosen; one beyond it is; a failure of the own numbers loses."""
    store = Store(tmp_path / "run")
    training = Training(
        data=noisy(),
        augment=Augment(shift=0, flip=False),
        family=LINEAR,
        store=store,
        console=Console(),
        view_seed=0,
        cache_root=tmp_path / "cache",
    )
    plain = Recipe(epochs=3, batch_size=64, views=1, threads=1, losses=(), task_weight=1.0)

    def trained(rate: float) -> Any:
        stage = Stage(name="s", candidate=STUDENT, recipe=replace(plain, learning_rate=rate), seed=0, taught_by=())
        return training.run([stage], "tune")

    records = {rate: trained(rate) for rate in (0.001, 0.05, 0.051, 1e30)}
    store_run: Any = SimpleNamespace(training=training)
    low, high = sorted((records[0.05], records[0.051]), key=lambda record: record["curve"][-1]["accuracy"])
    assert _choose(store_run, STUDENT, [low, high])[0] == 0
    assert _choose(store_run, STUDENT, [records[0.001], high])[0] == 1
    assert _choose(store_run, STUDENT, [high, records[0.001]])[0] == 0
    assert _choose(store_run, STUDENT, [records[1e30], low])[0] == 1
    assert _choose(store_run, STUDENT, [low, records[1e30]])[0] == 0
    store.close()


def noisy() -> Any:
    """Pictures that a linear student is not sure about."""
    data, rng = synthetic(held=400), np.random.default_rng(1)
    parts = {
        name: replace(part, inputs=(part.inputs + rng.normal(0, 120, part.inputs.shape)).clip(0, 255).astype(np.uint8))
        for name, part in (("train", data.train), ("validation", data.validation), ("test", data.test))
    }
    return replace(data, **parts, fingerprint="noisy")


@pytest.mark.parametrize("cut", [9, 14, 27])
def test_tuning_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int) -> None:
    """Cut in the middle of a trial and begun again, the same numbers are tried and chosen, and the same file ships."""
    whole = stable(distill(project(tmp_path, 5), tmp_path / "whole"))
    cut_at_step(monkeypatch, cut)
    with pytest.raises(KeyboardInterrupt):
        distill(project(tmp_path, 5), tmp_path / "cut")
    assert stable(distill(project(tmp_path, 5), tmp_path / "cut")) == whole
    assert json.loads((tmp_path / "cut" / "report.json").read_text())["tuning"] == whole[0]


def test_without_being_asked_nothing_is_tuned(tmp_path: Path) -> None:
    """The default is the recipe as it is written."""
    report = distill(make_project(tomllib.loads(PROJECT), tmp_path), tmp_path / "run")
    assert report["tuning"] is None
    assert report["honest"] == []


def test_a_tuned_student_is_compared_with_plain_ones(tmp_path: Path) -> None:
    """Asked for both, the tuned training is the first seed of the comparison, and nothing of the run is trained again for it."""
    report = distill(project(tmp_path, 6), tmp_path / "run", honest=3)
    (entry,) = report["honest"]
    assert entry["failure"] is None
    assert entry["candidate"] == report["selected"][0]["candidate"]
    (trial,) = report["trials"]
    (distilled,) = [found for found in entry["variants"] if found["name"] == "distilled"]
    assert distilled["curve"] == trial["curve"]
    assert distilled["accuracies"][0] == report["selected"][0]["accuracy"]["student"]
    assert json.loads((tmp_path / "run" / "report.json").read_text())["honest"] == report["honest"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--honest", "--seeds", "2"], "--seeds"),
        (["--seeds", "5"], "give --honest too"),
        (["--tune", "1"], "--tune"),
    ],
)
def test_flags_that_say_nothing_are_usage_errors(arguments: list[str], expected: str) -> None:
    """Exit code 2, one line that names the flag, before anything is read or written."""
    command = [sys.executable, "-m", "edgekd", "distill", "no-such.toml", *arguments]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout, len(found.stderr.splitlines())) == (2, "", 1)
    assert expected in found.stderr


@pytest.mark.parametrize("trials", [1, -1])
def test_a_number_of_trials_that_says_nothing_is_refused(tmp_path: Path, trials: int) -> None:
    """One trial would be the project's own numbers alone."""
    with pytest.raises(InputError, match="tune_trials"):
        project(tmp_path, trials)
