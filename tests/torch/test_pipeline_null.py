"""The whole pipeline on the null target: search, training, building, verifying, measuring, choosing, reporting."""

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_data import synthetic

from edgekd.artifact import sha256_of
from edgekd.bench.settings import Settings
from edgekd.errors import InfeasibleError, InputError, NothingPassedError
from edgekd.export import export_student, verify_selected
from edgekd.pipeline import distill
from edgekd.project import Project, make_project

HERE = Path(__file__).parent
PROJECT = """
[data]
source = "users:data"
[teacher]
model = "users:Teacher"
[distill]
epochs = 8
learning_rate = 0.05
views = 2
threads = 1
batch_size = 64
[students]
family = "users:LINEAR"
[search]
trials = 4
rung_epochs = 2
finalists = 1
[[deploy]]
target = "null"
precisions = ["fp32", "w8"]
latency_ms = 50.0
size_bytes = 100_000
max_accuracy_drop = 0.2
"""
USERS = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
import torch
from synthetic_data import LINEAR, SIDE, synthetic
def data():
    return synthetic()
def noisy():
    found = synthetic()
    found.validation.labels[::7] = (found.validation.labels[::7] + 1) % 4
    return found
class Teacher(torch.nn.Module):
    def forward(self, x):
        half = SIDE // 2
        return 4 * x.reshape(len(x), 2, half, 2, half).mean(dim=(2, 4)).reshape(len(x), 4)
class Collapsing:
    space = LINEAR.space
    def build(self, params, shape, classes):
        module = LINEAR.build(params, shape, classes)
        module.weight = torch.nn.Parameter(torch.full_like(module.weight, float("nan")))
        return module
COLLAPSING = Collapsing()
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path / "cache"))
    # As long as screening measures: what is tested is not the figure.
    monkeypatch.setattr("edgekd.prepare_run.Settings", lambda seed: Settings.quick(seed))
    (tmp_path / "users.py").write_text(USERS)


def project(base: Path, *changes: tuple[str, str]) -> Project:
    text = PROJECT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return make_project(tomllib.loads(text), base)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an undisturbed run."""
    base = tmp_path_factory.mktemp("whole")
    (base / "users.py").write_text(USERS)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("EDGEKD_CACHE", str(base / "cache"))
        patched.setattr("edgekd.prepare_run.Settings", lambda seed: Settings.quick(seed))
        distill(project(base), base / "run")
    return base / "run"


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    """A copy of it that may be changed."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def read(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "report.json").read_text())
    return found


def stable(report: dict[str, Any]) -> dict[str, Any]:
    """The report without what is different every time."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: clean(v) for k, v in value.items() if k not in ("created", "timings_s", "seconds", "environment")}
        return [clean(item) for item in value] if isinstance(value, list) else value

    found: dict[str, Any] = clean(report)
    return found


def test_a_run_selects_a_true_artifact(whole: Path, tmp_path: Path) -> None:
    """Within its budget, with provenance at every figure, its file the one in the report, verified once more afterwards."""
    run, report = whole, read(whole)
    (entry,) = report["selected"]
    assert entry["within_budget"]
    assert sha256_of(run / entry["artifact"]) == entry["sha256"]
    assert entry["accuracy"]["split"] == "test"
    assert entry["accuracy"]["artifact"] >= report["teacher"]["accuracy"] - 0.2
    assert entry["latency_ms"]["provenance"] == entry["peak_memory_bytes"]["provenance"] == "measured"
    assert {trial["status"] for trial in report["trials"]} <= {"selected", "trained", "pruned"}
    assert (run / (entry["artifact"] + ".card.md")).is_file()
    assert (run / "report.html").is_file()
    (again,) = verify_selected(run)
    assert again["artifact"] == entry["artifact"]
    exported = export_student(run, entry["candidate"], "null", "w8a8", tmp_path / "shipped")
    assert (tmp_path / "shipped" / exported["artifact"]).is_file()


def test_a_finished_run_repeats_nothing(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command in the same folder takes every unit from the record and ends in the same report."""

    def never(*arguments: object) -> object:
        raise AssertionError("worked again")

    for name in (
        "stages.Run._build",
        "stages.Run._check",
        "stages.Run._screen",
        "stages.Run._profile",
        "distill.training.Training._train",
    ):
        monkeypatch.setattr(f"edgekd.{name}", never)
    first = read(copied)
    assert stable(distill(project(tmp_path), copied)) == stable(first)
    assert read(copied).keys() == first.keys()


def test_a_replay_ends_in_the_same_report(whole: Path, tmp_path: Path) -> None:
    """In a new folder, with the first run's measurements, trainings and choices come out the same."""
    assert stable(distill(project(tmp_path), tmp_path / "run", replay=whole)) == stable(read(whole))


