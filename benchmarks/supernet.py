"""One supernet for four deployments, against four runs of their own, separate trainings of the same students, and random search.

    python benchmarks/supernet.py joint --out runs/sn --seed 0     # fashion_mnist/supernet.toml; its CPU time is T
    python benchmarks/supernet.py single --out runs/sn --seed 0    # each deployment in a run of its own, same seed
    python benchmarks/supernet.py alone --out runs/sn --seed 0     # the four selected students, trained from scratch, T/4 each
    python benchmarks/supernet.py random --out runs/sn --seed 0    # eight random students, trained from scratch, T/8 each
    python benchmarks/supernet.py loop --out runs/sn --seed 0      # 20 students with the teacher in their loop, by timing one
    python benchmarks/supernet.py table --out runs/sn

Every run is a run of edgekd, on one thread. A run of one deployment with the same seed trains the same supernet, bit for bit:
`single` takes it from the joint run, and its recorded time; `--whole` trains it again and compares. Costs are CPU seconds of the
process and all that it starts, teachers' answers left out.
"""

import argparse
import json
import os
import resource
import shutil
import sqlite3
import statistics
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from edgekd.console import Console
from edgekd.errors import InfeasibleError
from edgekd.pipeline import distill
from edgekd.plugins import load_attribute
from edgekd.project import Project, make_project
from edgekd.students import elastic_axes, find_family, restricted
from edgekd.students.space import Space
from edgekd.types import Candidate

PROJECT = Path(__file__).parent / "fashion_mnist"
SHAPE, CLASSES = (1, 28, 28), 10
RANDOM = 8
"""Students of the random search: with fewer some budgets get none, with more each is trained less."""
TIMED_STEPS = 12


def raw_project(seed: int) -> dict[str, Any]:
    raw = tomllib.loads((PROJECT / "supernet.toml").read_text())
    raw["search"]["seed"] = seed
    return raw


def joint_project(seed: int) -> Project:
    return make_project(raw_project(seed), PROJECT)


def single_project(seed: int, deployment: int) -> Project:
    raw = raw_project(seed)
    return make_project({**raw, "deploy": [raw["deploy"][deployment]]}, PROJECT)


def alone_project(seed: int, values: dict[str, Any], epochs: int, deployments: list[int]) -> Project:
    """One student, trained from scratch with the same recipe for so many epochs."""
    raw = raw_project(seed)
    return make_project(
        {
            **raw,
            "distill": {**raw["distill"], "epochs": epochs},
            "students": {"family": raw["students"]["family"], "axes": {axis: [value] for axis, value in values.items()}},
            "search": {"trials": 1, "finalists": 1, "rung_epochs": 1, "seed": seed},
            "deploy": [raw["deploy"][deployment] for deployment in deployments],
        },
        PROJECT,
    )


