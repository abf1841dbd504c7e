"""The Core ML target: packages are what they should be, small, reproducible, and answer as their student does."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
if find_spec("coremltools") is None:
    pytest.skip("needs coremltools", allow_module_level=True)

import coreml_nets as nets  # noqa: E402
from torch import nn  # noqa: E402

from edgekd.artifact import contract_file  # noqa: E402
from edgekd.device import Device  # noqa: E402
from edgekd.errors import InputError, StageError  # noqa: E402
from edgekd.quiet import quiet  # noqa: E402
from edgekd.types import Artifact, Contract, Precision  # noqa: E402
from edgekd_coreml import CoreMl  # noqa: E402
from edgekd_coreml.package import read  # noqa: E402
from edgekd_coreml.program import decode  # noqa: E402

TARGET = CoreMl()


def build(program: Any, precision: str, folder: Path) -> Artifact:
    folder.mkdir(parents=True)
    if precision == "fp32":
        return TARGET.convert(program, folder)
    return TARGET.quantize(program, None, Precision.parse(precision), None, folder)  # type: ignore[arg-type]


class Built:
    """A trained student, its 1,000 inputs, its answers, and all its packages."""

    def __init__(self, make: Any, folder: Path) -> None:
        self.program, self.inputs = nets.trained(make)
        with torch.no_grad():
            self.logits = self.program.module(torch.from_numpy(self.inputs)).numpy()
        self.artifacts = {name: build(self.program, name, folder / name) for name in TARGET.precisions}

    def answers(self, precision: str) -> np.ndarray[Any, Any]:
        return TARGET.open(self.artifacts[precision].path).run(self.inputs)

    def agreement(self, precision: str) -> float:
        return float((self.answers(precision).argmax(1) == self.logits.argmax(1)).mean())


@pytest.fixture(scope="module", params=["inverted", "residual"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built(getattr(nets, request.param), tmp_path_factory.mktemp(request.param))


def test_fp32_answers_as_the_student(built: Built) -> None:
    """The largest difference over 1,000 inputs is at most 1e-4 of the largest logit."""
    assert np.abs(built.answers("fp32") - built.logits).max() <= 1e-4 * np.abs(built.logits).max()


@pytest.mark.parametrize(("precision", "least"), [("fp16", 0.995), ("w8", 0.995), ("w4", 0.9)])
def test_smaller_precisions_agree_with_the_student(built: Built, precision: str, least: float) -> None:
    """The chosen class is the student's for so many of 1,000 inputs; four bits may be refused by verification."""
    assert built.agreement(precision) >= least


def test_each_precision_is_smaller_than_the_one_before(built: Built) -> None:
    """Small students get compressed too: none of the precisions leaves the package as large as it was."""
    sizes = [built.artifacts[name].size_bytes for name in ("fp32", "fp16", "w8", "w4")]
    assert sizes == sorted(set(sizes), reverse=True)


def test_coremltools_reads_the_package(built: Built) -> None:
    """What edgekd wrote itself still loads in the library that defines the format, with the contract in its metadata."""
    for artifact in built.artifacts.values():
        with quiet():
            ct = nets.coremltools()
            model = ct.models.MLModel(str(artifact.path), skip_model_load=True)
        assert Contract.from_json(model.user_defined_metadata["edgekd.contract"]) == artifact.contract
        assert [each.name for each in model.get_spec().description.input] == ["input"]


def test_the_contract_travels_with_the_package(built: Built) -> None:
    """In its metadata and beside it, with names, shapes of batch 1 and layouts."""
    artifact = built.artifacts["w8"]
    assert TARGET.contract(artifact.path) == artifact.contract
    assert Contract.from_json(contract_file(artifact.path).read_text()) == artifact.contract
    specs = [(each.name, each.shape, each.dtype, each.layout) for each in (*artifact.contract.inputs, *artifact.contract.outputs)]
    assert specs == [("input", (1, 1, 8, 8), "float32", "NCHW"), ("logits", (1, 10), "float32", "NC")]


