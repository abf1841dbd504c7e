"""A project with a supernet on digits for two deployments, and what is read off its runs."""

import json
import tomllib
from pathlib import Path
from typing import Any

from edgekd.project import Project, make_project

PROJECT = """
[data]
source = "digits"
[teacher]
model = "builtin:digits"
[distill]
epochs = 16
views = 2
threads = 1
[students]
family = "resnet"
axes = { width = [4, 8] }
[search]
method = "supernet"
measured = 9
fine_tuning_epochs = 2
[[deploy]]
target = "onnxruntime"
precisions = ["fp32"]
latency_ms = 50.0
size_bytes = 40_000
[[deploy]]
device = "x86-64-avx2"
target = "onnxruntime"
precisions = ["fp32"]
size_bytes = 22_000
"""


def project(*changes: tuple[str, str]) -> Project:
    text = PROJECT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return make_project(tomllib.loads(text), Path.cwd())


def read(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "report.json").read_text())
    return found


def chosen(report: dict[str, Any]) -> list[tuple[str, str]]:
    return [(entry["candidate"], entry["sha256"]) for entry in report["selected"]]
