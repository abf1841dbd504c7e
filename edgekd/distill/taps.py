"""Look inside a network while it answers: the embedding before its classifier, and feature maps of named layers.

Hooks are set for one forward pass and taken off again, so the network itself is never changed: what is exported is the
network as it was built.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from edgekd.distill import Outputs
from edgekd.errors import InputError, did_you_mean


class Tapped(nn.Module):
    """A network that answers with its logits, the embedding before them where there is one, and its tapped feature maps.

    The embedding is what goes into the last `nn.Linear`, if that one gives the classes.

    Args:
        network: from inputs (B, …) to logits (B, classes).
        classes: how many.
        taps: key of each feature map to the path of the layer whose output it is, as `named_modules` spells it.
        energy: give sqrt(mean_c F²), (B, 1, H, W), instead of the maps F (B, C, H, W): all that attention transfer
            (Zagoruyko and Komodakis 2017, arXiv:1612.03928, eq. 2 with p = 2) depends on, at a fraction of the size.
    """

    def __init__(self, network: nn.Module, classes: int, taps: Mapping[str, str] | None = None, energy: bool = False) -> None:
        super().__init__()
        self.network, self.taps, self.energy = network, dict(taps or {}), energy
        linear = [(path, module) for path, module in network.named_modules() if isinstance(module, nn.Linear)]
        # By its path: as an attribute it would be a second owner of the same weights.
        self.classifier = linear[-1][0] if linear and linear[-1][1].out_features == classes else None
        for path in self.taps.values():
            layer_at(network, path)

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """(logits, then the embedding, then the features in the order of their keys): what there is of them."""
        return tuple(self.answers(inputs).values())

    def outputs(self, inputs: Tensor) -> Outputs:
        found = self.answers(inputs)
        return Outputs(
            logits=found.pop("logits"), embedding=found.pop("embedding", None), features={key: found[key] for key in self.taps}
        )

    def answers(self, inputs: Tensor) -> dict[str, Tensor]:
        """By name: `logits`, `embedding`, and each tap's key."""
        entered: list[Tensor] = []
        left: dict[str, Tensor] = {}
        with ExitStack() as hooks:
            if self.classifier is not None:
                classifier = layer_at(self.network, self.classifier)
                hooks.callback(classifier.register_forward_pre_hook(lambda module, given: entered.append(given[0])).remove)
            for key, path in self.taps.items():
                hooks.callback(layer_at(self.network, path).register_forward_hook(_keep(left, key)).remove)
            logits = self.network(inputs)
        if not isinstance(logits, Tensor):
            raise InputError(f"the network answers with a {type(logits).__name__}, expected a tensor of logits (B, classes)")
        # A network that uses the classifier on every place of a feature map shows no embedding.
        embedding = {"embedding": entered[0]} if len(entered) == 1 and entered[0].ndim == 2 else {}
        return {"logits": logits, **embedding, **{key: self._form(left, key) for key in sorted(self.taps)}}

    def _form(self, left: dict[str, Tensor], key: str) -> Tensor:
        found = left.get(key)
        if found is None or found.ndim != 4:
            raise InputError(f"tap '{self.taps[key]}' gives no feature map (B, C, H, W)")
        return found.pow(2).mean(1, keepdim=True).sqrt() if self.energy else found


def _keep(left: dict[str, Tensor], key: str) -> Any:
    def hook(module: nn.Module, given: Any, output: Any) -> None:
        left[key] = output

    return hook


def layer_at(network: nn.Module, path: str) -> nn.Module:
    """The layer of that path. Raises InputError where there is none."""
    try:
        return network.get_submodule(path)
    except AttributeError as error:
        names = [name for name, _ in network.named_modules() if name]
        raise InputError(f"the network has no layer '{path}'" + did_you_mean(path, names)) from error


def spatial_taps(network: nn.Module, shape: tuple[int, ...]) -> dict[str, str]:
    """The last layer at each resolution, keyed `stride1`, `stride2`, …: how much smaller than the input its map is.

    Two networks pair by these keys whatever they are made of. A layer inside of one that changes the resolution, as the
    expansion in a block of stride 2, stands back behind what comes before that block. Left out are the global pooling's
    single position, layers that are run more than once, which have no resolution of their own, and those that shrink height
    and width unlike: they may have their channels last.
    """
    sizes = feature_sizes(network, shape)
    runs = Counter(path for path, _ in sizes)
    once = {path: size for path, size in sizes if path and min(size) > 1 and runs[path] == 1}
    last: dict[str, tuple[int, str]] = {}
    for path, size in once.items():
        down, across = (round(math.log2(whole / part)) for whole, part in zip(shape[1:], size, strict=True))
        inside = sum(once.get(outer, size) != size for outer in _enclosing(path))
        key = f"stride{2**down}"
        if down == across >= 0 and inside <= last.get(key, (inside, ""))[0]:
            last[key] = (inside, path)
    return {key: path for key, (_, path) in last.items()}


def _enclosing(path: str) -> list[str]:
    """Paths of the layers around a layer."""
    names = path.split(".")
    return [".".join(names[:count]) for count in range(1, len(names))]


def feature_sizes(network: nn.Module, shape: tuple[int, ...]) -> list[tuple[str, tuple[int, int]]]:
    """(path, (height, width)) of every layer that gives a map (B, C, H, W), in the order in which they end."""
    found: list[tuple[str, tuple[int, int]]] = []

    def note(path: str) -> Any:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            # One sample goes in: what comes out in other numbers is a parametrized weight, or windows of a picture.
            if isinstance(output, Tensor) and output.ndim == 4 and len(output) == 1:
                found.append((path, (output.shape[2], output.shape[3])))

        return hook

    with ExitStack() as hooks, evaluating(network), torch.no_grad():
        for path, module in network.named_modules():
            hooks.callback(module.register_forward_hook(note(path)).remove)
        parameter = next(network.parameters(), None)
        network(torch.zeros(1, *shape, device=None if parameter is None else parameter.device))
    return found


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while: looking must not move the statistics of a batch normalisation."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
