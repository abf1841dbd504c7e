"""Pushed to devices beside the harness: runs an OpenVINO model. Standard library + numpy + openvino, Python 3.8 syntax."""

from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import openvino


def version() -> Dict[str, str]:
    """Versions of the runtime, as packages are numbered. Its CPU plugin, which it would load with a first model, is loaded."""
    openvino.Core().get_versions("CPU")
    return {"openvino": openvino.get_version().split("-")[0]}


OPTIONS: Dict[str, Dict[str, Any]] = {
    "hint": {"latency": "LATENCY", "throughput": "THROUGHPUT"},
    "arithmetic": {"f32": "f32", "f16": "f16", "bf16": "bf16"},
    "pinning": {"on": True, "off": False},
}
PROPERTIES = {"hint": "PERFORMANCE_HINT", "arithmetic": "INFERENCE_PRECISION_HINT", "pinning": "ENABLE_CPU_PINNING"}


def compiled(path: str, threads: int, options: Dict[str, str], **properties: Any) -> Any:
    """The model compiled for the CPU: one request at a time on `threads` threads; `options` as in OPTIONS.

    Arithmetic is float32 where the model says float, if not asked otherwise: on ARM, and where the processor has
    bfloat16, the runtime would choose a shorter type by itself.
    """
    chosen = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    chosen.update({PROPERTIES[key]: OPTIONS[key][value] for key, value in options.items()})
    return openvino.Core().compile_model(path, "CPU", dict(chosen, **properties))


def load(path: str, threads: int, options: Optional[Dict[str, str]] = None) -> "Model":
    """The model at `path` (or the .onnx, .tflite file there) on the CPU, on `threads` threads."""
    return Model(compiled(path, threads, options or {}))


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
        self._request = compiled.create_infer_request()
        self._bound: Sequence[Any] = ()

    def run(self, arrays: List[Any]) -> List[Any]:
        """Outputs, in the model's order. Inputs are read where they lie; outputs are copied, the next run reuses theirs.

        Arrays that were given before are still bound: to give them to `infer` takes 45 us, which is Python's time.
        """
        if not same(arrays, self._bound):
            self._bound = tuple(arrays)
            for index, array in enumerate(arrays):
                shareable = np.require(array, requirements=["C", "W"])
                self._request.set_input_tensor(index, openvino.Tensor(shareable, shared_memory=True))
        return list(self._request.infer().to_tuple())


def same(ones: Sequence[Any], others: Sequence[Any]) -> bool:
    return len(ones) == len(others) and all(one is other for one, other in zip(ones, others))
