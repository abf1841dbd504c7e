"""The project that `edgekd distill --init` writes, shortened, by the real command: with worker processes it ends as without."""

import sys
from pathlib import Path

from edgekd.project import template

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from kill_resume import compare, report, weights
from ray_kill import attempts, edgekd

from edgekd.workers.crew import summary

SHORTER = {
    "epochs = 30": "epochs = 4",
    "views = 8": "views = 2",
    "trials = 6": "trials = 2",
    "rung_epochs = 6": "rung_epochs = 2",
    'family = "resnet"': 'axes = { width = [8, 12], depth = [1], kernel = [3], bottleneck = [0.0] }\nfamily = "resnet"',
    "finalists = 1": "finalists = 2",
    "max_accuracy_drop = 0.05": "max_accuracy_drop = 0.9",
    "latency_ms = 1.0": "latency_ms = 20.0",
}


def test_worker_processes_change_nothing(tmp_path: Path) -> None:
    """The same students selected, the same weights bit by bit, the same report; every unit was done once."""
    text = template()
    for old, new in SHORTER.items():
        assert f"\n{old}" in text
        text = text.replace(f"\n{old}", f"\n{new}")
    project, whole, ahead = tmp_path / "project.toml", tmp_path / "whole", tmp_path / "ahead"
    project.write_text(text)
    assert edgekd(project, whole).wait() == 0, (tmp_path / "whole.log").read_text()
    assert edgekd(project, ahead, "--replay", str(whole), "--workers", "2").wait() == 0, (tmp_path / "ahead.log").read_text()
    assert compare(whole, ahead) == []
    assert len(weights(ahead)) == 4
    assert report(ahead)["selected"]
    found = summary(attempts(ahead))
    # Of two students: a training, two builds, two verifications.
    assert (found["done"], found["units"], found["done_twice"]) == (4, 10, 0)
