"""The part of a realistic report on the search: a supernet of 162 students, three deployments, made by the real functions."""

from dataclasses import asdict, replace
from itertools import product
from typing import Any

import numpy as np

from edgekd.search.front import Figure, Point, figures_record, fits
from edgekd.search.hypervolume import over_time, reference_of
from edgekd.search.ranking import Pair, ranking
from edgekd.search.why import explain
from edgekd.types import Budget, Candidate, Provenance

Json = dict[str, Any]
AXES: dict[str, list[Any]] = {"width": [8, 12, 16], "depth": [1, 2, 3], "kernel": [3, 5], "expansion": [2, 3, 4]}
AXES |= {"activation": ["relu", "hard-swish", "relu6"]}
SAMPLES = 5_000
MEASURED = 40
TIGHT_MS = 0.14
"""The local deployment's latency: a limit that binds."""


def candidates() -> list[Candidate]:
    return [Candidate.of("mbconv", dict(zip(AXES, values, strict=True))) for values in product(*AXES.values())]


def params_of(candidate: Candidate) -> int:
    v = candidate.values
    return int(v["depth"]) * int(v["width"]) ** 2 * int(v["expansion"]) * 12 + int(v["kernel"]) ** 2 * 40 + 2_000


def search_part(budgets: dict[tuple[str, str], Json], precisions: dict[str, tuple[str, ...]], seed: int = 0) -> Json:
    """`report["search"]` for these deployments; the same for the same seed."""
    rng = np.random.default_rng(seed)
    everyone = candidates()
    accuracies = {c: 0.945 - 0.9 * params_of(c) ** -0.35 + float(rng.normal(0, 0.002)) for c in everyone}
    rated = [
        {"candidate": c.id, "values": c.values, "params": params_of(c), "accuracy": accuracies[c], "loss": 1.1 - accuracies[c]}
        for c in everyone
    ]
    chosen = rng.permutation(len(everyone))[:10]
    pairs = [
        Pair(candidate=everyone[n].id, supernet=accuracies[everyone[n]], alone=accuracies[everyone[n]] + rng.normal(0.01, 0.002))
        for n in chosen
    ]
    return {
        "method": "supernet",
        "space": {"axes": AXES, "candidates": len(everyone), "coupled": True},
        "supernet": _supernet(rng, everyone[-1]),
        "rated": rated,
        "deployments": [
            _deployment(rng, accuracies, device, target, precisions[target][0], budget)
            for (device, target), budget in budgets.items()
        ],
        "ranking": ranking(pairs, rng),
    }


def _supernet(rng: np.random.Generator, largest: Candidate) -> Json:
    curve = [
        {
            "epoch": e,
            "loss": float(2.4 * np.exp(-e / 4) + 0.4),
            "accuracy": float(0.93 - 0.3 * np.exp(-e / 3) + rng.normal(0, 0.002)),
            "agreement": float(0.95 - 0.3 * np.exp(-e / 3)),
            "seconds": 31.0,
        }
        for e in range(1, 16)
    ]
    rollbacks = [{"step": 1_240, "cause": "loss 38.1 is far above its mean 0.61; the rate is halved"}]
    return {
        "candidate": largest.id,
        "params": params_of(largest),
        "epochs": 15,
        "seconds": 465.0,
        "curve": curve,
        "rollbacks": rollbacks,
    }


def _deployment(
    rng: np.random.Generator, accuracies: dict[Candidate, float], device: str, target: str, precision: str, limits: Json
) -> Json:
    """Every student, 40 of them measured; Core ML's latency cannot be had, so only its size can."""
    order = [list(accuracies)[n] for n in rng.permutation(len(accuracies))]
    points = [
        _point(rng, candidate, accuracies[candidate], precision, target, measured=rank < MEASURED)
        for rank, candidate in enumerate(order)
    ]
    budget = Budget(**{name: value for name, value in limits.items() if name != "max_accuracy_drop"})
    budget = replace(budget, latency_ms=TIGHT_MS) if device == "local" else budget
    axis = "latency_ms" if "latency_ms" in points[0].figures else "size_bytes"
    sure = [p for p in points[:MEASURED] if fits(p, budget, least_accuracy=0.0)]
    selected = max(sure, key=lambda p: p.accuracy)
    front = sorted(points, key=lambda p: p.figures[axis].value)
    return {
        "device": device,
        "target": target,
        "precision": precision,
        "selected": selected.id,
        "budget": asdict(budget),
        "predictor": None if axis == "size_bytes" else {"measured": MEASURED, "interval_error": 0.031},
        "front": [
            {"candidate": p.id, "precision": p.precision, "accuracy": p.accuracy, "figures": figures_record(p)} for p in front
        ],
        "hypervolume": over_time(points[:MEASURED], axis, reference_of(points[:MEASURED], axis, budget, chance=0.1)),
        "hypervolume_limit": axis,
        "why": explain(points, selected.candidate, budget, precision=precision, samples=SAMPLES, least_accuracy=0.0),
    }


def _point(rng: np.random.Generator, candidate: Candidate, accuracy: float, precision: str, target: str, measured: bool) -> Point:
    params, figures = params_of(candidate), {}
    if target != "coreml":
        true = (0.08 + params / 3.2e5) * (3.1 if target == "tflite" else 1.0)
        guess = true * float(1 + rng.normal(0, 0.03))
        predicted = Figure(value=guess, low=0.94 * guess, high=1.06 * guess, provenance=Provenance.PREDICTED)
        figures["latency_ms"] = Figure.measured(true) if measured else predicted
        figures["peak_memory_bytes"] = Figure.measured(2_000_000.0 + 300 * params)
    figures["size_bytes"] = Figure.measured(4.0 * params + 17_000)
    return Point(candidate=candidate, params=params, accuracy=accuracy, precision=precision, figures=figures)
