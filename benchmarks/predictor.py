"""How well latency, memory and size of unseen students are predicted from a few measured ones.

    python benchmarks/predictor.py measure --out RUN                                # resnet, 60 + 60 students, two targets
    python benchmarks/predictor.py measure --out RUN --family mbconv --rounds 1     # another family, measured once
    python benchmarks/predictor.py table --out RUN                                  # fits and prints; measures nothing

Students of an elastic space of 28 pixel images, drawn by seed and untrained, are exported, quantized and measured one by one on
one thread. Every figure goes to RUN/measured.jsonl at once, and the same command goes on from there. The first `--train` of the
drawn are fitted on, the others are the test; nothing is tuned on those. In a second round every artifact is measured again in new
processes, which tells how far two measurements of one artifact differ: no predictor comes below that.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import kendalltau

from edgekd.bench.procedure import profile_file
from edgekd.bench.settings import Settings
from edgekd.bench.statistics import latency_at
from edgekd.build import build, calibration_inputs
from edgekd.data.settings import DataSettings
from edgekd.data.sources import load_data
from edgekd.device import find_device
from edgekd.plugins import find_target
from edgekd.search.active import initial_design, next_to_measure
from edgekd.search.predictor import Predictor
from edgekd.students import find_family, resized_shape
from edgekd.students.costs import features, layer_costs
from edgekd.students.program import build_student, make_program
from edgekd.students.space import Space
from edgekd.types import Artifact, Candidate, Precision

SHAPE = (1, 28, 28)
CASES = "onnxruntime:fp32,tflite:w8a8"
CLASSES = 10
METRICS = ("p50_ms", "p90_ms", "peak_memory_bytes", "size_bytes")
COUNTS = (10, 20, 40, 60)
"""Students that are fitted on: the first of those drawn, or as many chosen from among the training side."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One target and precision, as `target:precision`."""

    target: str
    precision: str

    def __str__(self) -> str:
        return f"{self.target}:{self.precision}"


def cases(text: str) -> list[Case]:
    """`onnxruntime:fp32,tflite:w8a8` read."""
    pairs = (part.partition(":") for part in text.split(","))
    return [Case(target=target, precision=precision) for target, _, precision in pairs]


def drawn(family: str, coupled: bool, count: int, seed: int) -> list[Candidate]:
    """So many students of the space, none twice, in the order drawn."""
    space = Space(family=family, axes=find_family(family).elastic(SHAPE, coupled=coupled))
    rng, found = np.random.default_rng(seed), dict[Candidate, None]()
    while len(found) < min(count, space.size):
        found[space.draw(rng)] = None
    return list(found)


def measured(out: Path) -> list[dict[str, Any]]:
    """What is there; a last line that was cut off by a kill is measured again."""
    file, found = out / "measured.jsonl", []
    for line in file.read_text().splitlines() if file.exists() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def missing(arguments: argparse.Namespace) -> Iterator[tuple[int, Candidate, Case]]:
    """(round, student, case) that are not recorded yet."""
    known = {(r["candidate"], r["case"], r["round"]) for r in measured(arguments.out)}
    students = drawn(arguments.family, arguments.space == "coupled", arguments.train + arguments.test, arguments.seed)
    for number in range(arguments.rounds):
        for student in students:
            for case in cases(arguments.cases):
                if (student.id, str(case), number) not in known:
                    yield number, student, case


def measure(arguments: argparse.Namespace) -> None:
    """Build and measure all that is missing."""
    data = load_data(DataSettings(source="fashion-mnist"), base=Path())
    family, todo = find_family(arguments.family), list(missing(arguments))
    for done, (number, student, case) in enumerate(todo, 1):
        start = time.monotonic()
        model = built(arguments.out, student, case)
        if model is None:
            program = make_program(build_student(family, student, data.contract, arguments.seed), student, data.contract)
            inputs = calibration_inputs(data, program.contract, arguments.seed)
            model = build_in(arguments.out, student, case, program, inputs)
        seconds = time.monotonic() - start
        record = {"candidate": student.id, "values": student.values, "case": str(case), "round": number}
        record |= figures(model, case, arguments.seed + number) | {"build_s": round(seconds, 2)}
        with (arguments.out / "measured.jsonl").open("a") as stream:
            stream.write(json.dumps(record) + "\n")
        print(f"{done}/{len(todo)} {student.id} {case} round {number}: p50 {record['p50_ms']:.4f} ms", flush=True)


def place(out: Path, student: Candidate, case: Case) -> Path:
    return out / "artifacts" / f"{student.id}-{case.target}-{case.precision}"


def built(out: Path, student: Candidate, case: Case) -> Path | None:
    """The model file, where it was built before."""
    note = place(out, student, case) / "model.txt"
    return note.parent / note.read_text() if note.exists() else None


def build_in(out: Path, student: Candidate, case: Case, program: Any, inputs: Any) -> Path:
    """Build the artifact and note, last of all, the name of its file."""
    folder = place(out, student, case)
    folder.mkdir(parents=True, exist_ok=True)
    artifact: Artifact = build(find_target(case.target), program, Precision.parse(case.precision), inputs, folder)
    (folder / "model.txt").write_text(artifact.path.relative_to(folder).as_posix())
    return artifact.path


