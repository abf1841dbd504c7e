"""Duels: two models, both run now, in interleaved blocks, until a decision."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from edgekd.bench.runs import Runs
from edgekd.gate.duel import BASELINE, CANDIDATE, SENTINEL, SENTINEL_LEVEL, Arena
from edgekd.gate.family import judge_family
from edgekd.gate.sequential import PROFILES
from edgekd.null_target import LinearModule, NullTarget
from edgekd.target import Program
from edgekd.types import Contract


class Side:
    """A model on a simulated machine: each process has a level of its own, and the machine grows slower all the time."""

    def __init__(self, name: str, ms: float, clock: list[str], seed: int) -> None:
        self.name, self.ms, self.clock, self.rng = name, ms, clock, np.random.default_rng(seed)

    def run(self, mode: str, share: dict[str, Any]) -> Any:
        self.clock.append(self.name)
        drift = 1 + 0.002 * len(self.clock)
        level = self.ms * drift * np.exp(self.rng.normal(0, 0.005))
        return SimpleNamespace(latency_ns=[int(1e6 * level * np.exp(e)) for e in self.rng.normal(0, 0.02, 100)])


def arena(candidate_ms: float, sentinel_ms: float = 1.0, pairs: int = 1) -> tuple[Arena, list[str]]:
    clock: list[str] = []
    sides = []
    for index in range(pairs):
        times = {BASELINE: 1.0, CANDIDATE: candidate_ms, **({SENTINEL: sentinel_ms} if index == 0 else {})}
        sides.append([cast(Runs, Side(f"{index}{'bcs'[side]}", ms, clock, 10 * index + side)) for side, ms in times.items()])
    return Arena(pairs=sides, seed=3), clock


@pytest.mark.parametrize(("candidate_ms", "outcome"), [(1.0, "PASS"), (1.05, "REGRESSED"), (0.95, "IMPROVED")])
def test_a_drifting_machine_changes_no_verdict(candidate_ms: float, outcome: str) -> None:
    """It is 4 % slower at the end of ten processes than at their beginning; both sides meet that alike."""
    found, _ = arena(candidate_ms)
    assert [decision.outcome for decision in judge_family(1, PROFILES["default"], found.measure)] == [outcome]
    assert found.sentinel_p > SENTINEL_LEVEL


def test_a_baseline_that_differs_from_itself_is_seen() -> None:
    found, _ = arena(1.0, sentinel_ms=1.05)
    judge_family(1, PROFILES["default"], found.measure)
    assert found.sentinel_p <= SENTINEL_LEVEL


def test_blocks_interleave_all_pairs_in_random_order() -> None:
    """In each round every side of every pair runs once; each of the sides comes first now and then."""
    found, clock = arena(1.0, pairs=3)
    found.measure([0, 1, 2], 20)
    rounds = [clock[i : i + 7] for i in range(0, len(clock), 7)]
    assert all(Counter(names) == Counter(["0b", "0c", "0s", "1b", "1c", "2b", "2c"]) for names in rounds)
    assert {names[0] for names in rounds} == {"0b", "0c", "0s"}
    again, other = arena(1.0, pairs=3)
    again.measure([0, 1, 2], 20)
    assert other == clock


def model(folder: Path) -> Path:
    module = LinearModule(np.ones((64, 4096), np.float32), np.zeros(64, np.float32))
    contract = Contract(classes=tuple(map(str, range(64))), mean=(0.0,), std=(1.0,), value_max=1.0, shape=(4096,))
    return NullTarget().convert(Program(module=module, input_shape=(4096,), contract=contract, parent=""), folder).path


def edgekd(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "edgekd", *arguments], capture_output=True, text=True, check=False)


def test_the_command_ends_with_the_verdict(tmp_path: Path) -> None:
    """A model that does fifty times the work, in fresh processes."""
    sides = [f"{model(tmp_path)}@products={products}" for products in (1, 50)]
    done = edgekd("gate", "duel", *sides, "--metric", "latency_ms", "--json", str(tmp_path / "duel.json"))
    assert done.returncode == 10, done.stderr
    assert "REGRESSED" in done.stderr
    (found,) = json.loads((tmp_path / "duel.json").read_text())
    assert found["verdict"] == "REGRESSED"
    assert len(found["details"]["differences"]) == found["details"]["blocks"] == 12


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["missing.npz", "missing.npz"], "no such file"),
        (["MODEL", "MODEL", "--metric", "latncy"], "latency_ms"),
        (["MODEL", "MODEL", "--profile", "lazy"], "precise"),
        (["MODEL", "MODEL@streams=2"], "warm queries"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_a_line(tmp_path: Path, arguments: list[str], says: str) -> None:
    path = model(tmp_path)
    done = edgekd("gate", "duel", *[argument.replace("MODEL", str(path)) for argument in arguments])
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_sizes_are_compared_to_the_byte(tmp_path: Path) -> None:
    path = model(tmp_path)
    larger = path.with_name("larger.npz")
    larger.write_bytes(path.read_bytes() + b"\0")
    assert edgekd("gate", "duel", str(path), str(path), "--metric", "size_bytes").returncode == 0
    done = edgekd("gate", "duel", str(path), str(larger), "--metric", "size_bytes")
    assert done.returncode == 10
    assert "REGRESSED" in done.stderr