def test_compressed_weights_expand_as_coremltools_expands_them(built: Built, tmp_path: Path) -> None:
    """Every weight of w8 and w4 equals what coremltools' own decompression writes out, to the bit."""
    for precision in ("w8", "w4"):
        path = built.artifacts[precision].path
        with quiet():
            ct = nets.coremltools()
            dense = ct.optimize.coreml.decompress_weights(ct.models.MLModel(str(path), skip_model_load=True))
            dense.save(str(tmp_path / f"{precision}.mlpackage"))
        ours, theirs = (decode(read(each)) for each in (path, tmp_path / f"{precision}.mlpackage"))
        pairs = [
            (ours.constants[a.inputs["weight"][0]], theirs.constants[b.inputs["weight"][0]])
            for a, b in zip(ours.operations, theirs.operations, strict=True)
            if "weight" in a.inputs
        ]
        assert len(pairs) >= 6
        assert all(np.array_equal(a, b) for a, b in pairs)


def test_half_precision_programs_run_in_half_precision(built: Built) -> None:
    """Logits of fp16, w8 and w4 lie on the grid of fp16; those of fp32 do not."""
    for precision in TARGET.precisions:
        answers = built.answers(precision)
        on_grid = np.array_equal(answers, answers.astype(np.float16).astype(np.float32))
        assert on_grid == (precision != "fp32")


def test_operators_are_counted(built: Built) -> None:
    """Expanding operations show which weights are compressed."""
    counts = TARGET.operators(built.artifacts["w8"].path)
    assert counts["linear"] == 1
    assert counts["conv"] >= 5
    assert counts["constexpr_affine_dequantize"] >= 4
    assert "constexpr_affine_dequantize" not in TARGET.operators(built.artifacts["fp32"].path)


def test_building_twice_gives_the_same_bytes(built: Built, tmp_path: Path) -> None:
    """No date, no random identifier, no order of a hash map gets into the package."""
    for precision, artifact in built.artifacts.items():
        assert build(built.program, precision, tmp_path / precision).sha256 == artifact.sha256


SCRIPT = """
import sys, torch
from pathlib import Path
import coreml_nets as nets
from edgekd.types import Precision
from edgekd_coreml import CoreMl
torch.manual_seed(0)
program = nets.program_of(nets.inverted().eval())
print(CoreMl().quantize(program, None, Precision.parse("w4"), None, Path(sys.argv[1])).sha256)
"""


def test_another_process_builds_the_same_bytes(tmp_path: Path) -> None:
    """The order of sets of names, which Python draws anew for each process, does not matter."""
    found = set()
    for seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parent), "PATH": ""}
        (tmp_path / seed).mkdir()
        command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(tmp_path / seed)]
        found.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(found) == 1


def test_running_a_package_needs_neither_torch_nor_coremltools(built: Built) -> None:
    """Opening a package imports coremltools' protobuf classes alone."""
    code = """
import sys
from pathlib import Path
import numpy as np
from edgekd_coreml import CoreMl
logits = CoreMl().open(Path(sys.argv[1])).run(np.zeros((2, 1, 8, 8), np.float32))
print(logits.shape, "torch" in sys.modules, "coremltools" in sys.modules)
"""
    command = [sys.executable, "-c", code, str(built.artifacts["w8"].path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "(2, 10) False False"


def test_samples_of_another_shape_are_refused(built: Built) -> None:
    """The message says what was expected."""
    with pytest.raises(InputError, match=r"expected \(1, 8, 8\)"):
        TARGET.open(built.artifacts["fp32"].path).run(np.zeros((2, 1, 8, 9), np.float32))


def test_what_coremltools_refuses_is_a_failed_stage(tmp_path: Path) -> None:
    """The stage, the versions and the vendor's own error are kept."""
    with pytest.raises(StageError, match=r"channel_shuffle.*coremltools \d") as caught:
        TARGET.convert(nets.program_of(nn.Sequential(nn.ChannelShuffle(1), nn.Flatten(), nn.Linear(64, 10)).eval()), tmp_path)
    assert caught.value.stage == "convert"
    assert caught.value.__cause__ is not None


def test_what_cannot_be_built_or_measured_has_a_reason() -> None:
    """Quantized activations need a Mac; figures of a device need an Apple device and its tools."""
    here, phone = Device(name="box", os="linux", arch="x86_64"), Device(name="phone", os="ios", arch="aarch64")
    assert [TARGET.unsupported(Precision.parse(each), here) for each in TARGET.precisions] == [None] * 4
    assert "Mac" in str(TARGET.unsupported(Precision.parse("w8a8"), here))
    assert TARGET.unmeasurable(here) == "Core ML runs only on Apple devices"
    assert "Xcode" in str(TARGET.unmeasurable(phone))
