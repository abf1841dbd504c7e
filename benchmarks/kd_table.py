"""Every loss and every scheme against plain training: one student, the same epochs, several seeds, the test split read once each.

    python benchmarks/kd_table.py prepare --out runs/kd           # the teacher's answers, and two more teachers for ensembles
    python benchmarks/kd_table.py run --out runs/kd               # all rows; --rows a,b for some; stopped, it goes on
    python benchmarks/kd_table.py run --out runs/kd --worker 0/2  # half of the work, beside a process with --worker 1/2
    python benchmarks/kd_table.py table --out runs/kd

Fashion-MNIST with the supplied teacher and its validation split. `--images 55000` takes all training images. The cost of a row
is the CPU time of all that it trains and asks, relative to plain training with the same seed.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.console import Console
from edgekd.data.prepare import prepare
from edgekd.data.settings import DataSettings
from edgekd.data.sources import augment_of, load_data
from edgekd.distill.cache import TeacherCache, open_cache
from edgekd.distill.comparison import FEWEST_SEEDS, ComparisonRow, compare, comparison_table
from edgekd.distill.objective import Objective
from edgekd.distill.recipe import Recipe, Scheme, Tap, WeightedLoss
from edgekd.distill.schemes import find_scheme
from edgekd.distill.stage import Plan, Stage
from edgekd.distill.trainer import predict
from edgekd.distill.training import Training, feature_request
from edgekd.store import Store
from edgekd.students import find_family
from edgekd.students.program import count_params
from edgekd.teachers import FeatureRequest
from edgekd.teachers.load import load_teacher
from edgekd.types import Candidate
from edgekd.verify import pack, unpack

PROJECT = Path(__file__).parent / "fashion_mnist"
STUDENT = Candidate.of(
    "resnet",
    {"width": 8, "growth": 2.0, "depth": 2, "kernel": 3, "bottleneck": 0.0, "skip": True, "input_size": 28},
)
TAPS = (Tap(teacher="blocks.3", student="stage2_block2"), Tap(teacher="blocks.5", student="stage3_block2"))
"""Of the losses that compare whole feature maps: the last layers at 14 and at 7 pixels. Those at 28 would be 50 kB a view."""
MEMBERS = 2
"""Teachers of the ensembles beside the supplied one: assistants that it taught, from seeds 0 and 1."""


def losses(*items: tuple[str, float, dict[str, Any]]) -> tuple[WeightedLoss, ...]:
    return tuple(WeightedLoss(name=name, weight=weight, numbers=numbers) for name, weight, numbers in items)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table: what is minimised, by which scheme, with how many teachers."""

    losses: tuple[WeightedLoss, ...] = ()
    task_weight: float = 1.0
    scheme: Scheme = field(default_factory=Scheme)
    combine: str = ""
    taps: tuple[Tap, ...] = ()


SOFT = losses(("soft_targets", 0.9, {"temperature": 4.0}))
HARD = {"with_teacher": False}


def taught(scheme: str, **numbers: Any) -> Row:
    """A scheme around soft targets."""
    return Row(losses=SOFT, task_weight=0.1, scheme=Scheme(name=scheme, numbers=numbers))


ROWS: dict[str, Row] = {
    "plain": Row(scheme=Scheme(name="plain")),
    # Losses, with the weights that their papers or the reference implementations use.
    "soft_targets": Row(losses=SOFT, task_weight=0.1),
    "soft_targets, standardized": Row(
        losses=losses(("soft_targets", 9.0, {"temperature": 2.0, "standardize": True})), task_weight=0.1
    ),
    "dkd": Row(losses=losses(("dkd", 1.0, {"alpha": 1.0, "beta": 2.0, "temperature": 4.0, "warmup_epochs": 2}))),
    "dist": Row(losses=losses(("dist", 2.0, {"temperature": 4.0, "beta": 1.0, "gamma": 1.0}))),
    "attention": Row(losses=losses(("attention", 1000.0, {}))),
    "hints": Row(losses=losses(("hints", 100.0, {})), taps=TAPS),
    "review": Row(losses=losses(("review", 1.0, {})), taps=TAPS),
    "rkd_distance": Row(losses=losses(("rkd_distance", 25.0, {}))),
    "rkd_angle": Row(losses=losses(("rkd_angle", 50.0, {}))),
    "similarity": Row(losses=losses(("similarity", 3000.0, {}))),
    "pkt": Row(losses=losses(("pkt", 30000.0, {}))),
    # Not the usual 0.02, whose gradient is 1/2000 of that of the labels here: the training stops at once with dead-kd-term.
    "correlation": Row(losses=losses(("correlation", 20.0, {}))),
    # Schemes without the big teacher, then around its soft targets.
    "exits alone": Row(scheme=Scheme(name="exits", numbers=HARD)),
    "self (born again) alone": Row(losses=SOFT, task_weight=0.1, scheme=Scheme(name="born_again", numbers=HARD)),
    "mutual alone": Row(scheme=Scheme(name="mutual", numbers=HARD)),
    "collaborative alone": Row(scheme=Scheme(name="collaborative", numbers=HARD)),
    "exits": taught("exits"),
    "self (born again)": taught("born_again"),
    "mutual": taught("mutual"),
    "collaborative": taught("collaborative"),
    "progressive": taught("progressive"),
    "multi-stage (1 assistant)": taught("chain"),
    "multi-stage, then w8": taught("chain", precision="w8"),
    # Three teachers: the supplied one and two assistants.
    **{
        f"ensemble, {weighting}": Row(losses=SOFT, task_weight=0.1, combine=weighting)
        for weighting in ("mean_logits", "mean_probabilities", "entropy", "ca_mkd", "ae_kd")
    },
}


