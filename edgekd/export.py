"""Students of a finished run, built or verified once more."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekd.console import Console
from edgekd.errors import InputError, did_you_mean
from edgekd.plugins import find_target
from edgekd.project import make_project
from edgekd.store import Store
from edgekd.types import Candidate, Precision

if TYPE_CHECKING:
    from edgekd.stages import Run

Record = dict[str, Any]


def export_student(folder: Path, candidate: str | None, target: str, precision: str, out: Path) -> Record:
    """Build a trained student of the run in `folder` for any target, into `out`, and verify it on the validation split.

    Raises:
        InputError: where the run, the student or the target is not there, or `out` is not empty.
        StageError: where a stage fails, or the artifact does not answer as its student does.
    """
    from edgekd.build import build, calibration_inputs
    from edgekd.verify import verify

    runtime, wanted = find_target(target), Precision.parse(precision)
    if precision not in runtime.precisions:
        raise InputError(f"target '{target}' has no precision '{precision}'" + did_you_mean(precision, runtime.precisions))
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty: choose another --out")
    with finished(folder) as run:
        chosen, trained = trained_student(run, candidate)
        program = run.program(chosen, trained)
        with run.store.fresh_folder(out.resolve()) as building:
            calibration = calibration_inputs(run.data, program.contract, run.seed)
            artifact = build(runtime, program, wanted, calibration, building)
            checked = verify(artifact, runtime, program, run.data.validation, others=run.data.train)
        accuracy = {"student": checked.student_accuracy, "artifact": checked.artifact_accuracy, "split": "validation"}
        return {
            "candidate": chosen.id,
            "target": target,
            "precision": precision,
            "artifact": artifact.path.relative_to(building).as_posix(),
            "sha256": artifact.sha256,
            "size_bytes": artifact.size_bytes,
            "accuracy": accuracy,
            "fidelity": asdict(checked.fidelity),
        }


def verify_selected(folder: Path, connect: str | None = None) -> list[Record]:
    """Verify what a run selected, from the files as they are now.

    With an address (`ssh:HOST`, `adb:SERIAL`) it is run there: what was selected for any device but this machine.

    Raises InputError, StageError("verify"), and DeviceError where it does not run there.
    """
    from edgekd.artifact import contract_file, sha256_of, size_of
    from edgekd.bench.transports import connected
    from edgekd.device import LOCAL, find_device
    from edgekd.device_session import DeviceSession
    from edgekd.report import read_report
    from edgekd.types import Artifact, Contract
    from edgekd.verify import verify

    report, found = read_report(folder / "report.json"), []
    entries = [entry for entry in report["selected"] if connect is None or entry["device"] != LOCAL]
    if connect is not None and not entries:
        raise InputError(f"{folder}: nothing was selected for a device other than this machine: leave --connect out")
    with finished(folder) as run, connected(connect) as transport:
        for entry in entries:
            path = _inside(folder, entry["artifact"])
            chosen, trained = trained_student(run, entry["candidate"])
            if not path.exists() or sha256_of(path) != entry["sha256"]:
                raise InputError(f"{path} is not the file that the report is about: it is gone, or was changed")
            artifact = Artifact(
                path=path,
                target=entry["target"],
                precision=Precision.parse(entry["precision"]),
                contract=Contract.from_json(contract_file(path).read_text()),
                size_bytes=size_of(path),
                sha256=entry["sha256"],
                parent=trained["sha256"],
                tools={},
            )
            target, session = find_target(entry["target"]), None
            if transport is not None:
                contract = target.contract(path)
                session = DeviceSession(path, contract, find_device(entry["device"]), target=target, transport=transport)
            checked = verify(
                artifact,
                target,
                run.program(chosen, trained),
                run.data.validation,
                others=run.data.train,
                session=session,
            )
            accuracy = {"student": checked.student_accuracy, "artifact": checked.artifact_accuracy, "split": "validation"}
            found.append({"artifact": entry["artifact"], "accuracy": accuracy, "fidelity": asdict(checked.fidelity)})
    return found


@contextmanager
def finished(folder: Path) -> Iterator["Run"]:
    """A run's data, family and store, without its teacher."""
    from edgekd.prepare_run import prepare_run

    if not (folder / "run.sqlite").is_file():
        raise InputError(f"{folder} holds no run; make one with: edgekd distill project.toml --out {folder}")
    store = Store(folder)
    try:
        yield prepare_run(make_project(*store.project()), store, Console(), ())
    finally:
        store.close()


def trained_student(run: "Run", name: str | None) -> tuple[Candidate, Record]:
    """A fully trained student by its id; the last one where none is named."""
    trained = {_candidate(r).id: r for r in run.store.units("distil") if r["failure"] is None and r["stage"] == "final"}
    if not trained:
        raise InputError(f"{run.store.folder} has no fully trained student yet: let its run end first")
    if name is not None and name not in trained:
        raise InputError(f"{run.store.folder} has no trained student '{name}'" + did_you_mean(name, trained))
    record = trained[name or next(reversed(trained))]
    return _candidate(record), record


def _candidate(record: Record) -> Candidate:
    return Candidate.of(record["candidate"]["family"], record["candidate"]["values"])


def _inside(folder: Path, name: str) -> Path:
    """A path of a report, which is data from anywhere: it must not lead out of the run's folder."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise InputError(f"report.json: artifact '{name}' lies outside the run's folder")
    return path


__all__ = ["export_student", "finished", "trained_student", "verify_selected"]
