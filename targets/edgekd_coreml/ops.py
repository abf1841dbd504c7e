"""The operations of MIL that CNN students become, in NumPy: float32 arrays in, float32 out, parameters named as in MIL.

Each is defined by coremltools 9, `converters/mil/mil/ops/defs`, iOS15 to iOS17. Sums run in float32 (matrix products in
the order of the BLAS library); the executor rounds each result to the type that the program declares. What could grow
beyond its operands is bounded before it is computed: a package may come from anywhere.
"""

from typing import Any

import numpy as np

from edgekd_coreml.weights import Array, elements


def expit(x: Array) -> Array:
    """Logistic function, without overflow."""
    from scipy.special import expit

    return np.asarray(expit(x))


def erf(*, x: Array) -> Array:
    from scipy.special import erf

    return np.asarray(erf(x))


def clip(*, x: Array, alpha: Array, beta: Array) -> Array:
    return np.clip(x, alpha, beta)


def leaky_relu(*, x: Array, alpha: Array) -> Array:
    return np.where(x >= 0, x, x * alpha)


def prelu(*, x: Array, alpha: Array) -> Array:
    """`alpha`: (C,), along axis 1."""
    return np.where(x >= 0, x, x * alpha.reshape(-1, *[1] * (x.ndim - 2)))


def thresholded_relu(*, x: Array, alpha: Array) -> Array:
    return np.where(x >= alpha, x, np.zeros_like(x))


def elu(*, x: Array, alpha: Array) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def sigmoid_hard(*, x: Array, alpha: Array, beta: Array) -> Array:
    return np.clip(alpha * x + beta, 0, 1)


def gelu(*, x: Array, mode: str = "EXACT") -> Array:
    """Exact, or approximated by tanh: Hendrycks, Gimpel 2016, arXiv:1606.08415, section 2."""
    from scipy.special import erf

    if mode == "EXACT":
        return 0.5 * x * (1 + erf(x * np.float32(np.sqrt(0.5))))
    if mode == "TANH_APPROXIMATION":
        return 0.5 * x * (1 + np.tanh(np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x**3)))
    raise ValueError(f"unknown gelu mode '{mode}'")


def log(*, x: Array, epsilon: Any = 1e-45) -> Array:
    return np.log(x + np.float32(epsilon))


def rsqrt(*, x: Array, epsilon: Any = 1e-12) -> Array:
    return 1 / np.sqrt(x + np.float32(epsilon))


def softmax(*, x: Array, axis: Any = -1) -> Array:
    shifted = np.exp(x - x.max(axis=int(axis), keepdims=True))
    return shifted / shifted.sum(axis=int(axis), keepdims=True)


def cast(*, x: Array, dtype: str) -> Array:
    """To whole numbers towards zero; float types differ only by the rounding that the executor does."""
    if dtype == "bool":
        return x != 0
    if dtype in ("fp16", "fp32"):
        return x.astype(np.float32)
    return np.trunc(x).astype(dtype)


def axes_of(axes: Any) -> tuple[int, ...] | None:
    return None if axes is None else tuple(int(axis) for axis in axes)


def reducer(function: Any) -> Any:
    """A reduction over `axes` (all where none are given)."""

    def reduce(*, x: Array, axes: Any = None, keep_dims: Any = False) -> Array:
        return np.asarray(function(x, axis=axes_of(axes), keepdims=bool(keep_dims)))

    return reduce


def l2_norm(x: Array, axis: Any, keepdims: bool) -> Array:
    return np.asarray(np.sqrt(np.square(x).sum(axis=axis, keepdims=keepdims)))


def linear(*, x: Array, weight: Array, bias: Array | None = None) -> Array:
    """(…, I) with weights (O, I) → (…, O)."""
    y = x @ weight.T
    return y if bias is None else y + bias


def matmul(*, x: Array, y: Array, transpose_x: Any = False, transpose_y: Any = False) -> Array:
    left, right = x.swapaxes(-1, -2) if transpose_x else x, y.swapaxes(-1, -2) if transpose_y else y
    elements((*np.broadcast_shapes(left.shape[:-2], right.shape[:-2]), left.shape[-2], right.shape[-1]))
    return np.matmul(left, right)


def batch_norm(
    *, x: Array, mean: Array, variance: Array, gamma: Array | None = None, beta: Array | None = None, epsilon: Any = 1e-5
) -> Array:
    """Channels on axis 1."""
    scale = (1 if gamma is None else gamma) / np.sqrt(variance + epsilon)
    shift = (0 if beta is None else beta) - mean * scale
    shape = (-1, *[1] * (x.ndim - 2))
    return x * scale.reshape(shape) + shift.reshape(shape)


