"""One supernet for four deployments, against four runs of their own, separate trainings of the same students, and random search.

    python benchmarks/supernet.py joint --out runs/sn --seed 0     # fashion_mnist/supernet.toml; its time is T
    python benchmarks/supernet.py single --out runs/sn --seed 0    # each deployment in a run of its own, same seed
    python benchmarks/supernet.py alone --out runs/sn --seed 0     # the four selected students, trained from scratch, T/4 each
    python benchmarks/supernet.py random --out runs/sn --seed 0    # eight random students, trained from scratch, T/8 each
    python benchmarks/supernet.py loop --out runs/sn --seed 0      # 20 students with the teacher in their loop, by timing one
    python benchmarks/supernet.py ranking --out runs/sn --seed 0   # Kendall's tau over eight students trained alone
    python benchmarks/supernet.py table --out runs/sn

Every run is a run of edgekd, on one thread. A run of one deployment with the same seed trains the same supernet, bit for bit:
`single` takes it from the joint run, and what else was done for the same seed, with the recorded times; `--whole` does it all
again for the first deployment, and compares. Costs are the recorded seconds of all that a run asked for, teachers' answers left
out; `loop` compares CPU seconds of the process and all that it starts.
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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from edgekd.console import Console
from edgekd.deployment import resolve_all
from edgekd.errors import InfeasibleError
from edgekd.pipeline import distill
from edgekd.plugins import load_attribute
from edgekd.prepare_run import prepare_run
from edgekd.prepare_teacher import prepare_teachers
from edgekd.project import Project, make_project
from edgekd.store import Store
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


def separate_project(seed: int, epochs: int) -> Project:
    """The same data, teacher, recipe and deployments, for students that are trained one by one from scratch."""
    raw = raw_project(seed)
    return make_project(
        {**raw, "distill": {**raw["distill"], "epochs": epochs}, "search": {"trials": 1, "rung_epochs": 1, "seed": seed}}, PROJECT
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
        timings = json.loads((folder / "report.json").read_text())["timings_s"]
        cost |= {"teacher_s": timings.get("teacher", 0.0), "units_s": sum(timings.values())}
        done.write_text(json.dumps(cost))
    return {**json.loads((folder / "report.json").read_text()), "cost": json.loads(done.read_text())}


def total(report: dict[str, Any]) -> float:
    """CPU seconds without the teacher's: it answers on one thread here, so its wall time is its CPU time at most."""
    return float(report["cost"]["cpu_s"] - report["cost"]["teacher_s"])


def to_share(report: dict[str, Any], folder: Path) -> float:
    """Recorded seconds of a run without the teacher's and without shipping: what separate trainings get in all."""
    return float(report["cost"]["units_s"] - report["cost"]["teacher_s"]) - shipping_seconds(folder)


def joint(out: Path, seed: int) -> dict[str, Any]:
    return run(joint_project(seed), out / f"joint-{seed}")


def single(out: Path, seed: int, whole: bool) -> None:
    before = [out / f"joint-{seed}"]
    for deployment in range(len(raw_project(seed)["deploy"])):
        folder = out / f"single-{seed}-{deployment}{'-whole' if whole else ''}"
        if not whole and not folder.exists():
            borrow(before, folder, single_project(seed, deployment))
        run(single_project(seed, deployment), folder)
        before.append(folder)
        if whole:
            same = supernet_sha(folder) == supernet_sha(before[0])
            print(f"{folder.name}: the supernet is {'bit for bit the same' if same else 'ANOTHER'}")
            return


def borrow(sources: Sequence[Path], folder: Path, project: Project) -> None:
    """A run's folder that holds the supernets, fine-tuned students, ratings and screenings of others, and what they took."""
    store = Store(folder)
    store.bind(project.raw, project.base)
    store.close()
    database = sqlite3.connect(folder / "run.sqlite")
    for source in sources:
        kinds = "SELECT * FROM unit WHERE kind IN ('distil', 'rate', 'screen')"
        rows = list(sqlite3.connect(source / "run.sqlite").execute(kinds))
        database.executemany("INSERT OR IGNORE INTO unit VALUES (?, ?, ?, ?)", rows)
        for weights in [json.loads(row[2])["weights"] for row in rows if row[0] == "distil"]:
            (folder / weights).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / weights, folder / weights)
    database.commit()


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


def separately(folder: Path, project: Project, candidate: Candidate, wanted: Sequence[int] | None) -> dict[str, Any]:
    """A student trained from scratch; built, verified and tested for the deployments of these indices, or for all that it fits.

    A finished one is read: seconds of its training, and for each deployment its accuracy on both splits.
    """
    done = folder / "separate.json"
    if not done.exists():
        store = Store(folder)
        store.bind(project.raw, project.base)
        run = prepare_run(project, store, Console(), resolve_all(project.deploy))
        prepare_teachers(run, verify_cache=False)
        trained = run.train(candidate, "final", project.distill.epochs)
        found: dict[int, Any] = {}
        for index, deployment in enumerate(run.deployments):
            if index in wanted if wanted is not None else any(r["fits"] for r in run.screen(candidate, deployment)):
                artifact = run.artifact(candidate, trained, deployment, deployment.precisions[0])
                tested = run.tested(candidate, deployment, deployment.precisions[0])
                found[index] = {"validation": artifact["accuracy"]["artifact"], "test": tested["accuracy"]["artifact"]}
        store.close()
        seconds = sum(seconds for kind, _, seconds in units(folder) if kind == "distil")
        done.write_text(json.dumps({"epochs": project.distill.epochs, "seconds": seconds, "deployments": found}))
    return dict(json.loads(done.read_text()))


