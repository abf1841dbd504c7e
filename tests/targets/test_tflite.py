"""TFLite artifacts: what they answer, what is in the file, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.device import Device
from edgekd.errors import StageError
from edgekd.session import load_runner
from edgekd.target import FloatArray, Program
from edgekd.types import Artifact, Contract, Precision
from edgekd_tflite import Tflite
from edgekd_tflite.session import RUNNER

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

pytest.importorskip("litert_torch")
pytest.importorskip("ai_edge_quantizer")
datasets = pytest.importorskip("sklearn.datasets")
from ai_edge_litert.schema_py_generated import Model, TensorType  # noqa: E402

TARGET = Tflite()
FAMILIES = {
    "mbconv": {"width": 12, "growth": 1.5, "depth": 2, "kernel": 3, "expansion": 3, "stem_stride": 1, "skip": True},
    "resnet": {"width": 8, "growth": 2.0, "depth": 1, "kernel": 3, "bottleneck": 0.0, "skip": True},
}
CONTRACT = Contract(classes=tuple("0123456789"), mean=(0.3,), std=(0.38,), value_max=16.0, shape=(1, 8, 8))
LEAST_AGREEMENT = {"fp16": 0.995, "w8a8-dynamic": 0.985, "w8a8": 0.985}


class Trained:
    """A student trained on 797 digits, the other 1,000, and its artifact at every precision."""

    def __init__(self, family: str, folder: Path) -> None:
        from edgekd.students import find_family
        from edgekd.students.program import build_student, make_program
        from edgekd.types import Candidate

        pixels, labels = datasets.load_digits(return_X_y=True)
        order = np.random.default_rng(0).permutation(len(labels))
        inputs = ((pixels.reshape(-1, 1, 8, 8)[order] / 16 - 0.3) / 0.38).astype(np.float32)
        self.calibration, self.samples = inputs[:200], inputs[797:]
        candidate = Candidate.of(family, FAMILIES[family])
        module = build_student(find_family(family), candidate, CONTRACT, seed=0)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # two threads on a busy machine wait for each other: 34 s instead of 0.6 s
        train(module, torch.from_numpy(inputs[:797]), torch.from_numpy(labels[order][:797]))
        torch.set_num_threads(threads)
        self.program = make_program(module, candidate, CONTRACT)
        with torch.no_grad():
            self.logits = module(torch.from_numpy(self.samples)).numpy()
        self.artifacts = {name: self.build(name, folder) for name in ("fp32",)}
        self.artifacts |= {name: self.build(name, folder) for name in LEAST_AGREEMENT}

    def build(self, precision: str, folder: Path) -> Artifact:
        made = folder / precision
        made.mkdir(parents=True)
        if precision == "fp32":
            return TARGET.convert(self.program, made)
        return TARGET.quantize(self.program, self.artifacts["fp32"], Precision.parse(precision), self.calibration, made)

    def answers(self, precision: str) -> FloatArray:
        return TARGET.open(self.artifacts[precision].path).run(self.samples)


def train(module: Any, inputs: Any, labels: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW(module.parameters(), 1e-2)
    module.train()
    for _ in range(12):
        for rows in torch.randperm(len(labels), generator=generator).split(64):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(module(inputs[rows]), labels[rows]).backward()
            optimiser.step()
    module.eval()


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(request.param, tmp_path_factory.mktemp(request.param))


def tensors(artifact: Artifact) -> list[tuple[Any, int, int]]:
    """(tensor, bytes of its constant data, its position modulo 16) of all tensors, by the vendor's own reader."""
    model = Model.GetRootAs(artifact.path.read_bytes(), 0)
    graph, found = model.Subgraphs(0), []
    for tensor in (graph.Tensors(i) for i in range(graph.TensorsLength())):
        buffer = model.Buffers(tensor.Buffer())
        start = buffer._tab.Vector(buffer._tab.Offset(4)) if buffer.DataLength() else 0
        found.append((tensor, buffer.DataLength(), start % 16))
    return found


