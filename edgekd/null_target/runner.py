"""Pushed to devices beside the harness: runs an artifact of the null target. Standard library + numpy, Python 3.8 syntax."""

from typing import Any, Dict, List

import numpy as np


def version() -> Dict[str, str]:
    """Versions of the runtime: numpy is all of it."""
    return {"numpy": np.__version__}


def load(path: str, threads: int) -> "Linear":
    """The linear model in an .npz file. `threads` is accepted for the protocol; one matrix-vector product needs one."""
    with np.load(path, allow_pickle=False) as archive:
        return Linear({name: archive[name] for name in archive.files})


class Linear:
    """logits = scale * (weight @ (input - zero_point)) + bias, in integers where weight and input are integers."""

    def __init__(self, arrays: Dict[str, Any]) -> None:
        self.weight, self.bias, self.scale = arrays["weight"], arrays["bias"], arrays["scale"]
        self.shape, self.zero_point = tuple(int(n) for n in arrays["shape"]), int(arrays["zero_point"])
        self.dtype = str(arrays["dtype"])
        self.inputs = [{"name": "input", "shape": list(self.shape), "dtype": self.dtype}]
        self.integer = self.dtype != "float32"
        self.factor = self.weight.astype(np.int32 if self.integer else np.float32)
        if self.factor.shape != (len(self.bias), int(np.prod(self.shape))):
            raise ValueError("weight of shape %s does not fit its input and bias" % (self.factor.shape,))

    def run(self, arrays: List[Any]) -> List[Any]:
        """[logits (1, classes) float32] for [input] in the artifact's own type."""
        values = arrays[0].reshape(-1)
        if self.integer:
            values = values.astype(np.int32) - self.zero_point
        return [(self.scale * (self.factor @ values) + self.bias).astype(np.float32)[None]]
