"""Operations that slide a window over the spatial axes: convolution and pooling, of one to three axes.

Definitions: coremltools 9, `converters/mil/mil/ops/defs/iOS15/conv.py` and `pool.py`, and `_utils.py` for padding.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from edgekd_coreml.weights import Array, elements

Pads: TypeAlias = list[tuple[int, int]]
Tap: TypeAlias = tuple[tuple[int, ...], Array]
"""A position in the kernel, and the view of the input that it sees for all outputs: (B, C, out…)."""


def pads_of(pad_type: str, pad: Any, sizes: tuple[int, ...], spans: list[int], strides: list[int]) -> Pads:
    """(before, after) of each spatial axis; `spans` are the kernel's sizes with dilation.

    `same` gives ceil(size / stride) outputs and puts an odd element behind, `same_lower` before.
    Raises ValueError for an unknown type or a custom padding that does not fit.
    """
    if pad_type == "valid":
        return [(0, 0)] * len(sizes)
    if pad_type == "custom":
        flat = [int(each) for each in pad]
        if len(flat) != 2 * len(sizes) or min(flat) < 0:
            raise ValueError(f"custom padding {flat} for {len(sizes)} axes")
        return list(zip(flat[::2], flat[1::2], strict=True))
    if pad_type not in ("same", "same_lower"):
        raise ValueError(f"unknown pad_type '{pad_type}'")
    totals = [max(0, step * (math.ceil(n / step) - 1) + span - n) for n, span, step in zip(sizes, spans, strides, strict=True)]
    halves = [(total // 2, total - total // 2) for total in totals]
    return halves if pad_type == "same" else [(after, before) for before, after in halves]


def padded(x: Array, pads: Pads, value: float) -> Array:
    """`x` (B, C, spatial…) with `value` around its spatial axes. Raises ValueError where that is beyond all measure."""
    if not any(map(any, pads)):
        return x
    elements((*x.shape[:2], *(size + before + after for size, (before, after) in zip(x.shape[2:], pads, strict=True))))
    return np.pad(x, [(0, 0), (0, 0), *pads], constant_values=value)


def taps(x: Array, kernel: list[int], strides: list[int], dilations: list[int], out: list[int]) -> Iterator[Tap]:
    """What each position of the kernel sees."""
    for position in np.ndindex(*kernel):
        where = [
            slice(at * dilation, at * dilation + step * (n - 1) + 1, step)
            for at, dilation, step, n in zip(position, dilations, strides, out, strict=True)
        ]
        yield position, x[(slice(None), slice(None), *where)]


def conv(
    *,
    x: Array,
    weight: Array,
    pad_type: str = "valid",
    pad: Any = None,
    strides: Any = None,
    dilations: Any = None,
    groups: Any = 1,
    bias: Array | None = None,
) -> Array:
    """(B, C, spatial…) with weights (O, C / groups, kernel…) → (B, O, out…)."""
    kernel = list(weight.shape[2:])
    steps, holes = integers(strides, len(kernel)), integers(dilations, len(kernel))
    spans = [(k - 1) * hole + 1 for k, hole in zip(kernel, holes, strict=True)]
    source = padded(x, pads_of(pad_type, pad, x.shape[2:], spans, steps), 0.0)
    out = sizes_of(source.shape[2:], spans, steps)
    share, outputs = int(groups), weight.shape[0]
    if x.shape[1] != weight.shape[1] * share or outputs % share:
        raise ValueError(f"weights {weight.shape} in {share} groups for input {x.shape}")
    grouped = weight.reshape(share, outputs // share, *weight.shape[1:])
    found = taps(source, kernel, steps, holes, out)
    y = _depthwise(grouped, found, out) if weight.shape[1] == 1 else _dense(grouped, found, out)
    return y if bias is None else y + bias.reshape(-1, *[1] * len(kernel))


def _depthwise(weight: Array, found: Iterator[Tap], out: list[int]) -> Array:
    """One input channel a group: a sum of scaled views. `weight`: (groups, O / groups, 1, kernel…)."""
    groups, each = weight.shape[:2]
    y: Array | None = None
    for position, view in found:
        here: tuple[Any, ...] = (slice(None), slice(None), 0, *position)
        scale = weight[here].reshape(1, groups, each, *[1] * len(out))
        term = view[:, :, None] * scale
        y = term if y is None else np.add(y, term, out=y)
    if y is None:
        raise ValueError("an empty kernel")
    return y.reshape(len(y), groups * each, *out)


def _dense(weight: Array, found: Iterator[Tap], out: list[int]) -> Array:
    """Several input channels a group: one matrix product over channels and kernel positions."""
    groups, each, channels = weight.shape[:3]
    views = [view.reshape(len(view), groups, channels, -1) for _, view in found]
    columns = views[0] if len(views) == 1 else np.concatenate(views, axis=2)
    matrix = np.moveaxis(weight.reshape(groups, each, channels, -1), 3, 2).reshape(groups, each, -1)
    return (matrix @ columns).reshape(len(columns), groups * each, *out)


class Pooling(NamedTuple):
    """Where the windows of a pooling lie: `pads` around the input, and `behind` them what `ceil_mode` needs more."""

    kernel: list[int]
    strides: list[int]
    pads: Pads
    behind: Pads
    out: list[int]

    def views(self, source: Array) -> list[Array]:
        return [view for _, view in taps(source, self.kernel, self.strides, [1] * len(self.kernel), self.out)]


def _pooling(x: Array, kernel_sizes: Any, strides: Any, pad_type: str, pad: Any, ceil_mode: Any) -> Pooling:
    kernel = [int(k) for k in kernel_sizes]
    steps = integers(strides, len(kernel))
    pads = pads_of(pad_type, pad, x.shape[2:], kernel, steps)
    sizes = tuple(n + before + after for n, (before, after) in zip(x.shape[2:], pads, strict=True))
    out = sizes_of(sizes, kernel, steps, pads if ceil_mode else None)
    behind = [(0, max(0, (n - 1) * step + k - size)) for n, step, k, size in zip(out, steps, kernel, sizes, strict=True)]
    return Pooling(kernel, steps, pads, behind, out)


def max_pool(
    *, x: Array, kernel_sizes: Any, pad_type: str, strides: Any = None, pad: Any = None, ceil_mode: Any = False
) -> Array:
    """Largest value of each window; padding never wins."""
    pooling = _pooling(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    first, *rest = pooling.views(padded(padded(x, pooling.pads, -np.inf), pooling.behind, -np.inf))
    y = first.copy()
    for view in rest:
        np.maximum(y, view, out=y)
    return y


def avg_pool(
    *,
    x: Array,
    kernel_sizes: Any,
    pad_type: str,
    strides: Any = None,
    pad: Any = None,
    ceil_mode: Any = False,
    exclude_padding_from_average: Any = False,
) -> Array:
    """Mean of each window, over all of it or over what lies on real input.

    What `ceil_mode` adds behind the padding never counts: "Same as PyTorch's ceil mode" (coremltools, avg_pool).
    """
    pooling = _pooling(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    counted = padded(np.ones((1, 1, *x.shape[2:]), np.float32), pooling.pads, 0.0 if exclude_padding_from_average else 1.0)
    total = sum(pooling.views(padded(padded(x, pooling.pads, 0.0), pooling.behind, 0.0)))
    return np.asarray(total / sum(pooling.views(padded(counted, pooling.behind, 0.0))))


def sizes_of(sizes: tuple[int, ...], spans: list[int], strides: list[int], ceil: Pads | None = None) -> list[int]:
    """Outputs along each (padded) axis, rounded down; with `ceil` (the axes' paddings) up, but for a window that would
    start beyond the input and its padding before.

    Raises ValueError where no window fits.
    """
    found = []
    for axis, (size, span, step) in enumerate(zip(sizes, spans, strides, strict=True)):
        if span < 1 or step < 1:
            raise ValueError(f"a window of {span} with stride {step}")
        n = (size - span + (step - 1 if ceil else 0)) // step + 1
        if ceil and any(ceil[axis]) and (n - 1) * step >= size - ceil[axis][1]:
            n -= 1
        if n < 1:
            raise ValueError(f"a window of {span} on {size} elements")
        found.append(n)
    return found


def integers(values: Any, count: int) -> list[int]:
    """`count` whole numbers: the values given, or ones."""
    found = [1] * count if values is None else [int(each) for each in values]
    if len(found) != count:
        raise ValueError(f"{found} for {count} axes")
    return found
