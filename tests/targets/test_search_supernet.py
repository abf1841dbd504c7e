"""The search with one supernet, whole: real trainings, real ONNX files, measured; and what it leaves as evidence."""

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

from edgekd.errors import InputError
from edgekd.pipeline import distill
from edgekd.project import Project, make_project

pytest.importorskip("onnxruntime")
PROJECT = """
[data]
source = "digits"
[teacher]
model = "builtin:digits"
[distill]
epochs = 16
views = 2
threads = 1
[students]
family = "resnet"
axes = { width = [4, 8] }
[search]
method = "supernet"
measured = 9
fine_tuning_epochs = 2
[[deploy]]
target = "onnxruntime"
precisions = ["fp32"]
latency_ms = 50.0
size_bytes = 40_000
[[deploy]]
device = "x86-64-avx2"
target = "onnxruntime"
precisions = ["fp32"]
size_bytes = 22_000
"""


def project(*changes: tuple[str, str]) -> Project:
    text = PROJECT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return make_project(tomllib.loads(text), Path.cwd())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an undisturbed run; its cache lies beside it."""
    base = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("EDGEKD_CACHE", str(base / "cache"))
        distill(project(), base / "run")
    return base / "run"


@pytest.fixture(autouse=True)
def cache(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKD_CACHE", str(whole.parent / "cache"))


def read(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "report.json").read_text())
    return found


def chosen(report: dict[str, Any]) -> list[tuple[str, str]]:
    return [(entry["candidate"], entry["sha256"]) for entry in report["selected"]]


def test_two_deployments_from_one_supernet(whole: Path) -> None:
    """Each gets a measured artifact within its budget; the supernet trained once; not every student was built."""
    report = read(whole)
    assert [entry["within_budget"] for entry in report["selected"]] == [True, True]
    sizes = [entry["size_bytes"] for entry in report["selected"]]
    assert sizes[0] <= 40_000
    assert sizes[1] <= 22_000
    found = report["search"]
    assert found["space"]["candidates"] == 18
    assert len(found["rated"]) <= 18
    built = {trial["candidate"] for trial in report["trials"]}
    assert {entry["candidate"] for entry in report["selected"]} <= built
    assert len(built) < 18


def test_why_is_said_with_provenance(whole: Path) -> None:
    """Every deployment says what binds, and its predicted figures are not shown as measured ones."""
    for entry in read(whole)["search"]["deployments"]:
        assert entry["why"]["text"]
        assert any("the supernet's" in note for note in entry["why"]["notes"])  # not the accuracies that ship
        kinds = {figure["provenance"] for point in entry["front"] for figure in point["figures"].values()}
        assert kinds <= {"measured", "predicted"}
        volumes = [step["value"] for step in entry["hypervolume"]]
        assert volumes == sorted(volumes)


def test_a_replay_ends_in_the_same_selection(whole: Path, tmp_path: Path) -> None:
    """The same seed and the measurements of another run: everything is trained anew, and the same artifacts come out."""
    again = distill(project(), tmp_path / "run", replay=whole)
    assert chosen(again) == chosen(read(whole))
    assert [r["loss"] for r in again["search"]["rated"]] == [r["loss"] for r in read(whole)["search"]["rated"]]


def test_a_finished_run_repeats_nothing(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command in the same folder trains, builds and measures nothing."""
    run = Path(shutil.copytree(whole, tmp_path / "run"))

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("worked again")

    for place in ("edgekd.stages.build", "edgekd.stages.profile", "edgekd.distill.training.Trainer"):
        monkeypatch.setattr(place, refuse)
    assert chosen(distill(project(), run)) == chosen(read(whole))


def test_what_does_not_hold_its_budget_gives_way_to_the_next_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All good students that were measured are slow once they are trained: another one is measured, and ships."""
    from edgekd.stages import Run

    loose = project(("measured = 9", "measured = 8"), ("size_bytes = 40_000", "size_bytes = 4_000_000"))
    alone = make_project({**loose.raw, "deploy": loose.raw["deploy"][:1]}, loose.base)
    before = distill(alone, tmp_path / "before")
    rated = {entry["candidate"] for entry in before["search"]["rated"]}
    measured = rated & {trial["candidate"] for trial in before["trials"]}
    assert 1 <= len(measured) <= 2 < len(rated)
    profiled = Run._profile

    def slow(self: Run, artifact: Any, deployment: Any, settings: Any) -> dict[str, Any]:
        record = profiled(self, artifact, deployment, settings)
        if settings.processes > 1 and any(name in str(artifact.path) for name in measured):
            record["values"]["latency_ms"] = [100.0 for _ in record["values"]["latency_ms"]]
        return record

    monkeypatch.setattr(Run, "_profile", slow)
    after = distill(alone, tmp_path / "after")
    assert after["selected"][0]["candidate"] in rated - measured
    assert after["selected"][0]["within_budget"]


def test_the_free_space_is_searched_by_evolution(tmp_path: Path) -> None:
    """Students bred from the best, the same again from the same seed; those over every budget are not rated."""
    free = project(
        ('method = "supernet"', 'method = "supernet"\nspace = "free"\ntrials = 20'),
        ("width = [4, 8]", "width = [4, 8], growth = [1.5]"),
    )
    first = distill(free, tmp_path / "first")
    again = distill(free, tmp_path / "again", replay=tmp_path / "first")
    assert chosen(first) == chosen(again)
    assert first["search"]["space"]["coupled"] is False
    assert 1 <= len(first["search"]["rated"]) <= 29


def test_what_a_supernet_cannot_do_is_refused_before_any_work(tmp_path: Path) -> None:
    """Another scheme and tuning are of separate trainings."""
    with pytest.raises(InputError, match="scheme"):
        distill(project(("epochs = 16", 'epochs = 16\nscheme = "chain"')), tmp_path / "run")