class Bench:
    """Data, caches and a store, for rows and seeds."""

    def __init__(self, out: Path, images: int, epochs: int, store: Store) -> None:
        settings = DataSettings(source="fashion-mnist", validation="validation_indices.txt", limit=images)
        self.out, self.images, self.store, self.console = out, images, store, Console()
        self.data = load_data(settings, base=PROJECT)
        self.augment, self.family = augment_of(settings), find_family("resnet")
        self.recipe = Recipe(epochs=epochs, views=epochs, threads=1, learning_rate=0.1)
        self.caches_root = out / "cache"

    def teacher_cache(self, rows: Sequence[Row]) -> TeacherCache:
        """The supplied teacher's answers, with the feature maps that rows look at, filled where missing."""
        requests: list[FeatureRequest | None] = [None, *filter(None, map(self.request, rows))]
        for request in dict.fromkeys(requests):
            teacher = load_teacher(
                "teacher:resnet", "teacher.safetensors", data=self.data, base=PROJECT, seed=0, features=request
            )
            cache = open_cache(self.caches_root, teacher, self.data, self.augment, 0)
            with self.console.bar("teacher", 1) as bar:
                cache.fill(teacher, self.recipe.epochs, lambda t, a, b, bar=bar: bar.at(a, "", t, b), request)
        return cache

    def request(self, row: Row) -> FeatureRequest | None:
        recipe = replace(self.recipe, losses=row.losses, task_weight=row.task_weight)
        return feature_request(row.taps, Objective(recipe, taught=True).needs)

    def training(self, caches: tuple[TeacherCache, ...]) -> Training:
        return Training(
            data=self.data,
            augment=self.augment,
            family=self.family,
            store=self.store,
            console=self.console,
            view_seed=0,
            cache_root=self.caches_root,
            caches=caches,
        )

    def plan(self, recipe: Recipe, seed: int) -> Plan:
        params: Callable[[Candidate], int] = lambda c: count_params(self.family, c, self.data.contract)  # noqa: E731
        return Plan(candidate=STUDENT, recipe=recipe, seed=seed, params=params, teacher_params=696_042)

    def stages(self, row: Row, seed: int) -> tuple[Stage, ...]:
        recipe = replace(
            self.recipe,
            losses=row.losses,
            task_weight=row.task_weight,
            combine=row.combine or "mean_probabilities",
            taps=row.taps,
        )
        return find_scheme(row.scheme.name, row.scheme.numbers)(self.plan(recipe, seed))

    def members(self) -> tuple[TeacherCache, ...]:
        """Two assistants, taught by the supplied teacher, as teachers."""
        cache = self.teacher_cache(())
        training = self.training((cache,))
        found = []
        for seed in range(MEMBERS):
            stage = self.stages(ROWS["multi-stage (1 assistant)"], seed)[0]
            student = self.stages(ROWS["soft_targets"], seed)[0]
            record = training.run([stage], f"member-{seed}")
            found.append(training.teacher_cache(stage.candidate, record, f"member-{seed}", student.recipe, None))
        return (cache, *found)

    def measure(self, name: str, seed: int) -> dict[str, Any]:
        """Train a row for a seed; which test samples the last stage's student has right, and what it cost."""
        row = ROWS[name]
        caches = self.members() if row.combine else (self.teacher_cache((row,)),)
        training = self.training(caches)
        stages = self.stages(row, seed)
        started, wall = time.process_time(), time.monotonic()
        record = training.run(stages, f"seed-{seed}")
        spent, waited = time.process_time() - started, time.monotonic() - wall
        if record["failure"] is not None:
            return {"row": name, "seed": seed, "failure": record["failure"]}
        module = training.module(stages[-1].candidate, record)
        answers = predict(module, prepare(self.data.test.inputs, training.contract(stages[-1].candidate))).argmax(1)
        return {
            "row": name,
            "seed": seed,
            "failure": None,
            "correct": pack(answers == self.data.test.labels),
            "validation": record["curve"][-1]["accuracy"],
            "curve": record["curve"],
            "cpu_s": spent,
            "wall_s": waited,
            "stages": [[stage.name, stage.candidate.values.get("width"), stage.recipe.epochs] for stage in stages],
        }


