"""The search with one supernet, whole: real trainings, real ONNX files, measured; and what it leaves as evidence."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from supernet_project import chosen, project, read

from edgekd.errors import InputError
from edgekd.pipeline import distill

pytest.importorskip("onnxruntime")


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


def test_what_a_supernet_cannot_do_is_refused_before_any_work(tmp_path: Path) -> None:
    """Another scheme and tuning are of separate trainings."""
    with pytest.raises(InputError, match="scheme"):
        distill(project(("epochs = 16", 'epochs = 16\nscheme = "chain"')), tmp_path / "run")
