"""What is installed, what is missing and how to get it, what can be measured here."""

import shutil
from importlib.util import find_spec

from edgekd.bench.meters import find_meter
from edgekd.device import find_device
from edgekd.emulate.needs import examined
from edgekd.plugins import find_target, target_names

MODULES = {
    "train": ("torch", "optuna", "safetensors", "sklearn", "PIL"),
    "onnxruntime": ("onnx", "onnxscript", "onnxruntime"),
    "tflite": ("litert_torch", "ai_edge_litert", "ai_edge_quantizer"),
    "openvino": ("openvino", "nncf"),
    "coreml": ("coremltools",),
    "keras": ("tensorflow",),
    "gate": ("pytest", "pytest_benchmark"),
}

PROGRAMS = {
    "devices by ssh": ("ssh", "apt install openssh-client"),
    "devices by adb": ("adb", "apt install adb, or the platform tools of Android's SDK"),
}
"""What reaches devices → the program for it, and how to get it."""


def examine() -> list[dict[str, str]]:
    """One entry for each extra, target, meter and way to a device: name, state (ok, missing, unavailable) and what to do."""
    found = []
    for extra, modules in MODULES.items():
        missing = [module for module in modules if find_spec(module) is None]
        text = f'{", ".join(missing)} missing: pip install "edgekd[{extra}]"' if missing else ", ".join(modules)
        found.append({"name": extra, "state": "missing" if missing else "ok", "text": text})
    local = find_device("local")
    for name in target_names():
        reason = find_target(name).unmeasurable(local)
        found.append({"name": f"measure {name}", "state": "unavailable" if reason else "ok", "text": reason or "on this machine"})
    meter = find_meter(local)
    state, text = ("unavailable", meter) if isinstance(meter, str) else ("ok", meter.name)
    found.append({"name": "energy", "state": state, "text": text})
    return [*found, *_host_programs(), examined()]


def _host_programs() -> list[dict[str, str]]:
    """What reaches other devices from here."""
    found = []
    for name, (program, mend) in PROGRAMS.items():
        there = shutil.which(program)
        text = f"{program}" if there else f"{program} is not installed: {mend}"
        found.append({"name": name, "state": "ok" if there else "missing", "text": text})
    return found
