"""Pushed to devices beside the harness: runs a TFLite model. Standard library + numpy + the runtime, Python 3.8 syntax.

Takes `ai_edge_litert`, or `tflite_runtime` (older boards; it needs numpy < 2), whichever is there.
"""

from typing import Any, Dict, List, Optional

import numpy

try:
    import ai_edge_litert as runtime
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    PACKAGE = "ai-edge-litert"
except ImportError:
    import tflite_runtime as runtime
    from tflite_runtime.interpreter import Interpreter, OpResolverType

    PACKAGE = "tflite-runtime"


def version() -> Dict[str, str]:
    """Version of the runtime that was found."""
    return {PACKAGE: runtime.__version__}


OPTIONS: Dict[str, Dict[str, Any]] = {"xnnpack": {"on": None, "off": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}}


def load(path: str, threads: int, options: Optional[Dict[str, str]] = None) -> "Model":
    """The model at `path` on the CPU, on `threads` threads: by XNNPACK where that has the kernels, if not `off`."""
    kernels = OPTIONS["xnnpack"][(options or {}).get("xnnpack", "on")]
    extra = {"experimental_op_resolver_type": kernels} if kernels else {}
    interpreter = Interpreter(model_path=path, num_threads=threads, **extra)
    interpreter.allocate_tensors()
    return Model(interpreter)


class Model:
    """`inputs` says what `run` takes: arrays in that order, of that type and shape."""

    def __init__(self, interpreter: Any) -> None:
        details = interpreter.get_input_details()
        self.inputs = [
            {"name": d["name"], "shape": [int(n) for n in d["shape"]], "dtype": numpy.dtype(d["dtype"]).name} for d in details
        ]
        self._inputs = [d["index"] for d in details]
        self._outputs = [d["index"] for d in interpreter.get_output_details()]
        self._set, self._invoke, self._get = interpreter.set_tensor, interpreter.invoke, interpreter.get_tensor

    def run(self, arrays: List[Any]) -> List[Any]:
        """Outputs, in the model's order."""
        for index, array in zip(self._inputs, arrays):
            self._set(index, array)
        self._invoke()
        return [self._get(index) for index in self._outputs]
