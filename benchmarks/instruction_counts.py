"""How well instructions per inference repeat: every runtime, here and on an emulated board, several runs each.

    python benchmarks/instruction_counts.py [--runs 5] [--only openvino] [--load 2]

Needs what `edgekd devices emulate` needs. Prints a Markdown table; `--load` keeps so many processes busy meanwhile. Counts are of
one thread; a run is a fresh process.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from edgekd.bench.transports import Transport
from edgekd.bench.transports.adb import Adb
from edgekd.bench.transports.address import read_address
from edgekd.bench.transports.local import Local
from edgekd.bench.transports.remote import Remote
from edgekd.emulate.board import start_board
from edgekd.emulate.count import SPREAD, count_model
from edgekd.emulate.wheels import TFLITE_PYTHON
from edgekd.plugins import find_target
from edgekd.students.costs import layer_costs
from edgekd.students.mbconv import MBCONV
from edgekd.target import Program
from edgekd.types import Contract

SHAPE, CLASSES = (3, 32, 32), 10
PARAMS = {"width": 16, "growth": 2.0, "depth": 2, "kernel": 3, "expansion": 4, "stem_stride": 1, "skip": True}
HERE = ("openvino", "onnxruntime", "tflite")
THERE = (("onnxruntime", "python3"), ("tflite", "python3"), ("tflite", TFLITE_PYTHON))


def student() -> tuple[Program, float]:
    """An untrained student of more than ten million multiply-adds, and how many those are."""
    torch.manual_seed(0)
    module = MBCONV.build(PARAMS, SHAPE, CLASSES).eval()
    contract = Contract(classes=tuple("0123456789"), mean=(0.0,) * 3, std=(1.0,) * 3, value_max=1.0, shape=SHAPE)
    program = Program(module=module, input_shape=SHAPE, contract=contract, parent="none")
    return program, sum(layer.macs for layer in layer_costs(module, SHAPE))


def report(name: str, transport: Transport, model: Path, asked: argparse.Namespace, *, here: bool) -> None:
    runner = find_target(name).runner
    assert runner is not None
    begin = time.perf_counter()
    found = count_model(transport, runner, model, here=here, queries=asked.queries, runs=asked.runs)
    versions = ", ".join(f"{key} {value}" for key, value in found.versions.items() if key != "numpy")
    inner = max(abs(first - second) / found.per_inference for first, second in found.halves)
    seconds = (time.perf_counter() - begin) / asked.runs
    cells = [found.machine, found.cpu, versions]
    cells += [f"{value:,.1f}" for value in (found.per_inference, min(found.values), max(found.values))]
    cells += [f"{found.spread:.4%}", f"{inner:.4%}", f"{seconds:.0f}", "yes" if found.spread <= SPREAD else "NO"]
    print(f"| {' | '.join(cells)} |", flush=True)


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that keep a processor busy."""
    burn = "while True: sum(range(10000))"
    started = [subprocess.Popen([sys.executable, "-c", burn]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--queries", type=int, default=5, help="in each half of a run")
    parser.add_argument("--only", choices=HERE, nargs="+", default=HERE)
    parser.add_argument("--load", type=int, default=0)
    asked = parser.parse_args()
    program, macs = student()
    print(f"{macs / 1e6:.1f} million multiply-adds, fp32, {asked.runs} runs, one thread\n")
    print("| machine | processor | runtime | instructions | lowest | highest | spread | in a run | s a run | within 0.02 % |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as scratch, busy(asked.load):
        models = {}
        for name in asked.only:
            (folder := Path(scratch) / name).mkdir()
            models[name] = find_target(name).convert(program, folder).path
        with contextlib.closing(Local()) as transport:
            for name, model in models.items():
                report(name, transport, model, asked, here=True)
        if any(name in models for name, _ in THERE):
            on_board(Path(scratch) / "board", models, asked)


def on_board(folder: Path, models: dict[str, Path], asked: argparse.Namespace) -> None:
    board = start_board("pi5", folder, adb=True)
    try:
        with contextlib.closing(Remote(Adb(read_address(f"adb:{board.adb_serial}")))) as transport:
            for name, python in THERE:
                if name in models:
                    transport.python = python
                    report(name, transport, models[name], asked, here=False)
    finally:
        board.stop()


if __name__ == "__main__":
    main()
