"""Whether what is selected holds its budget when it is measured again: tight budgets, one selection each, a new process each.

    python benchmarks/supernet.py joint --out runs/sn --seed 0     # gives the supernet and its students' ratings
    python benchmarks/hold.py --out runs/sn --tight 20             # until so many cases count, on two targets by turns

Each case is a run of edgekd with one deployment, one finalist and one epoch of fine-tuning; the budgets on p90 latency are
drawn from what the space offers. Then `edgekd bench` measures the selected artifact in a process of its own. A case counts where
its budget is at most 1.1 times the p90 that the run measured.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from supernet import PROJECT, borrow, raw_project, run, units

from edgekd.console import Console
from edgekd.project import Project, make_project

TIGHT = 1.1
"""Times the measured p90: the loosest budget that counts."""
DEPLOYMENTS = (0, 1)
MOST = 40
"""Cases of each deployment, however few of them count."""


def case_project(seed: int, deployment: int, budget_ms: float) -> Project:
    raw = raw_project(seed)
    deploy = {name: value for name, value in raw["deploy"][deployment].items() if name in ("target", "precisions")}
    search = {**raw["search"], "finalists": 1, "fine_tuning_epochs": 1}
    return make_project({**raw, "search": search, "deploy": [{**deploy, "latency_ms": budget_ms}]}, PROJECT)


def offered(joint: Path, target: str) -> tuple[float, float]:
    """From the cheapest to the dearest measured student's p90, in ms."""
    screened = [record for kind, record, _ in units(joint) if kind == "screen" and record["failure"] is None]
    found = [record["latency_ms"]["p90"] for record in screened if record["conditions"].get("target") == target]
    seen = [p90 for p90 in found if p90 is not None]
    return 1.15 * min(seen), 1.02 * max(seen)


def budgets(joint: Path, seed: int) -> Iterator[tuple[int, float]]:
    """Deployments by turns, each with a budget in ms, its logarithm uniform over what the space offers."""
    rng = np.random.default_rng(seed)
    ranges = [np.log(offered(joint, raw_project(seed)["deploy"][deployment]["target"])) for deployment in DEPLOYMENTS]
    for _ in range(MOST):
        for deployment, (low, high) in zip(DEPLOYMENTS, ranges, strict=True):
            yield deployment, float(f"{np.exp(rng.uniform(low, high)):.4g}")


def case(out: Path, seed: int, deployment: int, index: int, budget_ms: float, before: list[Path]) -> dict[str, Any] | None:
    """The case's figures in ms; None where nothing was selected."""
    folder = out / f"hold-{seed}-{deployment}-{index}"
    project = case_project(seed, deployment, budget_ms)
    if not folder.exists():
        borrow(before, folder, project)
    selected = run(project, folder)["selected"]
    before.append(folder)
    if not selected:
        return None
    command = [sys.executable, "-m", "edgekd", "bench", str(folder / selected[0]["artifact"]), "--json", "-"]
    again = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {
        "target": selected[0]["target"],
        "candidate": selected[0]["candidate"],
        "budget_ms": budget_ms,
        "measured_ms": selected[0]["latency_ms"]["p90"],
        "again_ms": again["latency_ms"]["p90"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/supernet"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tight", type=int, default=20)
    given = parser.parse_args()
    os.environ.setdefault("EDGEKD_CACHE", str(given.out / "cache"))
    Console()
    joint = given.out / f"joint-{given.seed}"
    before, held, counted = [joint], 0, 0
    print("| target | candidate | budget ms | p90 ms | budget / p90 | p90 again ms | held |\n|---|---|---|---|---|---|---|")
    for index, (deployment, budget_ms) in enumerate(budgets(joint, given.seed)):
        if counted == given.tight:
            break
        found = case(given.out, given.seed, deployment, index, budget_ms, before)
        if found is None:
            print(f"| {raw_project(given.seed)['deploy'][deployment]['target']} | none | {budget_ms} | | | | |", flush=True)
            continue
        ratio, holds = budget_ms / found["measured_ms"], found["again_ms"] <= budget_ms
        counted, held = counted + (ratio <= TIGHT), held + (ratio <= TIGHT and holds)
        cells = [found["target"], found["candidate"], budget_ms, found["measured_ms"], f"{ratio:.3f}", found["again_ms"], holds]
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    print(f"{held} of {counted} with a budget of at most {TIGHT} times the measured p90 held it")


if __name__ == "__main__":
    main()