def test_fp32_is_the_student(trained: Trained) -> None:
    """On 1,000 digits no logit is off by more than 1e-4 of the largest."""
    assert np.abs(trained.answers("fp32") - trained.logits).max() <= 1e-4 * np.abs(trained.logits).max()


@pytest.mark.parametrize("precision", sorted(LEAST_AGREEMENT))
def test_quantized_artifacts_decide_as_the_student(trained: Trained, precision: str) -> None:
    """On 1,000 digits the top-1 is the student's, and the logits are not clipped to a part of their range."""
    answers = trained.answers(precision)
    assert (answers.argmax(1) == trained.logits.argmax(1)).mean() >= LEAST_AGREEMENT[precision]
    assert np.abs(answers - trained.logits).max() <= 0.15 * np.abs(trained.logits).max()


def test_no_needless_operators(trained: Trained) -> None:
    """Nothing is transposed or reshaped; the one PAD is that of the one 3x3 kernel of stride 2."""
    found = TARGET.operators(trained.artifacts["fp32"].path)
    assert set(found) <= {"ADD", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MEAN", "PAD"}
    assert (found["PAD"], found["MEAN"], found["FULLY_CONNECTED"]) == (1, 1, 1)


def test_static_input_is_int8_and_logits_are_float(trained: Trained) -> None:
    """w8a8 takes int8, channel-last, with the scale that the contract tells, and gives float logits without ties."""
    artifact = trained.artifacts["w8a8"]
    (taken,), (given,) = artifact.contract.inputs, artifact.contract.outputs
    assert (taken.dtype, taken.layout, taken.shape, given.dtype) == ("int8", "NHWC", (1, 8, 8, 1), "float32")
    assert taken.scale is not None
    assert 1 / 255 < taken.scale < 1 / 20
    ordered = np.sort(trained.answers("w8a8"), axis=1)
    assert (ordered[:, -1] > ordered[:, -2]).all()


def test_the_runner_takes_and_gives_native_arrays(trained: Trained) -> None:
    """The runner's model runs the integers that it declares and returns float32 logits of a batch of 1."""
    model = load_runner(RUNNER).load(str(trained.artifacts["w8a8"].path), 1)
    (spec,) = model.inputs
    (output,) = model.run([np.zeros(spec["shape"], spec["dtype"])])
    assert (spec["dtype"], output.dtype, output.shape) == ("int8", np.float32, (1, 10))


@pytest.mark.parametrize("precision", ["w8a8-dynamic", "w8a8"])
def test_weights_of_any_size_are_compressed(trained: Trained, precision: str) -> None:
    """All convolutions have int8 weights with a scale a channel; depthwise ones with dynamic ranges have fp16 weights."""
    weights = [tensor for tensor, size, _ in tensors(trained.artifacts[precision]) if size and tensor.ShapeLength() == 4]
    operators = TARGET.operators(trained.artifacts["fp32"].path)
    halves = operators["DEPTHWISE_CONV_2D"] if precision == "w8a8-dynamic" else 0
    int8 = [tensor.Quantization() for tensor in weights if tensor.Type() == TensorType.INT8]
    channels = [
        tensor.Shape(tensor.Quantization().QuantizedDimension()) for tensor in weights if tensor.Type() == TensorType.INT8
    ]
    assert [tensor.Type() for tensor in weights].count(TensorType.FLOAT16) == halves
    assert len(int8) == operators["DEPTHWISE_CONV_2D"] + operators["CONV_2D"] - halves == len(weights) - halves
    assert [quantization.ScaleLength() for quantization in int8] == channels
    assert min(channels) > 1


@pytest.mark.parametrize("precision", ["w8a8-dynamic", "w8a8"])
def test_the_classifier_has_one_scale(trained: Trained, precision: str) -> None:
    """tflite_runtime 2.14 computes zeros from a dynamic FULLY_CONNECTED whose weights have a scale a channel."""
    matrices = [tensor for tensor, size, _ in tensors(trained.artifacts[precision]) if size and tensor.ShapeLength() == 2]
    found = [(t.Type(), t.Quantization().ScaleLength()) for t in matrices if t.Type() != TensorType.INT32]  # paddings
    assert found == [(TensorType.INT8, 1)]


def test_files_are_lean_and_aligned(trained: Trained) -> None:
    """Names take a few bytes a tensor, and constant data starts at multiples of 16 as the schema asks."""
    for artifact in trained.artifacts.values():
        found = tensors(artifact)
        assert sum(len(tensor.Name()) for tensor, _, _ in found) < 6 * len(found)
        assert {start for _, size, start in found if size} == {0}


def test_builds_are_reproducible(trained: Trained, tmp_path: Path) -> None:
    """The same student gives the same bytes at every precision."""
    again = {name: trained.build(name, tmp_path).sha256 for name in TARGET.precisions}
    assert again == {name: artifact.sha256 for name, artifact in trained.artifacts.items()}


def test_flat_features_are_taken_as_they_are(tmp_path: Path) -> None:
    """A student of feature vectors has no layout to change, at any precision."""
    module = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3)).eval()
    contract = replace(CONTRACT, classes=("a", "b", "c"), shape=(6,))
    program = Program(module=module, input_shape=(6,), contract=contract, parent="p")
    inputs = np.random.default_rng(0).standard_normal((50, 6)).astype(np.float32)
    fp32 = TARGET.convert(program, tmp_path)
    (tmp_path / "w8a8").mkdir()
    w8a8 = TARGET.quantize(program, fp32, Precision.parse("w8a8"), inputs, tmp_path / "w8a8")
    with torch.no_grad():
        expected = module(torch.from_numpy(inputs)).numpy()
    assert fp32.contract.inputs[0].layout == "NC"
    assert np.abs(TARGET.open(fp32.path).run(inputs) - expected).max() < 1e-5
    assert np.abs(TARGET.open(w8a8.path).run(inputs) - expected).max() < 0.1