@contextmanager
def bench(arguments: argparse.Namespace, name: str) -> Iterator[Bench]:
    store = Store(arguments.out / name)
    try:
        yield Bench(arguments.out, arguments.images, arguments.epochs, store)
    finally:
        store.close()


def run(arguments: argparse.Namespace) -> None:
    worker, _, workers = arguments.worker.partition("/")
    work = [(name, seed) for seed in range(arguments.seeds) for name in chosen(arguments)]
    with bench(arguments, f"worker-{worker}") as here:
        for name, seed in work[int(worker) :: int(workers or 1)]:
            file = result_file(arguments.out, name, seed)
            if file.exists():
                continue
            found = here.measure(name, seed)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(found))
            text = found["failure"] or f"{unpack(found['correct']).mean():.4f} in {found['cpu_s']:.0f} CPU s"
            print(f"{name}, seed {seed}: {text}", flush=True)


def chosen(arguments: argparse.Namespace) -> list[str]:
    return arguments.rows.split(";") if arguments.rows else list(ROWS)


def result_file(out: Path, name: str, seed: int) -> Path:
    return out / "results" / f"{''.join(c if c.isalnum() else '_' for c in name)}-{seed}.json"


def table(arguments: argparse.Namespace) -> str:
    found = {name: results(arguments.out, name, arguments.seeds) for name in ROWS}
    there = {name: rows for name, rows in found.items() if rows}
    plain = there.pop("plain")
    tried = len(there)
    rows = [ComparisonRow(name="plain", accuracy=float(np.mean([r["correct"].mean() for r in plain])))]
    for name, measured in there.items():
        paired = [p for p in plain if p["seed"] in {m["seed"] for m in measured}]
        accuracy = float(np.mean([m["correct"].mean() for m in measured]))
        # With fewer seeds there is no interval: such a row is not finished.
        pair = (np.stack([found["correct"] for found in side]) for side in (paired, measured))
        gain = compare(*pair, name=name) if len(measured) >= FEWEST_SEEDS else None
        cost = statistics.median(m["cpu_s"] / p["cpu_s"] for m, p in zip(measured, paired, strict=True))
        rows.append(ComparisonRow(name=name, accuracy=accuracy, gain=gain, relative_cost=cost))
    ordered = [rows[0], *sorted(rows[1:], key=lambda row: -row.accuracy)]
    return f"{comparison_table(ordered)}\n\n{tried} rows against one baseline, {arguments.seeds} seeds, intervals at 95 % each."


def results(out: Path, name: str, seeds: int) -> list[dict[str, Any]]:
    """Of the seeds that ended, with the flags unpacked."""
    files = [result_file(out, name, seed) for seed in range(seeds)]
    read = [json.loads(file.read_text()) for file in files if file.exists()]
    unpacked: Callable[[str], NDArray[np.bool_]] = unpack
    return [{**found, "correct": unpacked(found["correct"])} for found in read if found["failure"] is None]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("command", choices=("prepare", "run", "table"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", default="", help="names, separated by ;")
    parser.add_argument("--worker", default="0/1")
    arguments = parser.parse_args()
    if arguments.command == "prepare":
        rows = [ROWS[name] for name in chosen(arguments)]
        with bench(arguments, "members") as here:
            here.teacher_cache(rows)
            if any(row.combine for row in rows):
                here.members()
    elif arguments.command == "run":
        run(arguments)
    else:
        print(table(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