def test_a_run_that_is_cut_goes_on(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted in the middle of each kind of unit, the same command ends in the undisturbed run's report."""
    run = tmp_path / "cut"

    def cut(*arguments: object) -> object:
        raise KeyboardInterrupt

    for name in ("stages.Run._screen", "distill.training.Training._train", "stages.Run._build", "stages.Run._check"):
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):  # noqa: PT012
            patched.setattr(f"edgekd.{name}", cut)
            distill(project(tmp_path), run, replay=None if "_screen" in name else whole)
    assert stable(distill(project(tmp_path), run, replay=whole)) == stable(read(whole))


def test_an_infeasible_budget_trains_nothing(tmp_path: Path) -> None:
    """Even the smallest is over: the figure is named, the report says so, no weights are written, no teacher is asked."""
    with pytest.raises(InfeasibleError, match=r"smallest reachable \d+ bytes"):
        distill(project(tmp_path, ("100_000", "10")), tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["infeasible"][0]["limit"] == "size_bytes"
    assert (report["selected"], report["trials"]) == ([], [])
    assert not list(tmp_path.rglob("*.safetensors"))
    assert not (tmp_path / "cache").exists()


def test_an_accuracy_that_nothing_reaches_is_infeasible(tmp_path: Path) -> None:
    """The best accuracy within the other limits is named beside what the budget needs."""
    changes = [("max_accuracy_drop = 0.2", "min_accuracy = 1.0"), ("users:data", "users:noisy"), ('"fp32", "w8"', '"fp32"')]
    with pytest.raises(InfeasibleError, match=r"best reachable accuracy .* the budget needs 1"):
        distill(project(tmp_path, *changes), tmp_path / "run")


def test_students_that_never_learn_are_failures_of_trials(tmp_path: Path) -> None:
    """Every trial fails: the report has each with its cause, and the run says that nothing passed."""
    with pytest.raises(NothingPassedError, match="no artifact passed"):
        distill(project(tmp_path, ("users:LINEAR", "users:COLLAPSING")), tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["trials"]
    assert all(trial["status"] == "failed" for trial in report["trials"])


def test_a_changed_project_is_refused(copied: Path, tmp_path: Path) -> None:
    """The folder of another project's run is left as it is."""
    before = (copied / "report.json").read_bytes()
    with pytest.raises(InputError, match=r"\[distill\] epochs changed"):
        distill(project(tmp_path, ("\nepochs = 8", "\nepochs = 9")), copied)
    assert (copied / "report.json").read_bytes() == before


def test_an_artifact_that_was_changed_is_found(copied: Path) -> None:
    """`edgekd verify` refuses a file that is not the report's, and a report that points out of its folder."""
    report = read(copied)
    place = copied / report["selected"][0]["artifact"]
    content = dict(np.load(place))
    np.savez(place, **{**content, "bias": content["bias"] + 1})
    with pytest.raises(InputError, match="was changed"):
        verify_selected(copied)
    report["selected"][0]["artifact"] = "../../etc/passwd"
    (copied / "report.json").write_text(json.dumps(report))
    with pytest.raises(InputError, match="outside"):
        verify_selected(copied)


def test_calibration_looks_at_training_samples_only() -> None:
    """Activation ranges come from the training split, the same samples for the same seed."""
    from edgekd.build import calibration_inputs
    from edgekd.data import normalise

    data = synthetic()
    found = calibration_inputs(data, data.contract, 3)
    allowed = {row.tobytes() for row in normalise(data.train.inputs, data.contract)}
    assert {row.tobytes() for row in found} <= allowed
    assert np.array_equal(found, calibration_inputs(data, data.contract, 3))


def test_what_breaks_its_budget_when_measured_again_is_not_selected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second measurement counts: an artifact that fitted once and then does not is no answer."""
    from edgekd.stages import Run

    profiled, limit = Run._profile, 50.0

    def slower(self: Run, artifact: Any, deployment: Any, settings: Settings) -> dict[str, Any]:
        record = profiled(self, artifact, deployment, settings)
        done = [key for key in self.store.units("profile") if key]
        if done:  # the first measurement of a built artifact is recorded: this is the second
            record["values"]["latency_ms"] = [2 * limit for _ in record["values"]["latency_ms"]]
            record["latency_ms"] |= {"p50": 2 * limit, "p90": 2 * limit}
        return record

    monkeypatch.setattr(Run, "_profile", slower)
    only = project(tmp_path, ('precisions = ["fp32", "w8"]', 'precisions = ["fp32"]'))
    with pytest.raises(InfeasibleError, match="smallest reachable 100 ms"):
        distill(only, tmp_path / "run")
    assert read(tmp_path / "run")["selected"] == []


def test_one_budget_for_a_device_and_target(tmp_path: Path) -> None:
    """Two tables that reports could not tell apart are refused before any work."""
    raw = project(tmp_path).raw
    twice = make_project({**raw, "deploy": [raw["deploy"][0], raw["deploy"][0]]}, tmp_path)
    with pytest.raises(InputError, match="local / null is there twice"):
        distill(twice, tmp_path / "run")
