"""A realistic `report.json`, drawn from a seed: three deployments (one of them Core ML off a Mac), one infeasible."""

import hashlib
from typing import Any

import numpy as np
from report_search import search_part
from report_teaching import honest, teacher_check, teacher_fidelity

Json = dict[str, Any]
LOCAL: Json = {
    "latency_ms": 0.4,
    "latency_percentile": 90,
    "peak_memory_bytes": 20_000_000,
    "size_bytes": 300_000,
    "energy_mj": None,
}
PHONE: Json = {"latency_ms": 1.5, "latency_percentile": 90, "peak_memory_bytes": None, "size_bytes": 150_000, "energy_mj": 2.0}
APPLE: Json = {"latency_ms": 1.0, "latency_percentile": 90, "peak_memory_bytes": None, "size_bytes": 140_000, "energy_mj": None}
DEPLOYMENTS: dict[tuple[str, str], Json] = {
    ("local", "onnxruntime"): {**LOCAL, "min_accuracy": 0.9, "max_accuracy_drop": 0.02},
    ("pixel-8", "tflite"): {**PHONE, "min_accuracy": None, "max_accuracy_drop": 0.02},
    ("iphone-15", "coreml"): {**APPLE, "min_accuracy": None, "max_accuracy_drop": 0.03},
}
PRECISIONS = {"onnxruntime": ("fp32", "w8a8"), "tflite": ("fp32", "w8a8"), "coreml": ("fp16", "w8")}
SUFFIX = {"onnxruntime": "onnx", "tflite": "tflite", "coreml": "mlpackage"}
CLASSES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
FAILURES = [
    {"stage": "convert", "cause": "no decomposition for aten.roll at layer features.3", "hint": "choose a family without roll"},
    {"stage": "verify", "cause": "17 of 1,000 answers differ beyond the margin", "hint": ""},
]
OFF_A_MAC = "Core ML runs only on Apple hardware; connect a Mac or an iPhone"
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>`|\n# [x](javascript:y) {{ 7*7 }} </script>"


def report_document(seed: int = 0, trials: int = 12, shared: bool = False) -> Json:
    """A whole report of schema `edgekd.run/1`; the same for the same seed. `shared` adds the search with one supernet."""
    rng = np.random.default_rng(seed)
    entries = [_trial(rng, number, trials) for number in range(trials)]
    best = max((e for e in entries if e["status"] == "trained"), key=lambda e: e["rungs"][-1]["accuracy"])
    best["status"] = "selected"
    return {
        "schema": "edgekd.run/1",
        "created": "2026-03-14T15:09:26Z",
        "project": {
            "data": {"source": "fashion-mnist"},
            "teacher": {"model": "teacher:resnet", "weights": "teacher.safetensors"},
            "distill": {"losses": [{"name": "soft_targets", "weight": 0.9, "temperature": 4.0}], "epochs": 15},
            "search": {"trials": trials, "seed": seed},
            "deploy": [{"device": device, "target": target, **budget} for (device, target), budget in DEPLOYMENTS.items()],
        },
        "data": {"name": "fashion-mnist", "train": 55_000, "validation": 5_000, "test": 10_000, "classes": CLASSES},
        "teacher": {
            "name": "teacher:resnet",
            "params": 701_466,
            "accuracy": 0.9432,
            "validation_accuracy": 0.9448,
            "runtime": "onnxruntime",
            "check": teacher_check(),
        },
        "selected": [_selected(rng, best, device, target) for device, target in DEPLOYMENTS],
        "infeasible": [
            {
                "device": "pi-zero",
                "target": "openvino",
                "limit": "latency_ms",
                "smallest": 3.1,
                "text": "smallest reachable 3.1 ms, budget 0.5 ms",
            }
        ],
        "honest": [honest(rng, best["candidate"], best["curve"])],
        "advice": [
            {"candidate": best["candidate"], "rule": "student-beats-teacher", "text": "0.95 to 0.94", "next_step": "change it"}
        ],
        **({"search": search_part(DEPLOYMENTS, PRECISIONS, seed)} if shared else {}),
        "trials": entries,
        "timings_s": {
            "teacher": 61.4,
            "screen": 96.0,
            "distil": 1843.2,
            "convert": 141.0,
            "quantize": 66.5,
            "verify": 48.9,
            "profile": 77.1,
        },
        "environment": {
            "python": "3.11.9",
            "platform": "Linux-6.1-x86_64",
            "cpu": "Xeon at 2.5 GHz",
            "cores": 2,
            "packages": {"edgekd": "0.1.0", "torch": "2.13.0", "onnxruntime": "1.32.0"},
        },
    }


def _latency(rng: np.random.Generator, params: int, target: str, precision: str, n: int = 600) -> tuple[Json, list[float]]:
    if target == "coreml":
        return {"p50": None, "p90": None, "n": 0, "provenance": "unavailable", "reason": OFF_A_MAC}, []
    base = (0.08 + params / 3.2e5) * (3.1 if target == "tflite" else 1.0) * (1.4 if precision == "w8a8" else 1.0)
    values = np.round(base * (1 + rng.gamma(2.0, 0.02, n)) + (rng.random(n) < 0.02) * base * 0.7, 6)
    stats = {
        "p50": float(np.median(values)),
        "p90": float(np.sort(values)[int(np.ceil(0.9 * n)) - 1]),
        "n": n,
        "provenance": "measured",
    }
    if target == "onnxruntime":
        stats["p99"] = float(np.sort(values)[int(np.ceil(0.99 * n)) - 1])
    return stats, [float(v) for v in values]


def _memory(params: int, target: str) -> Json:
    if target == "coreml":
        return {"value": None, "provenance": "unavailable", "reason": OFF_A_MAC}
    return {"value": 5_000_000 + 30 * params, "provenance": "measured"}


def _energy(target: str) -> Json:
    if target == "tflite":
        return {"value": 1.37, "provenance": "modelled", "reason": "power profile of the big cluster, from the data sheet"}
    return {"value": None, "provenance": "unavailable", "reason": "no energy counter that this user may read"}


def _size(params: int, precision: str) -> int:
    return int(params * {"fp32": 4.0, "fp16": 2.0}.get(precision, 1.1) + 17_000)


def _fidelity(rng: np.random.Generator, precision: str, accuracy: float) -> Json:
    coarse = precision.startswith("w8")
    return {
        "samples": 2_000,
        "max_abs_error": float(rng.uniform(0.2, 0.5)) if coarse else 3.1e-6,
        "max_abs_logit": 14.2,
        "snr_db": float(rng.uniform(28, 35)) if coarse else 118.0,
        "agreement": 0.991 if coarse else 1.0,
        "margin_disagreements": 0,
        "accuracy": accuracy,
    }


def _built(rng: np.random.Generator, trial: Json, device: str, target: str, precision: str) -> Json:
    latency, values = _latency(rng, trial["params"], target, precision)
    student = trial["rungs"][-1]["accuracy"]
    accuracy = round(student - (0.004 if precision.startswith("w8") else 0.0), 4)
    budget, size = DEPLOYMENTS[device, target], _size(trial["params"], precision)
    fits = (latency["p90"] or 0) <= budget["latency_ms"] and size <= budget["size_bytes"]
    path = f"artifacts/{trial['candidate']}/{target}/{precision}.{SUFFIX[target]}"
    return {
        "device": device,
        "target": target,
        "precision": precision,
        "artifact": path,
        "sha256": hashlib.sha256(path.encode()).hexdigest(),
        "accuracy": {"student": student, "artifact": accuracy, "split": "validation"},
        "latency_ms": latency,
        "values": {"latency_ms": values},
        "peak_memory_bytes": _memory(trial["params"], target),
        "size_bytes": size,
        "energy_mj": _energy(target),
        "fidelity": _fidelity(rng, precision, accuracy),
        "within_budget": fits,
        "unmeasured": ["latency_ms"] if target == "coreml" else [],
        "failure": None,
    }


def _curve(rng: np.random.Generator, ceiling: float, epochs: int) -> list[Json]:
    steps = np.arange(1, epochs + 1)
    accuracy = ceiling - 0.25 * np.exp(-steps / 2.5) + rng.normal(0, 0.002, epochs)
    return [
        {
            "epoch": int(e),
            "loss": float(2.4 * np.exp(-e / 4) + 0.35),
            "accuracy": round(float(a), 4),
            "agreement": round(float(a) + 0.02, 4),
            "seconds": 11.2,
            "gradient_ratios": {"soft_targets": float(3.0 + np.exp(-e)), "features <b>": None if e == 1 else 0.4},
        }
        for e, a in zip(steps, accuracy, strict=True)
    ]


def _trial(rng: np.random.Generator, number: int, total: int) -> Json:
    width, depth = int(rng.integers(8, 33)), int(rng.integers(1, 5))
    values = {"width": width, "depth": depth, "kernel": int(rng.choice([3, 5])), "skip": bool(rng.random() < 0.5)}
    params = 110 * width * depth + 900 * width
    status = "screened-out" if params > 36_000 else "failed" if number % 5 == 3 else "pruned" if number % 4 == 1 else "trained"
    name = f"mbconv-{hashlib.sha256(repr((number, values)).encode()).hexdigest()[:10]}"
    trial: Json = {"candidate": name, "family": "mbconv", "values": values, "params": params, "status": status, "failure": None}
    trial |= {"screening": [], "rungs": [], "curve": [], "artifacts": []}
    for (device, target), budget in DEPLOYMENTS.items():
        latency, _ = _latency(rng, params, target, PRECISIONS[target][0], n=60)
        fits = (latency["p90"] or 0) <= budget["latency_ms"]
        figures = {
            "latency_ms": latency,
            "peak_memory_bytes": _memory(params, target),
            "size_bytes": _size(params, "fp32"),
            "fits": fits,
        }
        trial["screening"].append({"device": device, "target": target, "precision": PRECISIONS[target][0], **figures})
    if status == "failed":
        trial["failure"] = FAILURES[number % len(FAILURES)]
    if status in ("trained", "pruned"):
        epochs = 15 if status == "trained" else 3
        trial["curve"] = _curve(rng, 0.925 + 0.012 * np.log10(params / 1e4), epochs)
        trial["rungs"] = [{"epochs": e, "accuracy": trial["curve"][e - 1]["accuracy"]} for e in (3, 15) if e <= epochs]
    if status == "trained":
        trial["artifacts"] = [_built(rng, trial, d, t, p) for d, t in DEPLOYMENTS for p in PRECISIONS[t]]
    return trial


def _selected(rng: np.random.Generator, trial: Json, device: str, target: str) -> Json:
    built = next(a for a in trial["artifacts"] if (a["device"], a["target"]) == (device, target))
    accuracy = {**built["accuracy"], "split": "test"}
    entry = {key: value for key, value in built.items() if key != "failure"}
    return {
        **entry,
        "candidate": trial["candidate"],
        "params": trial["params"],
        "accuracy": accuracy,
        "budget": DEPLOYMENTS[device, target],
        "within_budget": True,
        "teacher_fidelity": teacher_fidelity(rng, CLASSES, target == "coreml"),
        "operators": {"Conv": 24, "Add": 4, "GlobalAveragePool": 1, "Gemm": 1},
        "conditions": {"threads": 1, "runtime": f"{target} 1.32.0", "governor": "performance", "temperature_c": 41.5},
        "warnings": ["the clock drifted by 3 % during the run; close other programs and measure again"]
        if target == "tflite"
        else [],
    }


def hostile(value: Any) -> Any:
    """The document with every free text replaced by one that attacks; what links parts of it stays."""
    fixed = {"schema", "provenance", "status", "split", "limit"}
    if isinstance(value, dict):
        return {k: v if k in fixed else hostile(v) for k, v in value.items()}
    if isinstance(value, list):
        return [hostile(v) for v in value]
    return HOSTILE if isinstance(value, str) else value