def cpu_seconds() -> float:
    """Of this process and those that it waited for."""
    return sum(r.ru_utime + r.ru_stime for r in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def run(project: Project, folder: Path) -> dict[str, Any]:
    """The report of a run, and its cost kept beside it; a finished one is read."""
    done = folder / "cost.json"
    if not done.exists():
        began, started = cpu_seconds(), time.monotonic()
        try:
            distill(project, folder)
        except InfeasibleError as error:  # a budget that a random student misses is a result
            print(f"{folder.name}: {error}")
        cost = {"cpu_s": cpu_seconds() - began, "wall_s": time.monotonic() - started}
        cost["teacher_s"] = json.loads((folder / "report.json").read_text())["timings_s"].get("teacher", 0.0)
        done.write_text(json.dumps(cost))
    return {**json.loads((folder / "report.json").read_text()), "cost": json.loads(done.read_text())}


def total(report: dict[str, Any]) -> float:
    """CPU seconds without the teacher's: it answers on one thread here, so its wall time is its CPU time at most."""
    return float(report["cost"]["cpu_s"] - report["cost"]["teacher_s"])


def joint(out: Path, seed: int) -> dict[str, Any]:
    return run(joint_project(seed), out / f"joint-{seed}")


def single(out: Path, seed: int, whole: bool) -> None:
    for deployment in range(len(raw_project(seed)["deploy"])):
        folder = out / f"single-{seed}-{deployment}"
        if not whole and not folder.exists():
            borrow(out / f"joint-{seed}", folder, single_project(seed, deployment))
        run(single_project(seed, deployment), folder)
        if whole:
            same = supernet_sha(folder) == supernet_sha(out / f"joint-{seed}")
            print(f"{folder.name}: the supernet is {'bit for bit the same' if same else 'ANOTHER'}")
            return


def borrow(source: Path, folder: Path, project: Project) -> None:
    """A run's folder that holds nothing but the supernet of another."""
    from edgekd.store import Store

    store = Store(folder)
    store.bind(project.raw, project.base)
    store.close()
    found = sqlite3.connect(source / "run.sqlite").execute("SELECT kind, key, value, seconds FROM unit WHERE kind = 'distil'")
    rows = [row for row in found if json.loads(row[2])["stage"] == "supernet"]
    database = sqlite3.connect(folder / "run.sqlite")
    database.executemany("INSERT INTO unit VALUES (?, ?, ?, ?)", rows)
    database.commit()
    for row in rows:
        weights = json.loads(row[2])["weights"]
        (folder / weights).parent.mkdir(parents=True)
        shutil.copy(source / weights, folder / weights)


def supernet_sha(folder: Path) -> str:
    values = sqlite3.connect(folder / "run.sqlite").execute("SELECT value FROM unit WHERE kind = 'distil'")
    records = [json.loads(row[0]) for row in values]
    return str(next(record["sha256"] for record in records if record["stage"] == "supernet"))


def epoch_seconds(values: dict[str, Any], family: str, images: int, batch: int) -> float:
    """CPU seconds of an epoch of a student: forward, backward and soft targets, on one thread."""
    torch.set_num_threads(1)
    network = find_family(family).build(values, SHAPE, CLASSES).to(memory_format=torch.channels_last)
    inputs = torch.randn(batch, *SHAPE).to(memory_format=torch.channels_last)
    target = torch.softmax(torch.randn(batch, CLASSES), 1)
    for step in range(TIMED_STEPS + 2):
        if step == 2:
            started = time.process_time()
        F.kl_div(F.log_softmax(network(inputs), 1), target, reduction="batchmean").backward()
    return (time.process_time() - started) / TIMED_STEPS * (images // batch)


def loop_seconds(raw: dict[str, Any]) -> float:
    """CPU seconds of an epoch of the median student with the teacher answering in every step, on one thread, in PyTorch."""
    space = the_space(raw)
    middle = sorted(space.candidates(), key=lambda c: sum(p.numel() for p in built(c).parameters()))[space.size // 2]
    teacher = load_attribute("teacher:resnet", PROJECT)()
    teacher = teacher.to(memory_format=torch.channels_last).eval()
    inputs = torch.randn(raw["distill"]["batch_size"], *SHAPE).to(memory_format=torch.channels_last)
    answers = []
    for step in range(TIMED_STEPS + 2):
        if step == 2:
            started = time.process_time()
        with torch.no_grad():
            answers.append(teacher(inputs))
    asked = (time.process_time() - started) / TIMED_STEPS * (raw["data"]["limit"] // raw["distill"]["batch_size"])
    return asked + epoch_seconds(middle.values, space.family, raw["data"]["limit"], raw["distill"]["batch_size"])


def loop(out: Path, seed: int) -> None:
    """What training 20 students as long as the supernet costs with the teacher in the loop, beside the joint run."""
    torch.set_num_threads(1)
    raw = raw_project(seed)
    twenty = 20 * raw["distill"]["epochs"] * loop_seconds(raw)
    cost = joint(out, seed)["cost"]
    print(f"20 students: {twenty:.0f} CPU s; the joint run, all four artifacts: {total(joint(out, seed)):.0f} CPU s")
    print(f"share {total(joint(out, seed)) / twenty:.3f}; wall of the joint run {cost['wall_s']:.0f} s")


def the_space(raw: dict[str, Any]) -> Space:
    family = find_family(raw["students"]["family"])
    axes = restricted(elastic_axes(family, SHAPE, True), {k: tuple(v) for k, v in raw["students"]["axes"].items()})
    return Space(family=raw["students"]["family"], axes=axes)


def built(candidate: Candidate) -> Any:
    with torch.device("meta"):
        return find_family(candidate.family).build(candidate.values, SHAPE, CLASSES)


def units(folder: Path) -> list[tuple[str, dict[str, Any], float]]:
    """Kind, record and seconds of all units of work of a run."""
    found = sqlite3.connect(folder / "run.sqlite").execute("SELECT kind, value, seconds FROM unit")
    return [(kind, json.loads(value), seconds) for kind, value, seconds in found]


def trained_seconds(folder: Path, candidate: str) -> float:
    """Of an epoch of a finalist's fine-tuning, as the run recorded it: the trainer, its data and its validation included."""
    for kind, record, seconds in units(folder):
        if kind == "distil" and record["stage"] == "final" and Path(record["weights"]).parts[1] == candidate:
            return seconds / len(record["curve"])
    raise LookupError(f"{folder}: {candidate} was not fine-tuned there")


def shipping_seconds(folder: Path) -> float:
    """What building, verifying and measuring the finalists took, which separately trained students need as well."""
    shipping = ("build", "verify", "profile", "fidelity report", "confirm")
    return sum(seconds for kind, _, seconds in units(folder) if kind in shipping)


def alone(out: Path, seed: int) -> None:
    """The students that the joint run selected, each trained from scratch for a quarter of its cost."""
    report, folder = joint(out, seed), out / f"joint-{seed}"
    share = (total(report) - shipping_seconds(folder)) / len(report["selected"])
    values = {trial["candidate"]: trial["values"] for trial in report["trials"]}
    for deployment, entry in enumerate(report["selected"]):
        chosen = entry["candidate"]
        epochs = round(share / trained_seconds(folder, chosen))
        found = run(alone_project(seed, values[chosen], epochs, [deployment]), out / f"alone-{seed}-{deployment}")
        print(f"alone-{seed}-{deployment}: {epochs} epochs, {total(found):.0f} CPU s, of the joint run {total(report) / 4:.0f}")


def random_search(out: Path, seed: int) -> None:
    """Random students of the space, each trained from scratch for an eighth of the cost, and built for all that they fit."""
    raw = raw_project(seed)
    report, folder = joint(out, seed), out / f"joint-{seed}"
    share = total(report) / RANDOM
    space, rng = the_space(raw), np.random.default_rng(1000 + seed)
    # Seconds of a student that was not trained in the joint run, from one that was: by their forward and backward passes.
    known, images, batch = report["selected"][0]["candidate"], raw["data"]["limit"], raw["distill"]["batch_size"]
    trial = next(trial for trial in report["trials"] if trial["candidate"] == known)
    whole = trained_seconds(folder, known) / epoch_seconds(trial["values"], space.family, images, batch)
    drawn: dict[Candidate, None] = {}
    while len(drawn) < RANDOM:
        drawn[space.draw(rng)] = None
    for index, candidate in enumerate(drawn):
        epochs = max(2, round(share / (whole * epoch_seconds(candidate.values, space.family, images, batch))))
        run(alone_project(seed, candidate.values, epochs, [0, 1, 2, 3]), out / f"random-{seed}-{index}")


def accuracies(out: Path, kind: str, seed: int) -> list[float | None]:
    """Test accuracy of the artifact for each deployment; None where nothing is within budget."""
    if kind == "joint":
        return [entry["accuracy"]["artifact"] for entry in joint(out, seed)["selected"]]
    if kind in ("single", "alone"):
        reports = [json.loads((out / f"{kind}-{seed}-{d}" / "report.json").read_text()) for d in range(4)]
        return [report["selected"][0]["accuracy"]["artifact"] if report["selected"] else None for report in reports]
    reports = [json.loads((out / f"random-{seed}-{i}" / "report.json").read_text()) for i in range(RANDOM)]
    found: list[float | None] = []
    for deploy in raw_project(seed)["deploy"]:
        fitting = [e for r in reports for e in r["selected"] if e["target"] == deploy["target"]]
        best = max(fitting, key=lambda entry: entry["validation"]["artifact"], default=None)
        found.append(None if best is None else best["accuracy"]["artifact"])
    return found


def table(out: Path) -> None:
    print("| seed | run | onnxruntime | tflite | openvino | coreml | mean | CPU s |\n|---|---|---|---|---|---|---|---|")
    for folder in sorted(out.glob("joint-*")):
        seed = int(folder.name.split("-")[1])
        for kind in ("joint", "single", "alone", "random"):
            try:
                found = accuracies(out, kind, seed)
            except FileNotFoundError:
                continue
            cells = " | ".join("none" if value is None else f"{value:.4f}" for value in found)
            mean = statistics.mean(value for value in found if value is not None)
            print(f"| {seed} | {kind} | {cells} | {mean:.4f} | {costs(out, kind, seed)} |")


def costs(out: Path, kind: str, seed: int) -> str:
    folders = sorted(out.glob(f"{kind}-{seed}*"))
    found = [json.loads((f / "cost.json").read_text()) for f in folders if (f / "cost.json").exists()]
    return ", ".join(f"{cost['cpu_s'] - cost['teacher_s']:.0f}" for cost in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("joint", "single", "alone", "random", "loop", "table"))
    parser.add_argument("--out", type=Path, default=Path("runs/supernet"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--whole", action="store_true", help="of single: train the supernet again, for the first deployment")
    given = parser.parse_args()
    os.environ.setdefault("EDGEKD_CACHE", str(given.out / "cache"))
    Console()
    actions = {
        "joint": lambda: joint(given.out, given.seed),
        "single": lambda: single(given.out, given.seed, given.whole),
        "alone": lambda: alone(given.out, given.seed),
        "random": lambda: random_search(given.out, given.seed),
        "loop": lambda: loop(given.out, given.seed),
        "table": lambda: table(given.out),
    }
    actions[given.what]()


if __name__ == "__main__":
    main()