def instance_norm(*, x: Array, gamma: Array | None = None, beta: Array | None = None, epsilon: Any = 1e-5) -> Array:
    """Over the spatial axes of each channel of each sample."""
    axes, shape = tuple(range(2, x.ndim)), (-1, *[1] * (x.ndim - 2))
    y = (x - x.mean(axis=axes, keepdims=True)) / np.sqrt(x.var(axis=axes, keepdims=True) + epsilon)
    y = y if gamma is None else y * gamma.reshape(shape)
    return y if beta is None else y + beta.reshape(shape)


def layer_norm(
    *, x: Array, axes: Any = None, gamma: Array | None = None, beta: Array | None = None, epsilon: Any = 1e-5
) -> Array:
    """Over `axes` (all where none are given); `gamma` and `beta` have the sizes of those axes."""
    over = tuple(range(x.ndim)) if axes is None else tuple(int(axis) % x.ndim for axis in axes)
    shape = [size if axis in over else 1 for axis, size in enumerate(x.shape)]
    y = (x - x.mean(axis=over, keepdims=True)) / np.sqrt(x.var(axis=over, keepdims=True) + epsilon)
    y = y if gamma is None else y * gamma.reshape(shape)
    return y if beta is None else y + beta.reshape(shape)


def pad(*, x: Array, pad: Any, mode: str = "constant", constant_val: Any = 0.0) -> Array:
    """`pad`: (before, after) of the last axes, in their order."""
    flat = [int(each) for each in pad]
    pairs = [(0, 0)] * (x.ndim - len(flat) // 2) + list(zip(flat[::2], flat[1::2], strict=True))
    elements(tuple(size + before + after for size, (before, after) in zip(x.shape, pairs, strict=True)))
    if mode == "constant":
        return np.pad(x, pairs, constant_values=constant_val)
    return np.pad(x, pairs, mode={"reflect": "reflect", "replicate": "edge"}[mode])  # type: ignore[call-overload]


def reshape(*, x: Array, shape: Any) -> Array:
    return x.reshape([int(size) for size in shape])


def squeeze(*, x: Array, axes: Any = None) -> Array:
    return x.squeeze(axes_of(axes))


def expand_dims(*, x: Array, axes: Any) -> Array:
    return np.expand_dims(x, axes_of(axes) or ())


def transpose(*, x: Array, perm: Any) -> Array:
    return x.transpose([int(axis) for axis in perm])


def concat(*, values: list[Array], axis: Any, interleave: Any = False) -> Array:
    """One behind the other along `axis`; interleaved, the first slice of each, then the second of each."""
    joined = np.concatenate(values, axis=int(axis))
    if not interleave:
        return joined
    if len({each.shape for each in values}) != 1:
        raise ValueError("interleaved values of different shapes")
    return np.stack(values, axis=int(axis) % joined.ndim + 1).reshape(joined.shape)


def stack(*, values: list[Array], axis: Any) -> Array:
    return np.stack(values, axis=int(axis))


def split(*, x: Array, axis: Any, num_splits: Any = None, split_sizes: Any = None) -> list[Array]:
    if split_sizes is None:
        return list(np.split(x, int(num_splits), axis=int(axis)))
    return list(np.split(x, np.cumsum([int(size) for size in split_sizes])[:-1], axis=int(axis)))


def tile(*, x: Array, reps: Any) -> Array:
    times = [int(each) for each in reps]
    elements(tuple(size * each for size, each in zip(x.shape, times, strict=True)))
    return np.tile(x, times)


def select(*, cond: Array, a: Array, b: Array) -> Array:
    elements(np.broadcast_shapes(cond.shape, a.shape, b.shape))
    return np.where(cond, a, b)


def gather(*, x: Array, indices: Array, axis: Any = 0, batch_dims: Any = 0, validate_indices: Any = False) -> Array:
    """Elements of `x` along `axis`, in the shape of `indices`; those below 0 count from the end."""
    if int(batch_dims):
        raise ValueError("gathers along batch dimensions are not known")
    at = int(axis) % x.ndim
    elements((*x.shape[:at], *indices.shape, *x.shape[at + 1 :]))
    return np.take(x, indices.astype(np.int64), axis=at)


def slice_by_index(
    *,
    x: Array,
    begin: Any,
    end: Any,
    stride: Any = None,
    begin_mask: Any = None,
    end_mask: Any = None,
    squeeze_mask: Any = None,
) -> Array:
    """x[begin:end:stride] on every axis; a mask leaves the bound open, or takes the one element at `begin`."""
    found: list[slice | int] = []
    for axis in range(x.ndim):
        if squeeze_mask is not None and squeeze_mask[axis]:
            found.append(int(begin[axis]))
            continue
        first = None if begin_mask is not None and begin_mask[axis] else int(begin[axis])
        last = None if end_mask is not None and end_mask[axis] else int(end[axis])
        found.append(slice(first, last, 1 if stride is None else int(stride[axis])))
    return x[tuple(found)]
