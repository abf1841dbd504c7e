"""What benchmarks/rivals hands to another tool is the same network on the same pictures."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgekd.data import Data, Split
from edgekd.data.views import Augment
from edgekd.distill.recipe import Recipe
from edgekd.students import find_family
from edgekd.types import Contract

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from rivals.plain_resnet import resnet
from rivals.rival import TOLERANCE, Rival, difference, write_folder, write_job

SHAPE = (1, 28, 28)
SMALL = {"width": 8, "growth": 1.5, "depth": 1, "kernel": 3, "bottleneck": 0.0, "skip": True}


def student(**changed: float) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network: nn.Module = find_family("resnet").build({**SMALL, **changed}, SHAPE, 10)
    return network


@pytest.fixture
def data() -> Data:
    rng = np.random.default_rng(0)
    contract = Contract(shape=SHAPE, mean=(0.2860,), std=(0.3530,), value_max=255.0, classes=tuple("0123456789"))

    def part(count: int) -> Split:
        inputs = rng.integers(0, 256, (count, *SHAPE), np.uint8)
        return Split(inputs=inputs, labels=np.arange(count) % 10, ids=np.arange(count))

    return Data(name="noise", train=part(64), validation=part(16), test=part(40), contract=contract, fingerprint="")


@pytest.mark.parametrize(
    "changed", [{}, {"bottleneck": 0.25}, {"skip": False}, {"kernel": 5, "depth": 2}, {"width": 16, "growth": 1.4}]
)
def test_plain_network(changed: dict[str, float]) -> None:
    """The network without edgekd takes edgekd's weights as they are, and answers with the same logits."""
    ours, plain = student(**changed), resnet(**{**SMALL, **changed})
    plain.load_state_dict(ours.state_dict())
    assert difference(plain, ours, torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(0))) <= TOLERANCE


def test_another_network_is_refused(tmp_path: Path, data: Data) -> None:
    """A comparison does not start when edgekd's network has changed and the plain one has not."""
    changed = student()
    changed[1].activation = nn.Identity()  # type: ignore[index]
    with pytest.raises(SystemExit, match="differs from edgekd's resnet"):
        write_folder(tmp_path, changed, SMALL, data)


def test_torchdistill_learns(tmp_path: Path, data: Data) -> None:
    """torchdistill trains an epoch when told to, from the folder and the job alone; the teacher is the supplied one."""
    python = os.environ.get("EDGEKD_TORCHDISTILL")
    if not python:
        pytest.skip("EDGEKD_TORCHDISTILL must name the interpreter of an environment that has torchdistill")
    write_folder(tmp_path, student(), SMALL, data)
    recipe = Recipe(epochs=2, batch_size=16, threads=1)
    for taught in (True, False):
        job = write_job(tmp_path / "job.json", SMALL, data, Augment(shift=2), recipe, taught, channels_last=True)
        assert (json.loads(job.read_text())["teacher"] is not None) == taught
        with Rival(python, "torchdistill_student.py", job) as rival:
            seconds = [rival.epoch().wall, rival.epoch().wall]
            end = rival.end()
        assert end["epoch_seconds"] == seconds
        assert all(0 < waited < whole for waited, whole in zip(end["loading_seconds"], seconds, strict=True))
        assert 0 <= end["accuracy"] <= 1
