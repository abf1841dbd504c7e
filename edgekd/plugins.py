"""Find a member by its name, import what it needs, and say plainly what is missing or what a vendor's code refused."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from types import ModuleType
from typing import Any

from edgekd.errors import EdgekdError, InputError, MissingExtraError, StageError, did_you_mean, first_line
from edgekd.quiet import quiet
from edgekd.target import Target
from edgekd.types import digest

GROUP = "edgekd.targets"
NULL = "null"
OPENVINO_TELEMETRY = "openvino_telemetry"


def target_names() -> tuple[str, ...]:
    """Names of all targets that are installed here, the null target last."""
    return (*sorted({point.name for point in entry_points(group=GROUP)} - {NULL}), NULL)


def find_target(name: str) -> Target:
    """The target registered as `name`, constructed; its runtime is not imported and need not be installed.

    Raises:
        InputError: if there is no such target, or its class cannot be loaded.
    """
    if name == NULL:
        from edgekd.null_target import NullTarget

        return NullTarget()
    found = list(entry_points(group=GROUP, name=name))
    if not found:
        raise InputError(f"target '{name}' is not known" + did_you_mean(name, target_names()))
    try:
        target: Target = found[0].load()()
    except (ImportError, AttributeError, TypeError) as error:
        raise InputError(f"target '{name}' ({found[0].value}) cannot be loaded: {first_line(error)}") from error
    return target


def need(module: str, extra: str, what: str) -> Any:
    """Import `module`, which comes with `extra`, on behalf of `what` ("target 'openvino'").

    Raises:
        MissingExtraError: with the exact pip command, if the module is missing or does not import.
    """
    try:
        with _no_telemetry():
            return importlib.import_module(module)
    except (ImportError, OSError) as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name in (module, module.split(".")[0])
        why = "is not installed" if absent else f"cannot be imported ({first_line(error)})"
        raise MissingExtraError(f'{what} needs {module}, which {why}: pip install "edgekd[{extra}]"') from error


@contextmanager
def _no_telemetry() -> Iterator[None]:
    """Import what would report its use over the network unasked in its silent form.

    onnxruntime from 1.29 on sends model names, hashes and machine facts, and keeps a thread and 2 MB for it; it reads the
    variable when it is imported. openvino and nncf report conversions; they do without where the package is absent.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    hidden = OPENVINO_TELEMETRY not in sys.modules
    if hidden:
        sys.modules[OPENVINO_TELEMETRY] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hidden:
            del sys.modules[OPENVINO_TELEMETRY]


def versions(*packages: str) -> dict[str, str]:
    """Versions of those of `packages` that are installed, without importing them."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@contextmanager
def vendor_errors(
    stage: str, tools: dict[str, str], hint: str, cause: Callable[[BaseException], str] = first_line
) -> Iterator[None]:
    """Silence a toolchain, and turn whatever it raises into a StageError that names it; errors of edgekd pass.

    `cause` picks the line that tells a user something out of the vendor's text.
    """
    try:
        with quiet():
            yield
    except EdgekdError:
        raise
    except Exception as error:
        with_versions = ", ".join(f"{name} {number}" for name, number in tools.items())
        raise StageError(stage, f"{cause(error)} [{type(error).__name__}; {with_versions}]", hint) from error


@contextmanager
def reading(path: Path, what: str, cause: Callable[[BaseException], str] = first_line) -> Iterator[None]:
    """Silence a runtime that reads an untrusted file, and turn whatever it raises into an InputError; `cause` as above."""
    try:
        with quiet():
            yield
    except EdgekdError:
        raise
    except Exception as error:
        raise InputError(f"{path}: cannot be read as {what}: {cause(error)}") from error


def load_attribute(reference: str, base: Path | None) -> Any:
    """What `module:name` refers to. A file `module.py` in `base`, the folder of the project, is taken first.

    Such a file may import its neighbours while it is being imported. It goes by a name of its own, derived from its
    content, so that two projects may both have a `teacher.py`; `sys.path` is left as it was.

    Raises:
        InputError: if the reference has another form, the module does not import, or has no such attribute.
    """
    module_name, colon, attribute = reference.partition(":")
    parts = [*module_name.split("."), *attribute.split(".")]
    if not colon or not all(part.isidentifier() for part in parts):
        raise InputError(f"'{reference}': expected module:name")
    module = _import(module_name, base, reference)
    value: Any = module
    for part in attribute.split("."):
        if not hasattr(value, part):
            names = [name for name in dir(value) if not name.startswith("_")]
            raise InputError(f"'{reference}': {module_name} has no '{part}'" + did_you_mean(part, names))
        value = getattr(value, part)
    return value


def _import(name: str, base: Path | None, reference: str) -> ModuleType:
    file = None if base is None else (base / name.replace(".", "/")).with_suffix(".py")
    try:
        if file is not None and file.is_file():
            return _import_file(file, name, base)
        return importlib.import_module(name)
    except EdgekdError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            beside = "" if file is None else f", and there is no {file}"
            raise InputError(f"'{reference}': no module '{name}' is installed{beside}") from error
        raise InputError(f"'{reference}': importing {name} failed: {first_line(error)}") from error
    except Exception as error:  # the user's own code runs here and may raise anything
        raise InputError(f"'{reference}': importing {name} failed: {type(error).__name__}: {first_line(error)}") from error


def _import_file(file: Path, name: str, base: Path | None) -> ModuleType:
    unique = f"_edgekd_{digest([str(file.resolve()), file.read_bytes().hex()])[:16]}_{name.replace('.', '_')}"
    if unique in sys.modules:
        return sys.modules[unique]
    spec = importlib.util.spec_from_file_location(unique, file)
    assert spec is not None  # a .py file always has a loader
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module  # dataclasses and pickle look a class's module up here
    sys.path.insert(0, str(base))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[unique]
        raise
    finally:
        sys.path.remove(str(base))
    return module
