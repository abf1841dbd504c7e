"""Which operations the reference executor knows: the function that runs each, and the rule for running samples at once."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from edgekd_coreml import batching, ops, windows
from edgekd_coreml.batching import Rule, along, elementwise, samplewise
from edgekd_coreml.weights import Array, elements


class Kernel(NamedTuple):
    run: Callable[..., Array | list[Array]]
    rule: Rule


def _unary(function: Callable[[Array], Array]) -> Kernel:
    return Kernel(lambda *, x: function(x), samplewise)


def _binary(function: Callable[[Array, Array], Array]) -> Kernel:
    def run(*, x: Array, y: Array) -> Array:
        elements(np.broadcast_shapes(x.shape, y.shape))
        return function(x, y)

    return Kernel(run, elementwise)


def _reduction(function: Callable[..., Array]) -> Kernel:
    return Kernel(ops.reducer(function), along("axes"))


KERNELS = {
    "abs": _unary(np.abs),
    "erf": Kernel(ops.erf, samplewise),
    "exp": _unary(np.exp),
    "relu": _unary(lambda x: np.maximum(x, 0)),
    "sigmoid": _unary(ops.expit),
    "sign": _unary(np.sign),
    "silu": _unary(lambda x: x * ops.expit(x)),
    "softplus": _unary(lambda x: np.logaddexp(x, np.float32(0))),
    "sqrt": _unary(np.sqrt),
    "square": _unary(np.square),
    "tanh": _unary(np.tanh),
    "cast": Kernel(ops.cast, samplewise),
    "clip": Kernel(ops.clip, samplewise),
    "elu": Kernel(ops.elu, samplewise),
    "gelu": Kernel(ops.gelu, samplewise),
    "leaky_relu": Kernel(ops.leaky_relu, samplewise),
    "log": Kernel(ops.log, samplewise),
    "prelu": Kernel(ops.prelu, samplewise),
    "rsqrt": Kernel(ops.rsqrt, samplewise),
    "sigmoid_hard": Kernel(ops.sigmoid_hard, samplewise),
    "thresholded_relu": Kernel(ops.thresholded_relu, samplewise),
    "add": _binary(np.add),
    "greater": _binary(np.greater),
    "greater_equal": _binary(np.greater_equal),
    "less": _binary(np.less),
    "maximum": _binary(np.maximum),
    "minimum": _binary(np.minimum),
    "mul": _binary(np.multiply),
    "pow": _binary(np.power),
    "real_div": _binary(np.divide),
    "sub": _binary(np.subtract),
    "avg_pool": Kernel(windows.avg_pool, samplewise),
    "conv": Kernel(windows.conv, samplewise),
    "max_pool": Kernel(windows.max_pool, samplewise),
    "linear": Kernel(ops.linear, samplewise),
    "matmul": Kernel(ops.matmul, batching.multiplied),
    "batch_norm": Kernel(ops.batch_norm, samplewise),
    "instance_norm": Kernel(ops.instance_norm, samplewise),
    "layer_norm": Kernel(ops.layer_norm, along("axes")),
    "softmax": Kernel(ops.softmax, along("axis")),
    "reduce_l2_norm": _reduction(ops.l2_norm),
    "reduce_max": _reduction(np.max),
    "reduce_mean": _reduction(np.mean),
    "reduce_min": _reduction(np.min),
    "reduce_sum": _reduction(np.sum),
    "concat": Kernel(ops.concat, along("axis")),
    "select": Kernel(ops.select, elementwise),
    "gather": Kernel(ops.gather, batching.gathered),
    "expand_dims": Kernel(ops.expand_dims, along("axes", of_result=True)),
    "pad": Kernel(ops.pad, batching.padded),
    "reshape": Kernel(ops.reshape, batching.reshaped),
    "slice_by_index": Kernel(ops.slice_by_index, batching.sliced),
    "split": Kernel(ops.split, along("axis")),
    "squeeze": Kernel(ops.squeeze, along("axes")),
    "stack": Kernel(ops.stack, along("axis", of_result=True)),
    "tile": Kernel(ops.tile, batching.tiled),
    "transpose": Kernel(ops.transpose, batching.permuted),
}
