"""Pushed to devices beside the harness: runs an ONNX model. Standard library + numpy + onnxruntime, Python 3.8 syntax."""

import os
from typing import Any, Dict, List, Optional

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


OPTIMIZATION = {
    "disabled": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
SWITCH = {"on": True, "off": False}
OPTIONS: Dict[str, Dict[str, Any]] = {"graph-optimization": OPTIMIZATION, "spinning": SWITCH, "arena": SWITCH}


def session_options(threads: int, options: Dict[str, str]) -> Any:
    """One operator at a time, each on `threads` threads; `options` as in OPTIONS, the runtime's own where not given."""
    made = onnxruntime.SessionOptions()
    made.intra_op_num_threads = threads
    made.inter_op_num_threads = 1
    made.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    made.log_severity_level = 3
    chosen = {key: OPTIONS[key][value] for key, value in options.items()}
    made.graph_optimization_level = chosen.get("graph-optimization", OPTIMIZATION["all"])
    made.enable_cpu_mem_arena = chosen.get("arena", True)
    if "spinning" in chosen:
        made.add_session_config_entry("session.intra_op.allow_spinning", str(int(chosen["spinning"])))
    return made


def load(path: str, threads: int, options: Optional[Dict[str, str]] = None) -> "Model":
    """The model at `path` on the CPU, on `threads` threads."""
    made = session_options(threads, options or {})
    return Model(onnxruntime.InferenceSession(path, made, providers=["CPUExecutionProvider"]))


class Model:
    """`inputs` says what `run` takes: arrays in that order, type and shape. Free dimensions are left as their names."""

    def __init__(self, session: Any) -> None:
        self.inputs = [{"name": i.name, "shape": list(i.shape), "dtype": DTYPES[i.type]} for i in session.get_inputs()]
        self._run = session.run
        self._names = [i["name"] for i in self.inputs]

    def run(self, arrays: List[Any]) -> List[Any]:
        """Outputs, in the model's order."""
        outputs: List[Any] = self._run(None, dict(zip(self._names, arrays)))
        return outputs
