"""What each layer of a network costs: the kernels that a runtime runs for it, and their sums, which predict its latency.

A layer is one kernel of a runtime. All four fold a batch normalisation into the convolution or linear layer before it and apply
ReLU and ReLU6 in the kernel that makes their input, so those are no layers here; other activations are a pass over memory.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from edgekd.students.operators import Graph, Operator, record

KINDS = ("conv", "pointwise", "depthwise", "linear", "attention", "norm", "pool", "activation", "elementwise", "other")
LANES = 16
"""Channels that a kernel works on at once: 16 floats of AVX-512, 16 bytes of NEON. Other counts are padded to it."""
MULTIPLYING = ("conv", "pointwise", "depthwise", "linear", "attention")
FEATURES = (
    *(f"{kind} count" for kind in KINDS),
    *(f"{kind} elements" for kind in KINDS),
    *(f"{kind} macs" for kind in MULTIPLYING),
    *(f"{kind} padded macs" for kind in MULTIPLYING),
    "params",
    "channels",
    "largest layer's elements",
)
"""What `features` gives, in order."""

BY_NAME = {
    "attention": ("_softmax", "_safe_softmax"),
    "norm": ("native_layer_norm", "native_group_norm", "_fused_rms_norm", "native_batch_norm", "cudnn_batch_norm"),
    "pool": ("avg_pool2d", "max_pool2d_with_indices", "_adaptive_avg_pool2d", "avg_pool1d", "max_pool1d", "mean", "amax"),
    "activation": ("relu", "hardtanh", "hardswish", "silu", "gelu", "sigmoid", "tanh", "hardsigmoid", "leaky_relu", "elu"),
    "elementwise": ("add", "sub", "mul", "div"),
}
KIND_OF = {name: kind for kind, names in BY_NAME.items() for name in names} | {"_native_batch_norm_legit_no_training": "norm"}
PRODUCTS = ("addmm", "mm", "linear", "bmm", "baddbmm", "matmul")
"""Of matrices: with a weight a linear layer, of two activations attention."""
ADDING = ("addmm", "baddbmm")
"""Those that add their first argument."""
FOLDED_NORMS = ("native_batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit_no_training")
FUSED_ACTIVATIONS = ("relu", "hardtanh")


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """One kernel for one sample.

    Args:
        kind: one of `KINDS`.
        macs: multiply-accumulates; 0 of kinds that do not multiply matrices.
        padded_macs: with input and output channels padded to whole `LANES`.
        params: weights that it reads, and the bias that folding gives to every convolution.
        channels: of its output; integers are scaled channel by channel.
        input_elements: of all activations that it reads.
        output_elements: of what it writes.
        resolution: (height, width) of what it writes, (length,) of a sequence, () of a vector.
    """

    kind: str
    macs: int
    padded_macs: int
    params: int
    channels: int
    input_elements: int
    output_elements: int
    resolution: tuple[int, ...]


def layer_costs(network: nn.Module, input_shape: tuple[int, ...]) -> list[LayerCost]:
    """Every layer of a network for one sample of `input_shape` (C, H, W), in the order run. The network may have no memory.

    Raises:
        InputError: where the network does not run on such a sample.
    """
    graph = record(network, input_shape)
    return [_cost(graph, operator) for operator in kernels(graph)]


def kernels(graph: Graph) -> list[Operator]:
    """The operators that are kernels of their own; the others are applied by the one that makes their input."""
    readers: dict[int, int] = {}
    for number in itertools.chain(graph.outputs, *(operator.reads for operator in graph.operators)):
        readers[number] = readers.get(number, 0) + 1
    maker: dict[int, str] = {}  # kind of the kernel that an activation comes out of
    found = []
    for operator in graph.operators:
        fused = _fused(operator, maker, readers)
        kind = maker[operator.reads[0]] if fused else kind_of(operator)
        maker |= dict.fromkeys(operator.writes, kind)
        if not fused:
            found.append(operator)
    return found


def _fused(operator: Operator, maker: dict[int, str], readers: dict[int, int]) -> bool:
    """Whether the kernel before applies it: what that one makes is then read by nobody else."""
    before = operator.reads[0]
    if len(operator.reads) != 1 or readers[before] > 1 or before not in maker:
        return False
    if operator.name in FOLDED_NORMS:
        return maker[before] in ("conv", "pointwise", "depthwise", "linear")
    return operator.name in FUSED_ACTIVATIONS and maker[before] in ("conv", "pointwise", "depthwise", "linear", "elementwise")


def kind_of(operator: Operator) -> str:
    """One of `KINDS`."""
    if operator.name == "convolution":
        _, per_group, *kernel = operator.shapes[1]
        if per_group == 1 and operator.groups > 1:
            return "depthwise"
        return "pointwise" if set(kernel) == {1} and operator.groups == 1 else "conv"
    if "scaled_dot_product" in operator.name:
        return "attention"
    if operator.name in PRODUCTS:
        added = operator.name in ADDING and operator.shapes[0] in operator.weights
        return "linear" if len(operator.weights) > added else "attention"
    return KIND_OF.get(operator.name, "other")


def _cost(graph: Graph, operator: Operator) -> LayerCost:
    kind = kind_of(operator)
    macs, padded = _macs(operator)
    return LayerCost(
        kind=kind,
        macs=macs,
        padded_macs=padded,
        params=_params(operator),
        channels=_channels(operator),
        input_elements=sum(graph.elements[number] for number in operator.reads),
        output_elements=sum(graph.elements[number] for number in operator.writes),
        resolution=operator.output[2:] if _channels_first(operator) else operator.output[1:-1],
    )


def _channels_first(operator: Operator) -> bool:
    """Maps (B, C, H, W) and what convolutions make have, sequences (B, L, C) and vectors have not."""
    return operator.name == "convolution" or len(operator.output) > 3


def _channels(operator: Operator) -> int:
    if not operator.output:
        return 1
    return operator.output[1 if _channels_first(operator) else -1]


def _params(operator: Operator) -> int:
    if operator.name == "convolution":
        return math.prod(operator.shapes[1]) + operator.output[1]
    return sum(math.prod(shape) for shape in operator.weights)


def _macs(operator: Operator) -> tuple[int, int]:
    """(multiply-accumulates, the same with whole lanes)."""
    if operator.name == "convolution":
        weight = operator.shapes[1]
        positions = math.prod((operator.shapes[0] if operator.transposed else operator.output)[2:]) * math.prod(weight[2:])
        ours, theirs = weight[:2]  # the second is of one group
        return positions * ours * theirs, positions * _whole(ours) * (1 if theirs == 1 else _whole(theirs))
    if "scaled_dot_product" in operator.name:
        query, key, value = operator.shapes[:3]
        outer = math.prod(query[:-1])
        padded = _whole(key[-2]) * query[-1] + key[-2] * _whole(value[-1])
        return outer * key[-2] * (query[-1] + value[-1]), outer * padded
    if operator.name in PRODUCTS:
        inner = operator.shapes[1 if operator.name in ADDING else 0][-1]
        outer = math.prod(operator.output[:-1]) * inner
        return outer * operator.output[-1], outer * _whole(operator.output[-1])
    return 0, 0


def _whole(channels: int) -> int:
    return LANES * math.ceil(channels / LANES)


def features(costs: Sequence[LayerCost]) -> NDArray[np.float64]:
    """What latency, memory and size are predicted from, (D,): sums over the layers, named by `FEATURES`; none is below 0.

    A sum of kernels' times is linear in these, if each kind takes a time for itself, for each element that it moves and for
    each multiplication, which is what kernel-wise predictors assume (nn-Meter, Zhang et al. 2021, doi:10.1145/3458864.3467882).
    """
    counts, moved, macs, padded = (dict.fromkeys(KINDS, 0) for _ in range(4))
    for cost in costs:
        counts[cost.kind] += 1
        moved[cost.kind] += cost.input_elements + cost.output_elements
        macs[cost.kind] += cost.macs
        padded[cost.kind] += cost.padded_macs
    largest = max((cost.input_elements + cost.output_elements for cost in costs), default=0)
    sums = [*counts.values(), *moved.values(), *(macs[kind] for kind in MULTIPLYING), *(padded[kind] for kind in MULTIPLYING)]
    channels = sum(cost.channels for cost in costs if cost.kind in MULTIPLYING)
    return np.array([*sums, sum(cost.params for cost in costs), channels, largest], np.float64)
