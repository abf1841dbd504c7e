"""What `edgekd demo` runs: a project on digits for all four targets, small enough for about a minute on two cores."""

import tomllib
from pathlib import Path

from edgekd.project import Project, make_project

DEMO = """
[data]
source = "digits"
[teacher]
model = "builtin:digits"
[distill]
losses = [{ name = "soft_targets", weight = 0.9, temperature = 4.0 }]
task_weight = 0.1
epochs = 24
views = 4
threads = 1
[students]
family = "resnet"
axes = { width = [8, 12, 16], growth = [1.5, 2.0], depth = [1], kernel = [3], bottleneck = [0.0], skip = [true] }
[search]
trials = 2
rung_epochs = 5
[[deploy]]
target = "onnxruntime"
precisions = ["fp32", "w8a8"]
latency_ms = 2.0
peak_memory_bytes = 60_000_000
size_bytes = 300_000
max_accuracy_drop = 0.05
[[deploy]]
target = "tflite"
precisions = ["fp32", "w8a8"]
latency_ms = 2.0
peak_memory_bytes = 60_000_000
size_bytes = 300_000
max_accuracy_drop = 0.05
[[deploy]]
target = "openvino"
precisions = ["fp32", "w8a8"]
latency_ms = 2.0
peak_memory_bytes = 60_000_000
size_bytes = 300_000
max_accuracy_drop = 0.05
[[deploy]]
device = "iphone-15"
target = "coreml"
precisions = ["fp16", "w8"]
latency_ms = 2.0
size_bytes = 300_000
max_accuracy_drop = 0.05
"""


def demo_project() -> Project:
    return make_project(tomllib.loads(DEMO), Path.cwd())
