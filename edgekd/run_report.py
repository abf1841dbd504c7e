"""Put `report.json` together (schema `edgekd.run/1`), and the model card beside each selected artifact."""

import platform
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekd.artifact import contract_file
from edgekd.deployment import Deployment
from edgekd.device import find_device
from edgekd.errors import storage_errors
from edgekd.outcome import Outcome, TrialRecord
from edgekd.plugins import versions
from edgekd.types import Contract, Precision

if TYPE_CHECKING:
    from edgekd.stages import Run

Record = dict[str, Any]
PACKAGES = (
    "edgekd",
    "torch",
    "numpy",
    "optuna",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "openvino",
    "nncf",
    "litert-torch",
    "ai-edge-litert",
    "ai-edge-quantizer",
    "coremltools",
)


def make_report(run: "Run", outcome: Outcome) -> Record:
    data = run.data
    sizes = {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)}
    return {
        "schema": "edgekd.run/1",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "project": run.project.raw,
        "data": {"name": data.name, **sizes, "classes": list(data.contract.classes)},
        "teacher": run.teacher or {"name": _teacher_name(run), "params": None, "accuracy": None},
        "selected": [_selected(run, *chosen) for chosen in outcome.selected],
        "infeasible": outcome.infeasible_records,
        "lost": outcome.lost_records,
        "search": _search(run, outcome),
        "tuning": outcome.tuning,
        "honest": outcome.honest,
        "advice": outcome.advice,
        "trials": [_trial(trial) for trial in outcome.trials],
        "timings_s": run.store.seconds(),
        "environment": _environment(),
    }


def _search(run: "Run", outcome: Outcome) -> Record | None:
    if outcome.shared is None:
        return None
    from edgekd.search.evidence import search_record

    return search_record(run, outcome)


def _teacher_name(run: "Run") -> str:
    return " + ".join(settings.model for settings in run.project.teachers)


def _selected(run: "Run", deployment: Deployment, trial: TrialRecord, record: Record) -> Record:
    """The entry of what ships: as measured, with the accuracies of the test split, read here for the first time."""
    precision = Precision.parse(record["precision"])
    tested = run.tested(trial.candidate, deployment, precision)
    entry = {k: v for k, v in record.items() if k not in ("correct", "failure")} | {
        "candidate": trial.candidate.id,
        "params": trial.params,
        "accuracy": tested["accuracy"],
        "fidelity": tested["fidelity"],
        "validation": record["accuracy"],
        "budget": asdict(deployment.budget),
        "operators": tested["operators"],
        "teacher_fidelity": run.fidelity(trial.candidate, deployment, precision),
    }
    return entry | run.judge(entry, deployment, run.teacher["accuracy"])


def _trial(trial: TrialRecord) -> Record:
    return {
        "candidate": trial.candidate.id,
        "family": trial.candidate.family,
        "values": trial.candidate.values,
        "params": trial.params,
        "status": trial.status,
        "failure": trial.failure,
        "screening": [r for records in trial.screening.values() for r in records],
        "rungs": trial.rungs,
        "curve": trial.curve,
        "artifacts": [{k: v for k, v in r.items() if k != "correct"} for r in trial.artifacts],
    }


def _environment() -> Record:
    local = find_device("local")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": "; ".join(local.notes) or local.arch,
        "cores": sum(local.cores),
        "packages": versions(*PACKAGES),
    }


def write_cards(run: "Run", report: Record) -> None:
    """A model card in Markdown beside each selected artifact."""
    from edgekd.report import model_card

    for entry in report["selected"]:
        artifact: Path = run.store.folder / entry["artifact"]
        contract = Contract.from_json(contract_file(artifact).read_text())
        card, written = artifact.with_name(artifact.name + ".card.md"), artifact.with_name(f".{artifact.name}.card.md")
        with storage_errors(str(card)):
            written.write_text(model_card(entry, contract, report), encoding="utf-8")
            written.replace(card)
