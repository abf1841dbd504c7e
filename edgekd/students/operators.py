"""Every operator that a network runs for one sample, with the activations that it reads and writes.

Recorded while the network runs without memory ("meta" tensors), so it takes milliseconds, needs no device, and sees what forward
hooks do not: the addition of a shortcut, attention inside of one module. Views of a tensor are the tensor; what depends on
weights alone is folded by every converter and left out.
"""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from edgekd.errors import InputError, first_line

aten = torch.ops.aten
UNARY = {aten.relu, aten.relu_, aten.hardtanh, aten.hardtanh_, aten.hardswish, aten.hardswish_, aten.silu, aten.silu_}
UNARY |= {aten.gelu, aten.sigmoid, aten.tanh, aten.hardsigmoid, aten.leaky_relu}
NORMS = {aten.native_batch_norm, aten.cudnn_batch_norm, aten._native_batch_norm_legit_no_training}


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One call of an operator.

    Args:
        name: as ATen has it, without a trailing underscore: `convolution`, `relu`, `add`.
        reads: numbers of the activations that it reads, each once.
        writes: numbers of the activations that it makes; what it writes over gets a new number.
        shapes: of the tensors that it reads, weights included, in the order of its arguments.
        weights: shapes of those among them that are weights.
        output: shape of its first result.
        groups, transposed: of a convolution.
        in_place: whether it is written to overwrite its first argument.
    """

    name: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    weights: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]
    groups: int = 1
    transposed: bool = False
    in_place: bool = False


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Operators in the order run.

    Args:
        elements: of each activation, by its number.
        inputs: numbers of the network's input, outputs: of its answers.
        params: learnable parameters of the network.
    """

    operators: tuple[Operator, ...]
    elements: dict[int, int]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    params: int


def record(network: nn.Module, input_shape: tuple[int, ...]) -> Graph:
    """The operators of a network for one sample of `input_shape` (C, H, W), in evaluation mode. The network is left as it was.

    Raises:
        InputError: where the network does not run on such a sample.
    """
    weights = next(itertools.chain(network.parameters(), network.buffers()), None)
    meta, cpu = torch.device("meta"), torch.device("cpu")
    # Networks that make tensors of their own want them without memory too, which slows every call down. Meta tensors have no
    # values to branch on, and some operators have no meta version: such networks are run.
    ways = [partial(_record, device=meta), partial(_record, device=meta, everywhere=True)]
    if weights is None or weights.device == cpu:
        ways.append(partial(_record, device=cpu))
    for way in ways[:-1]:
        with contextlib.suppress(Exception):
            return way(network, input_shape)
    try:
        return ways[-1](network, input_shape)
    except Exception as error:  # anyone's network runs here
        name = type(network).__name__
        raise InputError(f"the network {name} does not run on a sample of shape {input_shape}: {first_line(error)}") from error


def _record(network: nn.Module, input_shape: tuple[int, ...], *, device: torch.device, everywhere: bool = False) -> Graph:
    # Without requires_grad, on which it depends how torch multiplies (should_fold in ATen's LinearAlgebra.cpp).
    named = itertools.chain(network.named_parameters(), network.named_buffers())
    tensors = {name: tensor.detach() for name, tensor in named}
    if device.type == "meta":
        tensors = {name: _like(tensor) for name, tensor in tensors.items()}
    sample = torch.zeros(1, *input_shape, device=device)
    recorder = Recorder(sample)
    with _evaluating(network), torch.no_grad(), device if everywhere else contextlib.nullcontext(), recorder:
        answers = torch.func.functional_call(network, tensors, (sample,))
    found = [recorder.number(tensor) for tensor in tree_leaves(answers) if isinstance(tensor, Tensor)]
    outputs = tuple(dict.fromkeys(number for number in found if number is not None))
    return Graph(
        operators=tuple(_without_unread(recorder.operators, outputs)),
        elements=recorder.elements,
        inputs=(0,),
        outputs=outputs,
        params=sum(parameter.numel() for parameter in network.parameters()),
    )


def _without_unread(operators: list[Operator], outputs: tuple[int, ...]) -> Iterator[Operator]:
    """Without second results that nobody reads, which runtimes do not make: indices of a maximum, a norm's statistics."""
    read = {number for operator in operators for number in operator.reads} | set(outputs)
    for operator in operators:
        first, *others = operator.writes
        yield replace(operator, writes=(first, *(number for number in others if number in read))) if others else operator


