"""The parts of a realistic `report.json` on its teacher: drawn from a seed, measured by the code that measures real ones."""

import json
from dataclasses import asdict
from typing import Any

import numpy as np

from edgekd.distill.comparison import compare as gain_of
from edgekd.fidelity.cka import embedding_similarity
from edgekd.fidelity.measures import compare, transfer_effectiveness
from edgekd.fidelity.robustness import CONDITIONS, compare_robustness

Json = dict[str, Any]
SAMPLES = 240
NO_PICTURES = "corruptions need pictures (N, C, H, W) of 4 x 4 pixels or more, found (240, 12)"


def teacher_fidelity(rng: np.random.Generator, classes: list[str], emulated: bool) -> Json:
    """A student that errs a little more often than its teacher; of the emulated one, corruptions were not possible."""
    labels = np.arange(SAMPLES) % len(classes)
    teacher = 6 * np.eye(len(classes))[labels] + rng.normal(0, 2, (SAMPLES, len(classes)))
    student = teacher + rng.normal(0, 1.2, teacher.shape)
    artifact = student + rng.normal(0, 0.05, student.shape)
    found: Json = {
        "student": asdict(compare(student, teacher, labels, tuple(classes))),
        "artifact": asdict(compare(artifact[:200], teacher[:200], labels[:200], tuple(classes))),
        "cka": asdict(embedding_similarity(student, teacher, permutations=19)),
        "robustness": None,
        "reasons": {"robustness": NO_PICTURES} if emulated else {},
        "provenance": "emulated" if emulated else "measured",
    }
    if not emulated:
        noise = np.array([severity for _, severity in CONDITIONS])[:, None]
        answers = {}
        for name, logits in (("teacher", teacher), ("student", student), ("artifact", artifact)):
            wrong = rng.random((len(CONDITIONS), SAMPLES)) < 0.1 * noise
            answers[name] = np.where(wrong, (labels + 1) % len(classes), logits.argmax(axis=1))
        found["robustness"] = asdict(compare_robustness(answers, labels))
    return as_json(found)


def honest(rng: np.random.Generator, candidate: str, curve: list[Json]) -> Json:
    """Three seeds on 2,000 samples: distillation gains two points at equal epochs, one at equal time."""
    accuracies = {"plain, equal epochs": 0.90, "plain, equal time": 0.91, "distilled": 0.92}
    luck = rng.random((3, 2000))
    right = {name: luck < accuracy for name, accuracy in accuracies.items()}
    gains = [{"against": name, **asdict(gain_of(right[name], right["distilled"]))} for name in list(accuracies)[:2]]
    return as_json(
        {
            "candidate": candidate,
            "seeds": 3,
            "epochs": 15,
            "failure": None,
            "variants": [
                {
                    "name": name,
                    "accuracies": [float(row.mean()) for row in rows],
                    "epochs": [15, 15, 15] if "time" not in name else [21, 22, 21],
                    "seconds": [31.0, 30.2, 33.9],
                    "curve": curve,
                }
                for name, rows in right.items()
            ],
            "gains": gains,
            "verdict": gains[0]["verdict"],
            "transfer_effectiveness": asdict(transfer_effectiveness(0.92, 0.90, 0.9432)),
        }
    )


def teacher_check() -> Json:
    advice = {"rule": "overconfident-teacher", "text": "it is 99 % sure and 94 % right", "next_step": "calibrate", "stop": False}
    figures = {"accuracy": 0.9448, "accuracy_low": 0.9381, "accuracy_high": 0.9508, "train_accuracy": 0.981}
    figures |= {"entropy_nats": 0.08, "entropy_share": 0.035, "ece": 0.021, "top2_margin": 7.7, "temperature": 4.2}
    return {"samples": 5000, **figures, "params_ratio": 31.5, "reference_accuracy": 0.84, "advice": [advice]}


def as_json(value: Json) -> Json:
    """As a reader of the file gets it: lists for tuples."""
    found: Json = json.loads(json.dumps(value, allow_nan=False))
    return found
