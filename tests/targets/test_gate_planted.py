"""Slow-downs planted by real means: models that do known amounts of work, recorded by real processes."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from edgekd.bench.jobs import Job
from edgekd.gate.planted import CHANNELS, SIDE, planted_model
from edgekd.gate.selftest import PLANTED, record_bank


def test_a_planted_model_has_so_many_convolutions_and_runs(tmp_path: Path) -> None:
    path = planted_model(tmp_path / "model.onnx", 7)
    assert [node.op_type for node in onnx.load(path).graph.node].count("Conv") == 7
    inputs = np.random.default_rng(0).standard_normal((1, CHANNELS, SIDE, SIDE)).astype(np.float32)
    (found,) = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"input": inputs})
    assert found.shape == inputs.shape
    assert 0.01 < found.std() < 100  # neither dead nor blown up: no denormal numbers slow it down


def test_a_bank_holds_every_side_of_every_block() -> None:
    told: list[tuple[int, int]] = []
    bank = record_bank(Job(model=Path(), target="onnxruntime"), 2, told=lambda done, of: told.append((done, of)))
    assert bank.blocks == 2
    assert {percent: len(ratios) for percent, ratios in bank.ratios.items()} == dict.fromkeys(PLANTED, 2)
    assert all(np.isfinite(ratios).all() for ratios in bank.ratios.values())
    assert told == [(1, 2), (2, 2)]
