"""Teacher `module:name`: a PyTorch module of the user's own. Imported once torch is needed."""

import hashlib
import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgekd.distill.kinds import kinds_of
from edgekd.distill.taps import Tapped, spatial_taps
from edgekd.errors import EdgekdError, InputError, first_line
from edgekd.plugins import load_attribute
from edgekd.teachers import FeatureRequest, TeacherOutputs
from edgekd.teachers.loaded import LoadedTeacher
from edgekd.teachers.weights import hash_weights, load_weights
from edgekd.types import Contract, digest


def load_torch(
    model: str, weights: str | None, base: Path, contract: Contract, features: FeatureRequest | None = None
) -> tuple[LoadedTeacher, Tapped]:
    """The teacher that `module:name` makes (a module, or a function or class without arguments), with its weights in it."""
    made = load_attribute(model, base)
    if not isinstance(made, nn.Module):
        if not callable(made):
            raise InputError(f"teacher {model} is a {type(made).__name__}, expected an nn.Module or what makes one")
        made = _make(model, made)
    if weights is not None:
        load_weights(made, base / weights)
    tapped = tapped_teacher(made, contract, features)
    # Whether architectures are alike matters to losses on feature maps only.
    kinds = None if features is None else kinds_of(made, contract.shape)
    return replace(torch_teacher(model, tapped, code=_code(made)), kinds=kinds), tapped


def tapped_teacher(network: nn.Module, contract: Contract, features: FeatureRequest | None = None) -> Tapped:
    """The network in evaluation mode, whatever mode it came in, with the taps that were asked for."""
    classes = len(contract.classes)
    network.eval()
    if features is None:
        return Tapped(network, classes).eval()
    taps = {path: path for path in features.paths} or spatial_taps(network, contract.shape)
    return Tapped(network, classes, taps, features.energy).eval()


def torch_teacher(name: str, tapped: Tapped, code: str) -> LoadedTeacher:
    """A teacher that runs in PyTorch, on the GPU where there is one. `code` goes into the fingerprint beside the weights."""
    network = tapped.network
    fingerprint = digest([hash_weights(network), str(network), code])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tapped.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def answer(inputs: NDArray[np.float32]) -> TeacherOutputs:
        batch = torch.from_numpy(np.ascontiguousarray(inputs)).to(device)
        if batch.ndim == 4:
            batch = batch.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            found = {name: tensor.float().cpu().numpy() for name, tensor in tapped.answers(batch).items()}
        return TeacherOutputs.of(found)

    return LoadedTeacher(
        name=name,
        params=sum(parameter.numel() for parameter in network.parameters()),
        fingerprint=fingerprint,
        runtime=f"torch ({device.type})",
        answer=answer,
    )


def _make(model: str, maker: Any) -> nn.Module:
    try:
        made = maker()
    except EdgekdError:
        raise
    except Exception as error:  # the user's own code may raise anything
        raise InputError(f"teacher {model} cannot be made: {type(error).__name__}: {first_line(error)}") from error
    if not isinstance(made, nn.Module):
        raise InputError(f"teacher {model} made a {type(made).__name__}, expected an nn.Module")
    return made


def _code(network: nn.Module) -> str:
    """SHA-256 of the file that the network's class is written in; its name where there is no file."""
    kind = type(network)
    try:
        return hashlib.sha256(Path(inspect.getfile(kind)).read_bytes()).hexdigest()
    except (OSError, TypeError):
        return f"{kind.__module__}.{kind.__qualname__}"
