"""Read a PyTorch model's weights without running anything that the file says. Imported once torch is needed."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from edgekd.errors import InputError
from edgekd.plugins import need, reading

SUFFIXES = (".safetensors", ".pt", ".pth")


def load_weights(module: nn.Module, file: Path) -> None:
    """Put the tensors of a file into `module`: the same names and shapes, all of them. Raises InputError otherwise."""
    found, expected = read_weights(file), module.state_dict()
    missing = [name for name in expected if name not in found]
    unknown = [name for name in found if name not in expected]
    if missing or unknown:
        parts = [f"{what} {_some(names)}" for what, names in (("it lacks", missing), ("it alone has", unknown)) if names]
        raise InputError(f"weights {file} are not of this model: {'; '.join(parts)}")
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape:
            shapes = f"{tuple(found[name].shape)}, expected {tuple(tensor.shape)}"
            raise InputError(f"weights {file} are not of this model: {name} has shape {shapes}")
    module.load_state_dict(dict(found), strict=True)


def read_weights(file: Path) -> Mapping[str, Tensor]:
    """Name to tensor, from .safetensors, or from a .pt or .pth that holds nothing but tensors (never unpickled)."""
    if file.suffix not in SUFFIXES:
        raise InputError(f"weights {file} must be one of {', '.join(SUFFIXES)}")
    if not file.is_file():
        raise InputError(f"weights {file} do not exist")
    return _read_safetensors(file) if file.suffix == ".safetensors" else _read_checkpoint(file)


def _read_safetensors(file: Path) -> Mapping[str, Tensor]:
    need("safetensors", "train", "weights in .safetensors")
    from safetensors.torch import load_file

    with reading(file, "whole safetensors weights"):
        return load_file(file)


def _read_checkpoint(file: Path) -> Mapping[str, Tensor]:
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged or hostile file raises is not defined
        advice = "save model.state_dict() with safetensors.torch.save_file or torch.save"
        raise InputError(f"weights {file} are damaged, or hold more than tensors: {advice}") from error
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in found.items()):
        raise InputError(f"weights {file} hold more than named tensors: save model.state_dict()")
    return found


def hash_weights(module: nn.Module) -> str:
    """SHA-256 over names, types, shapes and bytes of all parameters and buffers, sorted by name."""
    sha = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        sha.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return sha.hexdigest()


def _some(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
