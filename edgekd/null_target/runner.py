"""Pushed to devices beside the harness: runs an artifact of the null target. Standard library + numpy, Python 3.8 syntax."""

from typing import Any, Dict, List, Optional

import numpy as np


def version() -> Dict[str, str]:
    """Versions of the runtime: numpy is all of it."""
    return {"numpy": np.__version__}


OPTIONS = {"products": {"1": 1, "50": 50}}


def load(path: str, threads: int, options: Optional[Dict[str, str]] = None) -> "Linear":
    """The linear model in an .npz file. `threads` is accepted for the protocol; one matrix-vector product needs one.

    Option `products`: how often a query computes its product, so that there is something to compare.
    """
    products = OPTIONS["products"][(options or {}).get("products", "1")]
    with np.load(path, allow_pickle=False) as archive:
        return Linear({name: archive[name] for name in archive.files}, products)


class Linear:
    """logits = scale * (weight @ (input - zero_point)) + bias, in integers where weight and input are integers."""

    def __init__(self, arrays: Dict[str, Any], products: int = 1) -> None:
        self.products = products
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
        for _ in range(self.products):
            product = self.factor @ values
        return [(self.scale * product + self.bias).astype(np.float32)[None]]