def alone(out: Path, seed: int) -> None:
    """The students that the joint run selected, each trained from scratch for its share of the joint run's cost."""
    report, folder = joint(out, seed), out / f"joint-{seed}"
    values = {trial["candidate"]: trial["values"] for trial in report["trials"]}
    targets = [deploy["target"] for deploy in raw_project(seed)["deploy"]]
    chosen = {targets.index(entry["target"]): entry["candidate"] for entry in report["selected"]}
    names = list(dict.fromkeys(chosen.values()))
    share = to_share(report, folder) / len(names)
    for name in names:
        epochs = round(share / trained_seconds(folder, name))
        candidate = Candidate.of(raw_project(seed)["students"]["family"], values[name])
        wanted = [index for index, other in chosen.items() if other == name]
        found = separately(out / f"alone-{seed}" / name, separate_project(seed, epochs), candidate, wanted)
        print(f"alone-{seed} {name}: {epochs} epochs, {found['seconds']:.0f} s of {share:.0f}")


def random_search(out: Path, seed: int) -> None:
    """Random students of the space, each trained from scratch for an eighth of the cost, and built for all that they fit."""
    raw = raw_project(seed)
    report, folder = joint(out, seed), out / f"joint-{seed}"
    share = to_share(report, folder) / RANDOM
    space, rng = the_space(raw), np.random.default_rng(1000 + seed)
    # Seconds of a student that was not trained in the joint run, from one that was: by their forward and backward passes.
    known, images, batch = report["selected"][0]["candidate"], raw["data"]["limit"], raw["distill"]["batch_size"]
    trial = next(trial for trial in report["trials"] if trial["candidate"] == known)
    whole = trained_seconds(folder, known) / epoch_seconds(trial["values"], space.family, images, batch)
    drawn: dict[Candidate, None] = {}
    while len(drawn) < RANDOM:
        drawn[space.draw(rng)] = None
    for candidate in drawn:
        epochs = max(2, round(share / (whole * epoch_seconds(candidate.values, space.family, images, batch))))
        found = separately(out / f"random-{seed}" / candidate.id, separate_project(seed, epochs), candidate, None)
        print(f"random-{seed} {candidate.id}: {epochs} epochs, {found['seconds']:.0f} s of {share:.0f}")


def ranking(out: Path, seed: int) -> None:
    """How well the supernet ranks: eight of the rated students trained alone for as many epochs as the supernet."""
    raw = raw_project(seed)
    project = make_project({**raw, "search": {**raw["search"], "ranking": 8}}, PROJECT)
    folder = out / f"ranking-{seed}"
    if not folder.exists():
        borrow([out / f"joint-{seed}"], folder, project)
    found = run(project, folder)["search"]["ranking"]
    print(f"Kendall's tau {found['kendall_tau']:.2f} over {len(found['pairs'])} students; {json.dumps(found)}")


def accuracies(out: Path, kind: str, seed: int) -> list[float | None]:
    """Test accuracy of the artifact for each deployment, of several the best on validation; None where nothing is in budget."""
    deploy = raw_project(seed)["deploy"]
    if kind in ("joint", "single"):
        folders = [out / f"joint-{seed}"] if kind == "joint" else [out / f"single-{seed}-{index}" for index in range(len(deploy))]
        selected = [entry for folder in folders for entry in json.loads((folder / "report.json").read_text())["selected"]]
        return [next((e["accuracy"]["artifact"] for e in selected if e["target"] == item["target"]), None) for item in deploy]
    files = [json.loads(file.read_text()) for file in (out / f"{kind}-{seed}").glob("*/separate.json")]
    if not files:
        raise FileNotFoundError(kind)
    found: list[float | None] = []
    for index in range(len(deploy)):
        fitting = [file["deployments"][str(index)] for file in files if str(index) in file["deployments"]]
        best = max(fitting, key=lambda entry: entry["validation"], default=None)
        found.append(None if best is None else best["test"])
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
    """Recorded seconds of all that a run asked for; of separate trainings the seconds of the trainings alone."""
    if kind in ("joint", "single"):
        files = sorted(out.glob(f"{kind}-{seed}*/cost.json"))
        return ", ".join(f"{json.loads(file.read_text())['units_s']:.0f}" for file in files)
    return f"{sum(json.loads(file.read_text())['seconds'] for file in (out / f'{kind}-{seed}').glob('*/separate.json')):.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("joint", "single", "alone", "random", "loop", "ranking", "table"))
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
        "ranking": lambda: ranking(given.out, given.seed),
        "table": lambda: table(given.out),
    }
    actions[given.what]()


if __name__ == "__main__":
    main()