@contextlib.contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while."""
    training = [module for module in network.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@dataclass
class _Found:
    """Tensors of one call: activations by number, and the others."""

    first: int | None = None
    numbers: list[int] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    weights: list[tuple[int, ...]] = field(default_factory=list)


class Recorder(TorchDispatchMode):
    """Notes each operator that depends on `sample`. An activation is a storage: views share it."""

    def __init__(self, sample: Tensor) -> None:
        super().__init__()
        self.operators: list[Operator] = []
        self.elements: dict[int, int] = {}
        self._numbers: dict[int, int] = {}
        self._kept: list[Tensor] = []  # a storage that is freed could give its address to another
        self._activation(sample)

    def number(self, tensor: Tensor) -> int | None:
        """Of the activation; None for a tensor that does not depend on the sample."""
        return self._numbers.get(tensor.untyped_storage()._cdata)

    def _activation(self, tensor: Tensor) -> int:
        """A new number for what is in the tensor's storage now."""
        storage = tensor.untyped_storage()
        number = self._numbers[storage._cdata] = len(self.elements)
        self.elements[number] = storage.nbytes() // tensor.element_size()
        self._kept.append(tensor)
        return number

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = _shortcut(func, args) if args and isinstance(args[0], Tensor) and args[0].is_meta else None
        result = func(*args, **(kwargs or {})) if result is None else result
        found = self._found(args, kwargs)
        if found.numbers:
            self._note(func, args, found, result)
        return result

    def _found(self, args: Any, kwargs: Any) -> _Found:
        found = _Found()
        for place, value in enumerate(_tensors(args, kwargs)):
            number = self.number(value)
            found.first = number if place == 0 else found.first
            found.shapes.append(tuple(value.shape))
            if number is None:
                self._kept.append(value)
                found.weights.append(tuple(value.shape))
            elif number not in found.numbers:
                found.numbers.append(number)
        return found

    def _note(self, func: Any, args: Any, found: _Found, result: Any) -> None:
        made = [value for value in (result if isinstance(result, tuple | list) else (result,)) if isinstance(value, Tensor)]
        made = [value for value in made if value.numel()]
        mutates = func._schema.is_mutable
        if not made or (not mutates and all(self.number(value) in found.numbers for value in made)):
            return  # no tensor comes of it, or a view
        writes = tuple({value.untyped_storage()._cdata: self._activation(value) for value in made}.values())
        self.operators.append(
            Operator(
                name=func.overloadpacket.__name__.rstrip("_"),
                reads=tuple(found.numbers),
                writes=writes,
                shapes=tuple(found.shapes),
                weights=tuple(found.weights),
                output=tuple(made[0].shape),
                groups=args[8] if func.overloadpacket is aten.convolution else 1,
                transposed=func.overloadpacket is aten.convolution and args[6],
                in_place=mutates and found.first in found.numbers,
            )
        )


def _tensors(args: Any, kwargs: Any) -> Iterator[Tensor]:
    for value in itertools.chain(args, (kwargs or {}).values()):
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from (item for item in value if isinstance(item, Tensor))


def _shortcut(func: Any, args: Any) -> Any:
    """The result's shape for the operators that students are made of: torch's own way to it takes a hundred times as long."""
    packet, x = func.overloadpacket, args[0]
    if packet is aten.convolution and not args[6]:
        _, weight, _, stride, padding, dilation = args[:6]
        sizes = zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
        shape = [(size + 2 * pad - dil * (kernel - 1) - 1) // step + 1 for size, kernel, step, pad, dil in sizes]
        return torch.empty((x.shape[0], weight.shape[0], *shape), device="meta", dtype=x.dtype)
    if packet in UNARY:
        return x if func._schema.is_mutable else _like(x)
    if packet is aten.add and isinstance(args[1], Tensor) and args[1].shape == x.shape and args[1].dtype == x.dtype:
        return _like(x)
    if packet in NORMS:
        return (_like(x), *(torch.empty(0, device="meta") for _ in func._schema.returns[1:]))
    return None


def _like(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, device="meta", dtype=tensor.dtype)
