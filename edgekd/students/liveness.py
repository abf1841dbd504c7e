"""The memory that a network's activations need at once, from its graph alone: a planned peak, without a device.

Assumed, as the planners of ONNX Runtime, TFLite and OpenVINO do: operators run in the order of the program; an activation lives
from the operator that makes it to the last one that reads it, the network's input from the start, and its answers to the end; a
folded batch normalisation and a fused ReLU take nothing; an element-wise operator writes over an input of the same size that is
not read after it; activations that live at the same time share no memory, and there is no waste between them. Weights, scratch
memory of kernels and alignment are not counted. So it is what a perfect planner reaches: it compares students, and is `modelled`.

Source: Pisarchyk and Lee 2020, arXiv:2001.03288 (section 3: the operator of greatest breadth bounds any placement from below).
"""

from torch import nn

from edgekd.students.costs import kernels, kind_of
from edgekd.students.operators import Graph, Operator, record

IN_PLACE = ("activation", "elementwise", "norm")
"""Kinds that read each element before they write over it."""


def planned_peak_bytes(network: nn.Module, input_shape: tuple[int, ...], activation_bytes: int = 4) -> int:
    """Peak of all activations that live at once for one sample of `input_shape` (C, H, W).

    Args:
        activation_bytes: of one element: 4 for fp32, 1 for w8a8.

    Raises:
        InputError: where the network does not run on such a sample.
    """
    return activation_bytes * peak_elements(record(network, input_shape))


def peak_elements(graph: Graph) -> int:
    """Elements that live at once at the worst operator."""
    own = {id(operator) for operator in kernels(graph)}
    same, last = _merged(graph, own), dict[int, int]()
    for step, operator in enumerate(graph.operators):
        last |= dict.fromkeys((same[number] for number in operator.reads), step)
    last |= dict.fromkeys((same[number] for number in graph.outputs), len(graph.operators))
    alive = {same[number]: graph.elements[number] for number in graph.inputs}
    peak = sum(alive.values())
    for step, operator in enumerate(graph.operators):
        for number in operator.writes:
            alive[same[number]] = graph.elements[number]
        peak = max(peak, sum(alive.values()))
        # What nobody reads afterwards leaves with the operator, an unread result too.
        alive = {number: size for number, size in alive.items() if last.get(number, -1) > step}
    return peak


def _merged(graph: Graph, own: set[int]) -> dict[int, int]:
    """The activation whose memory each one takes over: its own number, or that of one that it is written over."""
    last = {number: step for step, operator in enumerate(graph.operators) for number in operator.reads}
    last |= dict.fromkeys(graph.outputs, len(graph.operators))
    same = {number: number for number in graph.elements}
    ends = dict(last)  # of each memory, as activations are merged into it
    for step, operator in enumerate(graph.operators):
        for written in operator.writes:
            over = _overwritten(graph, operator, own, step, {number: ends[same[number]] for number in operator.reads})
            if over is not None and written != over:
                same[written] = same[over]
                ends[same[over]] = last.get(written, step)
    return same


def _overwritten(graph: Graph, operator: Operator, own: set[int], step: int, ends: dict[int, int]) -> int | None:
    """The activation that the operator may write over: of the same size, and read by nobody after it."""
    if id(operator) in own and kind_of(operator) not in IN_PLACE and not operator.in_place:
        return None
    size = graph.elements[operator.writes[0]]
    fitting = [number for number in operator.reads if graph.elements[number] == size and ends[number] <= step]
    # The caller's input is not written over.
    return next((number for number in fitting if number not in graph.inputs), None)
