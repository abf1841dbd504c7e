"""Models built here, pushed over real ssh to an emulated board, run there by the real aarch64 runtimes."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from edgekd.bench.transports import connected
from edgekd.device import find_device
from edgekd.device_session import DeviceSession
from edgekd.errors import MissingExtraError
from edgekd.plugins import find_target
from edgekd.target import Program, Target
from edgekd.types import Artifact, Contract

SHAPE = (1, 16, 16)
PI = find_device("raspberry-pi-5")
RUNTIMES = {"onnxruntime": "onnxruntime 1.32", "tflite": "ai-edge-litert 2.3"}


@pytest.fixture(scope="module")
def program() -> Program:
    """A small student of depthwise convolutions, untrained: its weights are random, its answers as good as any."""
    torch = pytest.importorskip("torch")
    from edgekd._conformance_student import PARAMS
    from edgekd.students.mbconv import MBCONV

    contract = Contract(classes=tuple("0123456789"), mean=(0.0,), std=(1.0,), value_max=1.0, shape=SHAPE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = MBCONV.build(PARAMS, SHAPE, 10).eval()
    return Program(module=module, input_shape=SHAPE, contract=contract, parent="none")


@pytest.fixture(scope="module", params=sorted(RUNTIMES))
def built(request: pytest.FixtureRequest, program: Program, tmp_path_factory: pytest.TempPathFactory) -> tuple[Target, Artifact]:
    target = find_target(request.param)
    try:
        return target, target.convert(program, tmp_path_factory.mktemp(request.param))
    except MissingExtraError as error:
        pytest.skip(str(error))


def test_answers_there_are_those_of_here(built: tuple[Target, Artifact], ssh_board: str) -> None:
    """fp32 logits of the board's runtime equal this machine's within 1e-4."""
    target, artifact = built
    inputs = np.random.default_rng(0).standard_normal((8, *SHAPE)).astype(np.float32)
    contract = target.contract(artifact.path)
    with connected(ssh_board) as transport:
        assert transport is not None
        there = DeviceSession(artifact.path, contract, PI, target=target, transport=transport).run(inputs)
    here = target.open(artifact.path).run(inputs)
    assert np.abs(here).max() > 0.05
    assert np.abs(there - here).max() <= 1e-4


@pytest.mark.parametrize("built", ["tflite"], indirect=True)
def test_its_latency_is_emulated(built: tuple[Target, Artifact], ssh_board: str) -> None:
    """A benchmark of the board is a full record of the aarch64 runtime, and no figure of it passes for a real board's."""
    from edgekd.cli import app

    target, artifact = built
    argv = ["bench", str(artifact.path), "--device", PI.name, "--connect", ssh_board, "--queries", "1", "--json", "-"]
    done = CliRunner().invoke(app, argv, catch_exceptions=False)
    record = json.loads(done.stdout)
    assert record["latency_ms"]["provenance"] == record["peak_memory_bytes"]["provenance"] == "emulated"
    assert record["latency_ms"]["n"] == 1
    assert record["conditions"]["arch"] == "aarch64"
    assert "emulated" in record["conditions"]["cpu"]
    assert RUNTIMES[target.name] in record["conditions"]["runtime"]
    assert record["energy_mj"]["value"] is None
