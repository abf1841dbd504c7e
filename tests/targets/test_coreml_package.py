"""Broken and hostile `.mlpackage` folders: each is refused with an InputError, none reaches outside itself."""

import json
import shutil
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
if find_spec("coremltools") is None:
    pytest.skip("needs coremltools", allow_module_level=True)

import coreml_nets as nets  # noqa: E402

from edgekd.errors import EdgekdError, InputError, StageError  # noqa: E402
from edgekd.types import Precision  # noqa: E402
from edgekd_coreml import CoreMl  # noqa: E402
from edgekd_coreml.package import read  # noqa: E402

TARGET = CoreMl()
SPEC, WEIGHTS = "Data/com.apple.CoreML/model.mlmodel", "Data/com.apple.CoreML/weights/weight.bin"
ONE = np.zeros((1, 1, 8, 8), np.float32)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A w8 package that is as it should be."""
    torch.manual_seed(0)
    program = nets.program_of(nets.inverted().eval())
    folder = tmp_path_factory.mktemp("sound")
    return TARGET.quantize(program, None, Precision.parse("w8"), None, folder).path  # type: ignore[arg-type]


@pytest.fixture
def package(sound: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(sound, tmp_path / "model.mlpackage"))


def edit_manifest(package: Path, change: Callable[[Any, Any], None]) -> None:
    """`change(manifest, entry of the root model)`."""
    file = package / "Manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest, manifest["itemInfoEntries"][manifest["rootModelIdentifier"]])
    file.write_text(json.dumps(manifest))


def edit_spec(package: Path, change: Callable[[Any], None]) -> None:
    """`change(operations of the program)`."""
    spec = read(package).spec
    function = spec.mlProgram.functions["main"]
    change(function.block_specializations[function.opset].operations)
    (package / SPEC).write_bytes(spec.SerializeToString())


def first(operations: Any, kind: str) -> Any:
    return next(each for each in operations if each.type == kind)


def test_a_missing_package_is_refused(tmp_path: Path) -> None:
    """So is a file in place of the folder."""
    (tmp_path / "file").write_bytes(b"x")
    for name in ("absent", "file"):
        with pytest.raises(InputError, match="folder"):
            TARGET.open(tmp_path / name)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"itemInfoEntries": {}}', "[" * 100_000, "\udcff"])
def test_a_broken_manifest_is_refused(package: Path, text: str) -> None:
    """Whatever is wrong with it."""
    (package / "Manifest.json").write_text(text, errors="surrogateescape")
    with pytest.raises(InputError, match=r"Manifest\.json"):
        TARGET.open(package)


@pytest.mark.parametrize("item", ["../../outside", "/etc/hostname", "a/../../../outside", "..\\outside", "", "a\0b", 7, None])
def test_a_manifest_that_points_elsewhere_is_refused(package: Path, item: Any) -> None:
    """Even where there is a model at that place."""
    shutil.copy(package / SPEC, package.parent / "outside")
    edit_manifest(package, lambda _, entry: entry.update(path=item))
    with pytest.raises(InputError, match=r"inside the package|not a text"):
        TARGET.open(package)


@pytest.mark.parametrize("name", [SPEC, WEIGHTS, "Manifest.json", "Data/com.apple.CoreML/weights", "Data"])
def test_links_are_refused(package: Path, name: str) -> None:
    """A package whose parts lie elsewhere is not a package."""
    part, elsewhere = package / name, package.parent / "elsewhere"
    part.rename(elsewhere)
    part.symlink_to(elsewhere)
    with pytest.raises(InputError, match="links"):
        TARGET.open(package)


@pytest.mark.parametrize("name", [SPEC, WEIGHTS, "Manifest.json"])
def test_a_missing_part_is_refused(package: Path, name: str) -> None:
    """The message names it."""
    (package / name).unlink()
    with pytest.raises(InputError, match=Path(name).name):
        TARGET.open(package)


def test_a_truncated_program_is_refused(package: Path) -> None:
    """Wherever it was cut."""
    content = (package / SPEC).read_bytes()
    for size in [*range(0, len(content), 997), len(content) - 1]:
        (package / SPEC).write_bytes(content[:size])
        with pytest.raises(InputError):
            TARGET.open(package).run(ONE)


def test_truncated_weights_are_refused(package: Path) -> None:
    """The file ends with a tensor, so each missing byte is one that is needed."""
    content = (package / WEIGHTS).read_bytes().rstrip(b"\0")
    for size in (0, 63, 64, 100, len(content) // 2, len(content) - 1):
        (package / WEIGHTS).write_bytes(content[:size])
        with pytest.raises(InputError, match="broken program: weight"):
            TARGET.open(package)


def set_offset(offset: int) -> Callable[[Any], None]:
    def change(operations: Any) -> None:
        first(operations, "constexpr_affine_dequantize").attributes["quantized_data"].blobFileValue.offset = offset

    return change


@pytest.mark.parametrize("offset", [0, 1, 1 << 20, (1 << 64) - 1])
def test_a_weight_offset_out_of_range_is_refused(package: Path, offset: int) -> None:
    """And one that points at something else than a weight record."""
    edit_spec(package, set_offset(offset))
    with pytest.raises(InputError, match="weight record"):
        TARGET.open(package)


@pytest.mark.parametrize("position", [4, 8, 16])
def test_a_forged_weight_record_is_refused(package: Path, position: int) -> None:
    """Type, size and start of the data of the first record are checked."""
    content = bytearray((package / WEIGHTS).read_bytes())
    content[64 + position : 64 + position + 4] = (0x7FFFFFFF).to_bytes(4, "little")
    (package / WEIGHTS).write_bytes(content)
    with pytest.raises(InputError, match="weight"):
        TARGET.open(package)


@pytest.mark.parametrize(
    "name", ["@model_path/../../../outside", "/etc/hostname", "@model_path//etc/hostname", "weights/weight.bin"]
)
def test_weights_from_outside_the_package_are_refused(package: Path, name: str) -> None:
    """The program may name only files below its own folder."""
    shutil.copy(package / WEIGHTS, package.parent / "outside")

    def change(operations: Any) -> None:
        first(operations, "constexpr_affine_dequantize").attributes["scale"].blobFileValue.fileName = name

    edit_spec(package, change)
    with pytest.raises(InputError, match=r"inside the package|@model_path"):
        TARGET.open(package)


def test_an_unknown_operation_fails_verification_by_its_name(package: Path) -> None:
    """The package is sound, but the executor cannot vouch for it."""
    edit_spec(package, lambda operations: setattr(first(operations, "relu"), "type", "mystery"))
    with pytest.raises(StageError, match="mystery") as caught:
        TARGET.open(package)
    assert caught.value.stage == "verify"


def test_an_operation_that_does_not_give_its_declared_shape_is_refused(package: Path) -> None:
    """The message names the operation."""

    def change(operations: Any) -> None:
        strides = first(operations, "conv").inputs["strides"].arguments[0].name
        const = next(each for each in operations if each.outputs[0].name == strides)
        const.attributes["val"].immediateValue.tensor.ints.values[:] = [3, 3]

    edit_spec(package, change)
    with pytest.raises(InputError, match=r"'conv'.*declared"):
        TARGET.open(package).run(ONE)


def test_a_padding_beyond_all_measure_is_refused_before_it_is_made(package: Path) -> None:
    """2³⁰ elements on each side would be more memory than there is."""

    def change(operations: Any) -> None:
        pad = first(operations, "conv").inputs["pad"].arguments[0].name
        const = next(each for each in operations if each.outputs[0].name == pad)
        const.attributes["val"].immediateValue.tensor.ints.values[:] = [1 << 30] * 4

    edit_spec(package, change)
    with pytest.raises(InputError, match="out of range"):
        TARGET.open(package).run(ONE)


def test_a_package_without_a_contract_is_refused_by_name(package: Path) -> None:
    """Someone else's package can be run, but edgekd does not know how to feed it."""
    spec = read(package).spec
    del spec.description.metadata.userDefined["edgekd.contract"]
    (package / SPEC).write_bytes(spec.SerializeToString())
    with pytest.raises(InputError, match=r"no contract"):
        TARGET.contract(package)
    assert TARGET.open(package).run(ONE).shape == (1, 10)


def test_a_neural_network_of_the_old_kind_is_refused(package: Path) -> None:
    """Only ML programs are read."""
    spec = read(package).spec
    spec.neuralNetwork.SetInParent()
    (package / SPEC).write_bytes(spec.SerializeToString())
    with pytest.raises(InputError, match="ML program"):
        TARGET.open(package)


@pytest.mark.parametrize("name", [SPEC, WEIGHTS])
def test_random_damage_never_gives_anything_but_an_answer_or_an_error_of_edgekd(package: Path, name: str) -> None:
    """100 packages, one to eight bytes changed in each."""
    content, rng = (package / name).read_bytes(), np.random.default_rng(0)
    outcomes = set()
    for _ in range(100):
        damaged = np.frombuffer(content, np.uint8).copy()
        damaged[rng.integers(len(damaged), size=rng.integers(1, 9))] = rng.integers(256)
        (package / name).write_bytes(damaged.tobytes())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                outcomes.add(TARGET.open(package).run(ONE).shape)
            except EdgekdError as error:
                outcomes.add(type(error).__name__)
    assert {(1, 10), "InputError"} <= outcomes
