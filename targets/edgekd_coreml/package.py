"""An `.mlpackage` on disk: a manifest, a protobuf that holds the program, a file of weights. Nothing in it is trusted."""

import importlib.util
import json
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

from edgekd.artifact import files_of
from edgekd.errors import InputError
from edgekd.plugins import need

CONTRACT_KEY = "edgekd.contract"
AUTHOR = "com.apple.CoreML"
SPEC, WEIGHTS = f"{AUTHOR}/model.mlmodel", f"{AUTHOR}/weights"
MAX_MANIFEST_BYTES = 1 << 20
_PROTO = "edgekd_coreml._proto"


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package that was read: `spec` is a CoreML.Specification.Model message, `folder` the one that holds its file."""

    path: Path
    spec: Any
    folder: Path

    def blob_file(self, name: str) -> bytes:
        """Content of a weight file; the program calls the folder of the spec `@model_path`. Raises InputError."""
        prefix, _, inner = name.partition("/")
        if prefix != "@model_path":
            raise InputError(f"{self.path}: weight file '{name}' does not start with @model_path/")
        return _read(_inside(self.folder, inner, self.path), self.path)


def read(path: Path) -> Package:
    """The package at `path`.

    Raises InputError where it is not a folder, has links, names files outside itself, or does not parse.
    """
    if not path.is_dir():
        raise InputError(f"{path}: is not an .mlpackage folder")
    files_of(path)
    file = _inside(path / "Data", _root_item(path), path)
    spec = _proto().Model_pb2.Model()
    try:
        spec.ParseFromString(_read(file, path))
    except Exception as error:
        # protobuf's DecodeError, or RecursionError, ValueError from its pure Python parser
        raise InputError(f"{path}: {file.name} cannot be parsed: {error}") from error
    if spec.WhichOneof("Type") != "mlProgram":
        raise InputError(f"{path}: holds '{spec.WhichOneof('Type')}', expected an ML program")
    return Package(path=path, spec=spec, folder=file.parent)


def write(path: Path, spec: Any, weights: bytes) -> None:
    """Write a package whose bytes follow from `spec` and `weights`: fixed identifiers, sorted protobuf maps.

    coremltools' own writer draws random identifiers. Raises OSError.
    """
    (path / "Data" / WEIGHTS).mkdir(parents=True)
    (path / "Data" / SPEC).write_bytes(spec.SerializeToString(deterministic=True))
    (path / "Data" / WEIGHTS / "weight.bin").write_bytes(weights)
    items = {
        str(uuid.uuid5(uuid.NAMESPACE_URL, f"edgekd:{item}")): {
            "author": AUTHOR,
            "description": text,
            "name": PurePosixPath(item).name,
            "path": item,
        }
        for item, text in ((SPEC, "CoreML Model Specification"), (WEIGHTS, "CoreML Model Weights"))
    }
    manifest = {"fileFormatVersion": "1.0.0", "itemInfoEntries": items, "rootModelIdentifier": next(iter(items))}
    (path / "Manifest.json").write_text(json.dumps(manifest, indent=4, sort_keys=True))


def _root_item(path: Path) -> str:
    """Path of the spec, relative to the package's Data folder, as the manifest says it."""
    try:
        text = _read(path / "Manifest.json", path, MAX_MANIFEST_BYTES)
        manifest = json.loads(text)
        item = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: Manifest.json names no root model ({type(error).__name__}: {error})") from error
    if not isinstance(item, str):
        raise InputError(f"{path}: Manifest.json: path of the root model is not a text")
    return item


def _inside(folder: Path, name: str, path: Path) -> Path:
    """`folder/name`, refused where it leaves the folder. Links were refused before."""
    parts = PurePosixPath(name).parts
    if not parts or PurePosixPath(name).is_absolute() or ".." in parts or "\\" in name or "\0" in name:
        raise InputError(f"{path}: '{name}' is not a path inside the package")
    return folder.joinpath(*parts)


def _read(file: Path, path: Path, limit: int | None = None) -> bytes:
    try:
        if limit is not None and file.stat().st_size > limit:
            raise InputError(f"{path}: {file.name} is larger than {limit} bytes")
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {file.name} cannot be read: {error.strerror}") from error


def _proto() -> ModuleType:
    """coremltools' protobuf classes without coremltools: 20 ms instead of seconds. Raises MissingExtraError.

    The folder is loaded as a package of its own; protobuf hands out the same classes whichever comes first.
    """
    if _PROTO in sys.modules:
        return sys.modules[_PROTO]
    found = importlib.util.find_spec("coremltools")
    if found is None or not found.submodule_search_locations:
        return need("coremltools", "coreml", "target 'coreml'")
    folder = Path(found.submodule_search_locations[0]) / "proto"
    spec = importlib.util.spec_from_file_location(_PROTO, folder / "__init__.py", submodule_search_locations=[str(folder)])
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {folder}")
    sys.modules[_PROTO] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[_PROTO]
        raise
    return module
