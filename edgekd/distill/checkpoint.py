"""The whole state of a training in one safetensors file: no pickle, replaced atomically, complete or absent.

Draws of views and of the order of samples are functions of (seed, epoch), so the position is all there is to remember of
them: a training that was killed goes on bit-identically.
"""

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from edgekd.errors import InputError, storage_errors


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file under another name, then rename it: a reader never sees half of it."""
    temporary = path.with_name(f".{path.name}.tmp")
    with storage_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, metadata))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file. Raises InputError where it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def save_checkpoint(path: Path, student: nn.Module, average: nn.Module, optimizer: Optimizer, position: dict[str, Any]) -> None:
    """`position` is JSON: step, sums, curve so far."""
    tensors = {f"student.{k}": v for k, v in student.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.state_dict().items()}
    state = optimizer.state_dict()["state"]
    tensors |= {f"optimizer.{i}.{k}": v for i, slots in state.items() for k, v in slots.items() if isinstance(v, Tensor)}
    write_tensors(path, tensors, {"position": json.dumps(position)})


def load_checkpoint(path: Path, student: nn.Module, average: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """Put everything back where it was; the position."""
    tensors, metadata = read_tensors(path)
    parts: dict[str, dict[str, Tensor]] = {"student": {}, "average": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        part, _, key = name.partition(".")
        parts[part][key] = tensor
    student.load_state_dict(parts["student"])
    average.load_state_dict(parts["average"])
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in parts["optimizer"].items():
        index, _, slot = key.partition(".")
        state.setdefault(int(index), {})[slot] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    position: dict[str, Any] = json.loads(metadata["position"])
    return position
