"""Kill `edgekd distill` at random moments; the same command must go on and end in the undisturbed run's result.

    python benchmarks/kill_resume.py --kills 20 --seed 0                  # a search over three candidates
    python benchmarks/kill_resume.py --project chain --kills 8 --seed 0   # three stages: assistant, student, w8

Runs a small digits project undisturbed, then again in another folder with another teacher cache, killed (SIGKILL) at random
moments and started anew each time. Holds where the weights of every training are the same bit by bit and report.json is equal
but for times. Measurements are replayed from the undisturbed run, since no two are equal; trainings, builds and choices are made
anew. Threads are left to the project: a process that goes on must not compute with others.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SEARCH = """
[data]
source = "digits"
[teacher]
model = "builtin:digits"
[distill]
losses = [{ name = "soft_targets", weight = 0.9, temperature = 4.0 }]
epochs = 12
views = 4
threads = 1
[students]
family = "resnet"
axes = { width = [8, 12, 16], depth = [1], kernel = [3], bottleneck = [0.0] }
[search]
trials = 3
rung_epochs = 4
[[deploy]]
target = "onnxruntime"
precisions = ["fp32"]
latency_ms = 5.0
size_bytes = 2_000_000
max_accuracy_drop = 0.2
"""
CHAIN = """
[data]
source = "digits"
[teacher]
model = "builtin:digits"
[distill]
losses = [{ name = "soft_targets", weight = 0.9, temperature = 4.0 }, { name = "hints", weight = 0.1 }]
feature_losses = "always"
epochs = 16
views = 4
threads = 1
scheme = { name = "chain", assistants = 1, precision = "w8" }
[students]
family = "resnet"
axes = { width = [8], growth = [1.0], depth = [1], kernel = [3], bottleneck = [0.0], skip = [true] }
[search]
trials = 1
rung_epochs = 3
[[deploy]]
target = "onnxruntime"
precisions = ["fp32"]
latency_ms = 5.0
size_bytes = 2_000_000
max_accuracy_drop = 0.2
"""
PROJECTS = {"search": SEARCH, "chain": CHAIN}
TIMES = ("created", "timings_s", "seconds", "spent", "environment")


def start(project: Path, out: Path, cache: Path, replay: Path | None = None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "edgekd", "distill", str(project), "--out", str(out)]
    command += ["--replay", str(replay)] if replay else []
    environment = {**os.environ, "EDGEKD_CACHE": str(cache)}
    log = (project.parent / f"{out.name}.log").open("ab")
    return subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)


def weights(run: Path) -> dict[str, str]:
    """SHA-256 of every training's weights file, by its place in the run."""
    files = sorted(run.glob("candidates/*/*/weights.safetensors"))
    return {file.relative_to(run).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in TIMES}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def report(run: Path) -> Any:
    return without_times(json.loads((run / "report.json").read_text()))


def disturbed(project: Path, out: Path, replay: Path, kills: int, longest_s: float, rng: random.Random) -> int:
    """Run to the end through `kills` kills, spread over the time that the run needs; how many struck a living process."""
    struck = 0
    while True:
        process = start(project, out, out.with_name(f"{out.name}-cache"), replay)
        if struck < kills:
            try:
                process.wait(rng.uniform(0.5, longest_s))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                struck += 1
                continue
        if process.wait():
            raise SystemExit(f"the run failed with exit code {process.returncode}: see {out.name}.log in {out.parent}")
        return struck


def compare(whole: Path, cut: Path) -> list[str]:
    """What differs."""
    ours, theirs = weights(whole), weights(cut)
    found = [f"weights of {name} differ" for name in sorted(ours.keys() | theirs.keys()) if ours.get(name) != theirs.get(name)]
    one, other = report(whole), report(cut)
    return found + [f"report: {key} differs" for key in one.keys() | other.keys() if one.get(key) != other.get(key)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", default="onnxruntime")
    parser.add_argument("--project", choices=PROJECTS, default="search")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="edgekd-kill-"))
    project = folder / "project.toml"
    project.write_text(PROJECTS[chosen.project].replace('"onnxruntime"', f'"{chosen.target}"'))
    whole, cut = folder / "whole", folder / "cut"
    started = time.monotonic()
    if start(project, whole, folder / "cache").wait():
        raise SystemExit(f"the undisturbed run failed: see {folder}/whole.log")
    took = time.monotonic() - started
    rng, struck, rounds = random.Random(chosen.seed), 0, 0
    differences: list[str] = []
    # A run that came to its end before all kills struck is followed by another one, from nothing.
    while struck < chosen.kills and not differences:
        rounds += 1
        place = cut.with_name(f"cut-{rounds}")
        struck += disturbed(project, place, whole, chosen.kills - struck, took, rng)
        differences = compare(whole, place)
    files = len(weights(whole))
    print(f"{struck} kills over {rounds} runs of {took:.0f} s, {files} weight files: {'; '.join(differences) or 'equal'}")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
