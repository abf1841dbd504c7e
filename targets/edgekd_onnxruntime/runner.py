"""Pushed to devices beside the harness: runs an ONNX model. Standard library + numpy + onnxruntime, Python 3.8 syntax."""

import os
from typing import Any, Dict, List

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else 1.29 and later send model names home, from a thread of their own

import onnxruntime

DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int16)": "int16",
    "tensor(uint16)": "uint16",
    "tensor(int32)": "int32",
    "tensor(uint32)": "uint32",
    "tensor(int64)": "int64",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
}


def version() -> Dict[str, str]:
    """Versions of the runtime."""
    return {"onnxruntime": onnxruntime.__version__}


def load(path: str, threads: int) -> "Model":
    """The model at `path` on the CPU, one operator at a time, each on `threads` threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    return Model(onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]))


class Model:
    """`inputs` says what `run` takes: arrays in that order, type and shape. Free dimensions are left as their names."""

    def __init__(self, session: Any) -> None:
        self.inputs = [{"name": i.name, "shape": list(i.shape), "dtype": DTYPES[i.type]} for i in session.get_inputs()]
        self._run = session.run
        self._names = [i["name"] for i in self.inputs]

    def run(self, arrays: List[Any]) -> List[Any]:
        """Outputs, in the model's order."""
        outputs: List[Any] = self._run(None, dict(zip(self._names, arrays)))  # noqa: B905 (Python 3.8)
        return outputs