class Branching(nn.Module):
    """A student whose graph depends on its data, which no exporter can follow."""

    def forward(self, x: Any) -> Any:
        return x.mean((2, 3)) if float(x.sum()) > 0 else x.amax((2, 3))


def test_a_student_that_cannot_be_converted_fails_its_stage(tmp_path: Path) -> None:
    """The vendor's error leaves as a StageError of two lines at most, with versions and hint, its cause chained."""
    program = Program(module=Branching().eval(), input_shape=(1, 8, 8), contract=CONTRACT, parent="p")
    with pytest.raises(StageError) as caught:
        TARGET.convert(program, tmp_path)
    assert (caught.value.stage, bool(caught.value.hint)) == ("convert", True)
    assert "litert-torch 0." in str(caught.value)
    assert str(caught.value).count("\n") == 0
    assert caught.value.__cause__ is not None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", ["none", "nan", "precision", "file"])
def test_what_cannot_be_quantized_fails_its_stage(trained: Trained, tmp_path: Path, fault: str) -> None:
    """No calibration, one that is not finite, an unknown precision and a broken file are StageErrors of quantize."""
    calibration = {"none": trained.calibration[:0], "nan": trained.calibration * np.float32("nan")}.get(
        fault, trained.calibration
    )
    artifact = trained.artifacts["fp32"]
    if fault == "file":
        artifact = replace(artifact, path=tmp_path / "broken.tflite")
        artifact.path.write_bytes(b"\x00" * 100)
    precision = Precision.parse("w4" if fault == "precision" else "w8a8")
    with pytest.raises(StageError) as caught:
        TARGET.quantize(trained.program, artifact, precision, calibration, tmp_path)
    assert caught.value.stage == "quantize"


def test_what_is_unsupported_has_a_reason() -> None:
    """A precision that is not built names those that are; an iPhone is built for but cannot be measured."""
    phone = Device(name="phone", os="ios", arch="aarch64")
    board = Device(name="board", os="linux", arch="aarch64")
    assert "w8a8" in (TARGET.unsupported(Precision.parse("w4"), board) or "")
    assert [TARGET.unsupported(Precision.parse(name), phone) for name in TARGET.precisions] == [None] * 4
    assert "ios" in (TARGET.unmeasurable(phone) or "")
    assert TARGET.unmeasurable(board) is None
