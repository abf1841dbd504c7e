"""The snippets of a model card are run as they are, against real artifacts, and held against edgekd's own preprocessing."""

import ast
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from report_document import report_document

from edgekd.data.prepare import prepare
from edgekd.report import model_card
from edgekd.report.snippets import TYPES, literal, signed, snippets, wrapped
from edgekd.session import to_native
from edgekd.types import Contract, TensorSpec

onnx = pytest.importorskip("onnx")
NAMES = ('T-shirt/"top"', "Bag `x` ``` \\n", "$price", "Ärmel\u0007")


def contract(raw: tuple[int, ...], layout: Any, dtype: str = "float32", size: tuple[int, int] | None = None) -> Contract:
    """Of a classifier of four awkwardly named classes."""
    channels, (height, width) = raw[0], size or (raw[1:] if len(raw) > 1 else (1, 1))
    shapes = {"NCHW": (1, channels, height, width), "NHWC": (1, height, width, channels), "NC": (1, channels)}
    scale, zero = (0.021, -3) if dtype == "int8" else (None, None)
    return Contract(
        classes=NAMES,
        mean=tuple(0.3 + 0.1 * c for c in range(channels)),
        std=tuple(0.25 + 0.05 * c for c in range(channels)),
        value_max=255.0,
        shape=raw,
        image_size=size,
        inputs=(TensorSpec(name="in put", shape=shapes[layout], dtype=dtype, layout=layout, scale=scale, zero_point=zero),),
        outputs=(TensorSpec(name="logits", shape=(1, 4), dtype=dtype, layout="NC", scale=scale, zero_point=zero),),
    )


CONTRACTS = {
    "grey": contract((1, 6, 5), "NCHW"),
    "resized": contract((3, 9, 7), "NCHW", size=(6, 5)),
    "enlarged": contract((3, 4, 3), "NHWC", size=(6, 5)),
    "int8": contract((3, 6, 5), "NHWC", "int8"),
    "features": contract((7,), "NC"),
}


def build(path: Path, given: Contract) -> NDArray[np.float32]:
    """An ONNX file that multiplies the flattened input by a random matrix; the matrix (inputs, 4)."""
    shape, kind = given.inputs[0].shape, onnx.TensorProto.FLOAT
    integers = given.inputs[0].dtype == "int8"
    weights = np.random.default_rng(0).normal(0, 1, (int(np.prod(shape)), 4)).astype(np.float32)
    nodes = [onnx.helper.make_node("Flatten", ["floats"], ["flat"]), onnx.helper.make_node("MatMul", ["flat", "w"], ["product"])]
    if integers:
        nodes.insert(0, onnx.helper.make_node("Cast", ["in put"], ["floats"], to=kind))
        nodes += [
            onnx.helper.make_node("Mul", ["product", "small"], ["scaled"]),
            onnx.helper.make_node("Clip", ["scaled", "low", "high"], ["clipped"]),
            onnx.helper.make_node("Cast", ["clipped"], ["logits"], to=onnx.TensorProto.INT8),
        ]
    else:
        nodes.insert(0, onnx.helper.make_node("Identity", ["in put"], ["floats"]))
        nodes.append(onnx.helper.make_node("Identity", ["product"], ["logits"]))
    outside = onnx.TensorProto.INT8 if integers else kind
    values = {"w": weights} | ({"small": np.float32(0.05), "low": np.float32(-128), "high": np.float32(127)} if integers else {})
    graph = onnx.helper.make_graph(
        nodes,
        "linear",
        [onnx.helper.make_tensor_value_info("in put", outside, shape)],
        [onnx.helper.make_tensor_value_info("logits", outside, (1, 4))],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    return weights


def code_of(target: str, artifact: str, given: Contract, language: str) -> str:
    return next(s.code for s in snippets(target, artifact, given) if s.language == language)


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("snippet", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=CONTRACTS)
def given(request: pytest.FixtureRequest) -> Contract:
    return CONTRACTS[request.param]


def samples(given: Contract, count: int = 20) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (count, *given.shape), dtype=np.uint8)


