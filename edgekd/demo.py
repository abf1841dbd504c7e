"""What `edgekd demo` runs: a project on digits for all four targets, small enough for about a minute on two cores."""

from pathlib import Path
from typing import Any

from edgekd.project import Project, make_project

LIMITS = {"latency_ms": 2.0, "peak_memory_bytes": 60_000_000, "size_bytes": 300_000, "max_accuracy_drop": 0.05}
RUN_HERE = ("onnxruntime", "tflite", "openvino")


def demo_project() -> Project:
    """The project, as if read from a file in the current folder."""
    here = [{"target": target, "precisions": ["fp32", "w8a8"], **LIMITS} for target in RUN_HERE]
    phone = {"device": "iphone-15", "target": "coreml", "precisions": ["fp16", "w8"], **LIMITS}
    axes = {"width": [8, 12, 16], "growth": [1.5, 2.0], "depth": [1], "kernel": [3], "bottleneck": [0.0], "skip": [True]}
    raw: dict[str, Any] = {
        "data": {"source": "digits"},
        "teacher": {"model": "builtin:digits"},
        "distill": {"epochs": 24, "views": 4, "threads": 1},
        "students": {"family": "resnet", "axes": axes},
        "search": {"trials": 2, "rung_epochs": 5},
        "deploy": [*here, phone],
    }
    return make_project(raw, Path.cwd())
