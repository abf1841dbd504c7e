"""Artifacts that carry a planted defect are refused by verify, on every target, in its widest and its narrowest precision."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from edgekd.build import build, calibration_inputs
from edgekd.data import Data
from edgekd.data.settings import DataSettings
from edgekd.data.sources import load_data
from edgekd.data.views import Augment
from edgekd.distill.learners.solo import Solo
from edgekd.distill.objective import Objective
from edgekd.distill.recipe import Recipe
from edgekd.distill.taps import Tapped
from edgekd.distill.trainer import Trainer
from edgekd.errors import StageError
from edgekd.plugins import find_target
from edgekd.students import find_family
from edgekd.students.program import build_student, make_program
from edgekd.target import Program
from edgekd.types import Candidate, Precision
from edgekd.verify import verify

PARAMS = {
    "width": 12, "growth": 1.5, "depth": 1, "kernel": 3, "bottleneck": 0.0, "skip": True, "input_size": 8,
}  # fmt: skip
NARROWEST = {"onnxruntime": "w8a8", "tflite": "w8a8", "openvino": "w8a8", "coreml": "w8"}


@pytest.fixture(scope="module")
def data() -> Data:
    return load_data(DataSettings(source="digits"), base=Path())


@pytest.fixture(scope="module")
def student(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A residual student that has learnt digits."""
    family, candidate = find_family("resnet"), Candidate.of("resnet", PARAMS)
    recipe = Recipe(losses=(), task_weight=1.0, epochs=12, batch_size=32, threads=1)
    module = build_student(family, candidate, data.contract, seed=0)
    learner = Solo(Tapped(module, len(data.contract.classes)), Objective(recipe, taught=False))
    folder = tmp_path_factory.mktemp("student")
    trained = Trainer(learner, data, data.contract, recipe, None, Augment(), folder / "checkpoint.safetensors").run()
    assert trained.curve[-1]["accuracy"] > 0.9
    return make_program(trained.module, candidate, data.contract)


def flipped_weights(program: Program) -> Program:
    convolution = [m for m in program.module.modules() if isinstance(m, nn.Conv2d)][1]
    with torch.no_grad():
        convolution.weight[: len(convolution.weight) // 2] *= -1
    return program


def wrong_padding(program: Program) -> Program:
    """What 'same' padding of another framework does to a stride of 2: all of it below and to the right."""
    for name, module in list(program.module.named_modules()):
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            module.padding = (0, 0)
            program.module.set_submodule(name, nn.Sequential(nn.ZeroPad2d((0, 2, 0, 2)), module))
    return program


def swapped_activation(program: Program) -> Program:
    for name, module in list(program.module.named_modules()):
        if isinstance(module, nn.ReLU):
            program.module.set_submodule(name, nn.Hardswish())
    return program


def wrong_normalisation(program: Program) -> Program:
    """The weights are right, and the contract tells the application to feed them something else."""
    mean, std = (program.contract.mean[0] + 1.0,), (program.contract.std[0] * 2,)
    return replace(program, contract=replace(program.contract, mean=mean, std=std))


DEFECTS = [flipped_weights, wrong_padding, swapped_activation, wrong_normalisation]


@pytest.mark.parametrize("target", sorted(NARROWEST))
@pytest.mark.parametrize("narrow", [False, True], ids=["fp32", "narrowest"])
def test_sound_artifacts_pass(target: str, narrow: bool, student: Program, data: Data, tmp_path: Path) -> None:
    """Without a defect the very same procedure lets the artifact through."""
    plant_and_verify(lambda program: program, target, narrow, student, data, tmp_path)


@pytest.mark.parametrize("target", sorted(NARROWEST))
@pytest.mark.parametrize("narrow", [False, True], ids=["fp32", "narrowest"])
@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
def test_defects_are_refused(
    target: str, narrow: bool, defect: Callable[[Program], Program], student: Program, data: Data, tmp_path: Path
) -> None:
    """An artifact built with the defect does not verify against the sound student."""
    with pytest.raises(StageError, match=r"^verify: "):
        plant_and_verify(defect, target, narrow, student, data, tmp_path)


def plant_and_verify(
    defect: Callable[[Program], Program], target: str, narrow: bool, student: Program, data: Data, folder: Path
) -> None:
    planted = defect(replace(student, module=copy.deepcopy(student.module)))
    precision = Precision.parse(NARROWEST[target] if narrow else "fp32")
    runtime = find_target(target)
    artifact = build(runtime, planted, precision, calibration_inputs(data, data.contract, seed=0), folder)
    verify(artifact, runtime, student, data.test)