def expected_input(raw: NDArray[np.uint8], given: Contract) -> NDArray[Any]:
    """What edgekd itself would feed."""
    return to_native(prepare(raw, given), given.inputs[0])


def interleaved(sample: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.moveaxis(sample, 0, -1) if sample.ndim == 3 else sample


def test_python_snippet_feeds_what_edgekd_feeds(given: Contract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`prepare` of the snippet equals edgekd's own preprocessing; `classify` gives the class of the artifact's largest logit."""
    pytest.importorskip("onnxruntime")
    weights = build(tmp_path / "model.onnx", given)
    (tmp_path / "snippet.py").write_text(code_of("onnxruntime", "models/model.onnx", given, "python"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    snippet = load(tmp_path / "snippet.py")
    raw = samples(given)
    inputs = expected_input(raw, given)
    logits = inputs.reshape(len(raw), -1).astype(np.float64) @ weights
    spread = np.clip(logits * 0.05, -128, 127).astype(int) if given.inputs[0].dtype == "int8" else logits
    for sample, tensor, row in zip(raw, inputs, spread, strict=True):
        np.testing.assert_allclose(snippet.prepare(interleaved(sample))[0].astype(float), tensor.astype(float), atol=1e-5)
        name, probability = snippet.classify(interleaved(sample))
        assert snippet.CLASSES.index(name) == int(row.argmax())
        assert 0.25 <= probability <= 1


@pytest.mark.parametrize(("target", "module"), [("onnxruntime", "onnxruntime"), ("openvino", "openvino")])
def test_python_snippet_runs_as_it_is(target: str, module: str, tmp_path: Path) -> None:
    """The code in the card, saved beside the artifact and run, prints a class and its probability."""
    pytest.importorskip(module)
    given = CONTRACTS["resized"]
    build(tmp_path / "model.onnx", given)
    (tmp_path / "snippet.py").write_text(code_of(target, "a/model.onnx", given, "python"), encoding="utf-8")
    done = subprocess.run([sys.executable, "snippet.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    name, probability = ast.literal_eval(done.stdout)
    assert name in [n.replace("\u0007", " ") for n in NAMES]
    assert 0.25 <= probability <= 1


def test_python_snippets_of_all_targets_are_python(given: Contract) -> None:
    """Every Python snippet compiles, whatever the layout, the number type and the class names."""
    for target in ("onnxruntime", "openvino", "tflite"):
        compile(code_of(target, "x.bin", given, "python"), target, "exec")


def test_cpp_preprocessing_feeds_what_edgekd_feeds(given: Contract, tmp_path: Path) -> None:
    """The C++ `prepare`, compiled, equals edgekd's own preprocessing to float rounding (one step for integers)."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("needs g++")
    code = code_of("openvino", "model.xml", given, "cpp").replace("#include <openvino/openvino.hpp>", "")
    raw = samples(given, 1)
    flat = interleaved(raw[0]).reshape(-1)
    size = f", {given.shape[1]}, {given.shape[2]}" if given.image_size else ""
    main = f"int main() {{ for (auto v : prepare({{{', '.join(map(str, flat))}}}{size})) std::cout << double(v) << ' '; }}"
    (tmp_path / "a.cpp").write_text(code.split("int main()")[0] + main, encoding="utf-8")
    subprocess.run(
        [compiler, "-std=c++17", "-Wall", "-Wno-unused-function", "a.cpp", "-o", "a"], cwd=tmp_path, check=True, timeout=120
    )
    out = subprocess.run([tmp_path / "a"], capture_output=True, text=True, check=True, timeout=60).stdout
    expected = expected_input(raw, given)[0].reshape(-1).astype(float)
    np.testing.assert_allclose([float(v) for v in out.split()], expected, atol=1 if given.inputs[0].dtype == "int8" else 1e-4)


def test_cpp_snippet_runs_as_it_is(tmp_path: Path) -> None:
    """The OpenVINO C++ code of the card, compiled and run beside the artifact, prints the class that the Python code prints."""
    openvino, compiler = pytest.importorskip("openvino"), shutil.which("g++")
    root = Path(openvino.__file__).parent
    library = next((root / "libs").glob("libopenvino.so*"), None)
    if compiler is None or library is None:
        pytest.skip("needs g++ and OpenVINO's headers")
    given = CONTRACTS["resized"]
    build(tmp_path / "model.onnx", given)
    (tmp_path / "a.cpp").write_text(code_of("openvino", "model.onnx", given, "cpp"), encoding="utf-8")
    (tmp_path / "a.py").write_text(code_of("openvino", "model.onnx", given, "python"), encoding="utf-8")
    command = [compiler, "-std=c++17", f"-I{root / 'include'}", "a.cpp", str(library), f"-Wl,-rpath,{root / 'libs'}", "-o", "a"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=300)
    cpp = subprocess.run(["./a"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60).stdout
    python = subprocess.run([sys.executable, "a.py"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60).stdout
    assert ast.literal_eval(python)[0] == cpp.strip()


def test_phone_snippets_carry_the_contract() -> None:
    """Kotlin has the integer scales and escapes `$`; Swift has the input's name and shape."""
    kotlin = code_of("tflite", "m.tflite", CONTRACTS["int8"], "kotlin")
    assert "0.021f" in kotlin
    assert "- 3" in kotlin
    assert '"\\$price"' in kotlin
    swift = code_of("coreml", "m.mlpackage", CONTRACTS["grey"], "swift")
    assert '["in put": tensor]' in swift
    assert "shape: [1, 1, 6, 5]" in swift


@pytest.mark.parametrize(("target", "languages"), [("tflite", ["kotlin", "python"]), ("coreml", ["swift"]), ("hailo", [])])
def test_languages_follow_the_target(target: str, languages: list[str]) -> None:
    """Each target gets the languages of its platform; one that edgekd does not ship gets none."""
    assert languages == [s.language for s in snippets(target, "m", CONTRACTS["grey"])]


def test_no_snippet_for_a_type_the_language_has_not() -> None:
    """An artifact whose numbers a language cannot hold gets no wrong snippet for it."""
    half = contract((1, 6, 5), "NCHW", "float16")
    assert "float16" not in TYPES["cpp"]
    assert [s.language for s in snippets("onnxruntime", "m.onnx", half)] == ["python"]


def test_fence_is_longer_than_any_in_the_code(given: Contract) -> None:
    """A class name of backticks does not end the code block of the card."""
    for snippet in snippets("onnxruntime", "m.onnx", given):
        assert snippet.fenced.startswith("````")


def test_card_says_how_to_feed_and_read() -> None:
    """The card has the numbers of the contract, the provenance of the figures and the hash."""
    report = report_document()
    entry = report["selected"][1]
    card = model_card(entry, CONTRACTS["int8"], report)
    for part in ("(value[1] / 255.0 - 0.4) / 0.3", "(integer + 3)", entry["sha256"], "(modelled)", "## Kotlin"):
        assert part in card


def test_card_without_its_trial_or_losses() -> None:
    """A report of another tool, without trials and losses, still gives a card."""
    report = report_document() | {"trials": [], "project": {}}
    assert "fidelity" in model_card(report["selected"][0], CONTRACTS["grey"], report).lower()


def test_literals() -> None:
    """Strings survive a round trip, control characters become spaces; signs stand apart; long lists wrap."""
    assert json.loads(literal("python", NAMES[1])) == NAMES[1]
    assert literal("python", "a\u0007b\nc") == '"a b c"'
    assert (signed(3), signed(-3), signed(0)) == ("+ 3", "- 3", "+ 0")
    assert wrapped(["1234", "5678"], indent=2, width=5) == "1234,\n  5678"
