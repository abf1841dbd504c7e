"""TFLite files from anywhere: the contract is read without the runtime, and nothing that is broken gets through or crashes."""

import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekd.errors import InputError
from edgekd.target import Program
from edgekd.types import Artifact, Contract
from edgekd_tflite import Tflite, session

torch = pytest.importorskip("torch")
pytest.importorskip("litert_torch")
from ai_edge_litert.tools.flatbuffer_utils import read_model_from_bytearray  # noqa: E402

from edgekd_tflite import seal  # noqa: E402

TARGET = Tflite()
CONTRACT = Contract(classes=("a", "b", "c"), mean=(0.5,), std=(0.5,), value_max=255.0, shape=(1, 8, 8))
MANY = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A small untrained student."""
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(1, 8, 3, 2, 1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    module = torch.nn.Sequential(*layers, torch.nn.Linear(8, 3)).eval()
    program = Program(module=module, input_shape=(1, 8, 8), contract=CONTRACT, parent="p")
    return TARGET.convert(program, tmp_path_factory.mktemp("artifact"))


def survives(path: Path) -> None:
    """Reading gives an answer or an InputError; anything else fails the test."""
    for read in (TARGET.contract, TARGET.operators):
        with suppress(InputError):
            read(path)


def test_the_contract_is_read_without_the_runtime(artifact: Artifact) -> None:
    """It is in the file's own metadata, completed, and reading it imports neither runtime nor converter."""
    code = (
        "import sys, pathlib; from edgekd_tflite import Tflite; print(Tflite().contract(pathlib.Path(sys.argv[1])).to_json());"
        "assert not {'ai_edge_litert', 'flatbuffers', 'torch'} & set(sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code, str(artifact.path)], capture_output=True, text=True, check=True).stdout
    assert Contract.from_json(said) == artifact.contract
    assert replace(artifact.contract, inputs=(), outputs=()) == CONTRACT
    assert artifact.contract.inputs[0].name == "input"


@MANY
@given(st.data())
def test_cut_files_are_survived(artifact: Artifact, tmp_path: Path, data: st.DataObject) -> None:
    """A file cut at any byte."""
    content = artifact.path.read_bytes()
    path = tmp_path / "cut.tflite"
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    survives(path)


@MANY
@given(st.binary(max_size=400))
def test_garbage_is_survived(tmp_path: Path, content: bytes) -> None:
    """Any bytes, and any bytes after a header that looks right."""
    for start in (b"", b"\x08\x00\x00\x00TFL3"):
        path = tmp_path / "garbage.tflite"
        path.write_bytes(start + content)
        with pytest.raises(InputError):
            TARGET.contract(path)
        survives(path)


@MANY
@given(st.integers(0, 2**32), st.integers(1, 200))
def test_flipped_bytes_are_survived(artifact: Artifact, tmp_path: Path, seed: int, count: int) -> None:
    """Up to 200 bytes changed anywhere in a real file."""
    path = tmp_path / "flipped.tflite"
    path.write_bytes(flipped(artifact.path.read_bytes(), seed, count))
    survives(path)


def flipped(content: bytes, seed: int, count: int) -> bytes:
    rng = np.random.default_rng(seed)
    values = np.frombuffer(content, np.uint8).copy()
    values[rng.integers(0, len(values), count)] ^= rng.integers(1, 256, count).astype(np.uint8)
    return values.tobytes()


@pytest.mark.parametrize("seed", range(6))
def test_damaged_files_are_opened_or_refused(artifact: Artifact, tmp_path: Path, seed: int) -> None:
    """The runtime itself never meets a damaged file in this process first."""
    path = tmp_path / "model.tflite"
    path.write_bytes(flipped(artifact.path.read_bytes(), seed, 4))
    try:
        answers = TARGET.open(path).run(np.zeros((1, 1, 8, 8), np.float32))
    except InputError:
        return
    assert answers.shape == (1, 3)


def test_a_model_without_a_contract_is_refused(artifact: Artifact, tmp_path: Path) -> None:
    """A TFLite file of someone else's says that edgekd did not build it."""
    path = tmp_path / "foreign.tflite"
    path.write_bytes(artifact.path.read_bytes().replace(b"edgekd.contract", b"someone.schema_"))
    with pytest.raises(InputError, match=r"foreign\.tflite: has no metadata 'edgekd\.contract'"):
        TARGET.open(path)
    assert TARGET.operators(path) == TARGET.operators(artifact.path)


@pytest.mark.parametrize(("true", "lie"), [(b'"NHWC"', b'"NCHW"'), (b'"name": "input"', b'"name": "other"')])
def test_a_contract_that_lies_is_refused(artifact: Artifact, tmp_path: Path, true: bytes, lie: bytes) -> None:
    """The inputs that a contract tells must be those of the model around it."""
    path = tmp_path / "model.tflite"
    path.write_bytes(artifact.path.read_bytes().replace(true, lie))
    with pytest.raises(InputError, match="describes other inputs"):
        TARGET.contract(path)


def test_a_contract_nested_without_end_is_refused(artifact: Artifact, tmp_path: Path) -> None:
    """JSON so deep that its reader runs out of stack is an unreadable contract."""
    path = tmp_path / "model.tflite"
    tree = read_model_from_bytearray(artifact.path.read_bytes())
    seal._set_entry(tree, b"[" * 100_000)
    path.write_bytes(seal._pack(tree))
    with pytest.raises(InputError, match="contract cannot be read"):
        TARGET.contract(path)


@pytest.mark.parametrize(("trial", "said"), [("import os; os.abort()", "crashes on it"), ("while True: pass", "hangs on it")])
def test_a_crash_or_hang_of_the_runtime_is_an_input_error(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch, trial: str, said: str
) -> None:
    """Where the process that tries a file dies or does not return, this one says so."""
    monkeypatch.setattr(session, "TRIAL", trial)
    monkeypatch.setattr(session, "TRIAL_SECONDS", 1)
    with pytest.raises(InputError, match=said):
        TARGET.open(artifact.path)
