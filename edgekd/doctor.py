"""What is installed, what is missing and how to get it, what can be measured here."""

from importlib.util import find_spec

from edgekd.bench.meters import Rapl
from edgekd.device import find_device
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


def examine() -> list[dict[str, str]]:
    """One entry for each extra, target and meter: name, state (ok, missing, unavailable) and what to do."""
    found = []
    for extra, modules in MODULES.items():
        missing = [module for module in modules if find_spec(module) is None]
        text = f'{", ".join(missing)} missing: pip install "edgekd[{extra}]"' if missing else ", ".join(modules)
        found.append({"name": extra, "state": "missing" if missing else "ok", "text": text})
    local = find_device("local")
    for name in target_names():
        reason = find_target(name).unmeasurable(local)
        found.append({"name": f"measure {name}", "state": "unavailable" if reason else "ok", "text": reason or "on this machine"})
    reason = Rapl().unavailable(local)
    return [*found, {"name": "energy", "state": "unavailable" if reason else "ok", "text": reason or "RAPL"}]
