"""Teacher `module:name`: a PyTorch module of the user's own. Imported once torch is needed."""

import hashlib
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekd.errors import EdgekdError, InputError, first_line
from edgekd.plugins import load_attribute
from edgekd.teachers import TeacherOutputs
from edgekd.teachers.loaded import LoadedTeacher
from edgekd.teachers.weights import hash_weights, load_weights
from edgekd.types import digest


class Answering(nn.Module):
    """A network that answers with its logits and, where there is one, with the embedding before them.

    The embedding is what goes into the last `nn.Linear`, if that one gives the classes.
    """

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        self.network = network
        linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
        self.classifier = linear[-1] if linear and linear[-1].out_features == classes else None

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        if self.classifier is None:
            return (self._logits(inputs),)
        caught: list[Tensor] = []
        hook = self.classifier.register_forward_pre_hook(lambda module, arguments: caught.append(arguments[0]))
        try:
            logits = self._logits(inputs)
        finally:
            hook.remove()
        # A network that uses the classifier on every place of a feature map shows no embedding.
        return (logits, caught[0]) if len(caught) == 1 and caught[0].ndim == 2 else (logits,)

    def _logits(self, inputs: Tensor) -> Tensor:
        answer = self.network(inputs)
        if not isinstance(answer, Tensor):
            raise InputError(f"the teacher answers with a {type(answer).__name__}, expected a tensor of logits (B, classes)")
        return answer


def load_torch(model: str, weights: str | None, base: Path, classes: int) -> tuple[LoadedTeacher, Answering]:
    """The teacher that `module:name` makes (a module, or a function or class without arguments), with its weights in it."""
    made = load_attribute(model, base)
    if not isinstance(made, nn.Module):
        if not callable(made):
            raise InputError(f"teacher {model} is a {type(made).__name__}, expected an nn.Module or what makes one")
        made = _make(model, made)
    if weights is not None:
        load_weights(made, base / weights)
    answering = Answering(made, classes).eval()
    return torch_teacher(model, answering, code=_code(made)), answering


def torch_teacher(name: str, answering: Answering, code: str) -> LoadedTeacher:
    """A teacher that runs in PyTorch, on the GPU where there is one. `code` goes into the fingerprint beside the weights."""
    network = answering.network
    fingerprint = digest([hash_weights(network), str(network), code])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    answering.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def answer(inputs: NDArray[np.float32]) -> TeacherOutputs:
        batch = torch.from_numpy(np.ascontiguousarray(inputs)).to(device)
        if batch.ndim == 4:
            batch = batch.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            found = [tensor.float().cpu().numpy() for tensor in answering(batch)]
        return TeacherOutputs(logits=found[0], embedding=found[1] if len(found) > 1 else None)

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