def figures(model: Path, case: Case, seed: int) -> dict[str, Any]:
    """What one quick measurement says, as a screening takes it."""
    found = profile_file(model, find_device("local"), target=find_target(case.target), threads=1, settings=Settings.quick(seed))
    values = found.latency_ms.values
    return {
        "p50_ms": latency_at(values, 50),
        "p90_ms": latency_at(values, 90),
        "queries": len(values),
        "peak_memory_bytes": statistics.median(found.peak_memory_bytes.values),
        "size_bytes": found.size_bytes,
        "load_1m": found.latency_ms.conditions.get("load_1m"),
        "warnings": list(found.latency_ms.warnings),
    }


def table(arguments: argparse.Namespace) -> str:
    """How well each metric of each case was predicted, and how far two measurements of one artifact differ."""
    records = measured(arguments.out)
    students = drawn(arguments.family, arguments.space == "coupled", arguments.train + arguments.test, arguments.seed)
    rows = [
        "| case | metric | measured | median error | 90 % intervals that hold | their width | Kendall tau |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in map(str, cases(arguments.cases)):
        found = {r["candidate"]: r for r in records if r["case"] == case and r["round"] == 0}
        again = {r["candidate"]: r for r in records if r["case"] == case and r["round"] == 1}
        train = [student for student in students[: arguments.train] if student.id in found]
        test = [student for student in students[arguments.train :] if student.id in found]
        for metric in METRICS:
            rows += metric_rows(case, metric, Side.of(train, found, metric), Side.of(test, found, metric), again)
    return "\n".join(rows)


@dataclass(frozen=True, kw_only=True)
class Side:
    """Students of the training or the test side: features (n, D) and measured values (n,)."""

    ids: list[str]
    x: NDArray[np.float64]
    y: NDArray[np.float64]

    @classmethod
    def of(cls, students: list[Candidate], found: dict[str, dict[str, Any]], metric: str) -> Self:
        values = np.array([float(found[student.id][metric]) for student in students])
        return cls(ids=[student.id for student in students], x=np.stack([seen(student) for student in students]), y=values)


@cache
def seen(student: Candidate) -> NDArray[np.float64]:
    """What the predictor sees of a student."""
    shape = resized_shape(student, SHAPE)
    with torch.device("meta"):
        network = find_family(student.family).build(student.values, shape, CLASSES)
    return features(layer_costs(network, shape))


def metric_rows(case: str, metric: str, train: Side, test: Side, again: dict[str, dict[str, Any]]) -> Iterator[str]:
    """A row for each number of measured students, and one for the second measurement."""
    counts = [count for count in COUNTS if count <= len(train.y)]
    for count in counts:
        yield row(case, metric, str(count), train.x[:count], train.y[:count], test)
    for count in counts[:-1]:
        rows = chosen(train, count)
        yield row(case, metric, f"{count}, chosen", train.x[rows], train.y[rows], test)
    twice = [i for i, name in enumerate(test.ids) if name in again]
    if twice:
        second = np.array([float(again[test.ids[i]][metric]) for i in twice])
        error, tau = np.abs(second / test.y[twice] - 1), kendalltau(second, test.y[twice]).statistic
        beyond = float(np.mean(error > 0.05))
        name = f"the same {len(twice)} again"
        yield f"| {case} | {metric} | {name} | {np.median(error):.2%} | {beyond:.0%} beyond 5 % | – | {tau:.3f} |"


def row(case: str, metric: str, name: str, x: NDArray[np.float64], y: NDArray[np.float64], test: Side) -> str:
    """Fitted on these, told of the unseen."""
    found = Predictor().fit(x, y).predict(test.x)
    error = float(np.median(np.abs(found.value / test.y - 1)))
    held = float(np.mean((found.low <= test.y) & (test.y <= found.high)))
    width = float(np.mean((found.high - found.low) / found.value))
    tau = kendalltau(found.value, test.y).statistic
    return f"| {case} | {metric} | {name} | {error:.2%} | {held:.0%} of {len(test.y)} | {width:.1%} | {tau:.3f} |"


def chosen(train: Side, count: int) -> list[int]:
    """So many rows: a spread design of at most ten, then always the one that is least certain."""
    rows = initial_design(train.x, min(10, count), seed=0)
    while len(rows) < count:
        found = Predictor().fit(train.x[rows], train.y[rows]).predict(train.x)
        known = np.isin(np.arange(len(train.y)), rows)
        rows.append(next_to_measure(found, np.zeros(len(train.y)), None, known))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("command", choices=("measure", "table"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--family", default="resnet")
    parser.add_argument("--space", choices=("coupled", "free"), default="coupled")
    parser.add_argument("--train", type=int, default=60)
    parser.add_argument("--test", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--cases", default=CASES, help="target:precision, separated by commas")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.command == "measure":
        measure(arguments)
    else:
        print(table(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
