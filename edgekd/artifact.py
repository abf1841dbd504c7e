"""Artifacts on disk: their hash, their size, and the contract that lies beside them as JSON."""

import hashlib
from pathlib import Path

from edgekd.errors import InputError, storage_errors
from edgekd.types import Artifact, Contract, Precision


def files_of(path: Path) -> list[tuple[str, Path]]:
    """(relative name, file) of everything that makes up the artifact, sorted by name.

    An OpenVINO `.xml` has its weights beside it in a `.bin`; an `.mlpackage` is a folder. Links are refused: an artifact
    never reaches outside itself.
    """
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.is_file() or p.is_symlink())
        if any(p.is_symlink() for p in found):
            raise InputError(f"{path}: an artifact must not contain links")
        return [(p.relative_to(path).as_posix(), p) for p in found]
    if path.suffix == ".xml":
        return [(p.name, p) for p in (path.with_suffix(".bin"), path)]
    return [(path.name, path)]


def sha256_of(path: Path) -> str:
    """Of the file itself; of several files: over their sorted `path sha256` lines."""
    try:
        hashes = [(name, hashlib.sha256(file.read_bytes()).hexdigest()) for name, file in files_of(path)]
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if not path.is_dir() and len(hashes) == 1:
        return hashes[0][1]
    return hashlib.sha256("".join(f"{name} {sha}\n" for name, sha in hashes).encode()).hexdigest()


def size_of(path: Path) -> int:
    """Bytes of all files that have to be shipped."""
    return sum(file.stat().st_size for _, file in files_of(path))


def contract_file(path: Path) -> Path:
    """Where the contract lies beside the artifact."""
    return path.with_name(path.name + ".contract.json")


def finish(path: Path, *, target: str, precision: Precision, contract: Contract, parent: str, tools: dict[str, str]) -> Artifact:
    """Describe a freshly built artifact, whose metadata already holds `contract`, and write the contract beside it."""
    with storage_errors(str(path)):
        contract_file(path).write_text(contract.to_json())
    return Artifact(
        path=path,
        target=target,
        precision=precision,
        contract=contract,
        size_bytes=size_of(path),
        sha256=sha256_of(path),
        parent=parent,
        tools=tools,
    )
