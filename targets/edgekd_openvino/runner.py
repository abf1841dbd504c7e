"""Pushed to devices beside the harness: runs an OpenVINO model. Standard library + numpy + openvino, Python 3.8 syntax."""

from typing import Any, Dict, List

import numpy as np
import openvino


def version() -> Dict[str, str]:
    """Versions of the runtime, as packages are numbered. Its CPU plugin, which it would load with a first model, is loaded."""
    openvino.Core().get_versions("CPU")
    return {"openvino": openvino.get_version().split("-")[0]}


def load(path: str, threads: int) -> "Model":
    """The model at `path` (or the .onnx, .tflite file there) on the CPU: one request at a time on `threads` threads.

    Arithmetic is float32 where the model says float: on ARM the runtime would choose float16 by itself.
    """
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    return Model(openvino.Core().compile_model(path, "CPU", options))


class Model:
    """`inputs` says what `run` takes: arrays in that order, type and shape. A free dimension reads -1."""

    def __init__(self, compiled: Any) -> None:
        self.inputs = [
            {
                "name": next(iter(sorted(port.get_names())), ""),
                "shape": [d.get_length() if d.is_static else -1 for d in port.get_partial_shape()],
                "dtype": np.dtype(port.get_element_type().to_dtype()).name,
            }
            for port in compiled.inputs
        ]
        self._infer = compiled.create_infer_request().infer
        self._outputs = range(len(compiled.outputs))

    def run(self, arrays: List[Any]) -> List[Any]:
        """Outputs, in the model's order. Inputs are read where they lie; outputs are copied, the next run reuses theirs."""
        found = self._infer(arrays, share_inputs=True)
        return [found[i] for i in self._outputs]
