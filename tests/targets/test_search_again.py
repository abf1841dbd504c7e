"""A search whose first answer does not do, and one in a space too large to go through: real trainings, measured."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from supernet_project import chosen, project

from edgekd.pipeline import distill
from edgekd.project import make_project

pytest.importorskip("onnxruntime")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


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
    with sqlite3.connect(tmp_path / "before" / "run.sqlite") as store:  # the same run, but for what trained students measure
        assert store.execute("DELETE FROM unit WHERE kind IN ('profile', 'confirm')").rowcount > 0
    after = distill(alone, tmp_path / "before")
    assert after["selected"][0]["candidate"] in rated - measured
    assert after["selected"][0]["within_budget"]


def test_the_free_space_is_searched_by_evolution(tmp_path: Path) -> None:
    """Students bred from the best, the same again from the same seed; those over every budget are not rated."""
    free = project(
        ('method = "supernet"', 'method = "supernet"\nspace = "free"\ntrials = 12'),
        ("width = [4, 8]", "width = [4, 8], growth = [1.5]"),
        ("epochs = 16", "epochs = 8"),
        ("measured = 9", "measured = 8"),
    )
    first = distill(free, tmp_path / "first")
    again = distill(free, tmp_path / "again", replay=tmp_path / "first")
    assert chosen(first) == chosen(again)
    assert first["search"]["space"]["coupled"] is False
    assert 1 <= len(first["search"]["rated"]) <= 29
