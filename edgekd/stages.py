"""One run: what its stages share, and the stages themselves as recorded units of work.

`pipeline.py` says in which order they happen; each method here does one and remembers it in the store.
"""

import tempfile
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from edgekd.bench.measure import profile_record
from edgekd.bench.procedure import profile
from edgekd.bench.settings import Settings
from edgekd.bench.transports.faults import OF_THE_RUN, DeviceFault
from edgekd.build import FLOAT, build, calibration_inputs, from_record, moved, to_record
from edgekd.data import Split
from edgekd.deployment import Deployment
from edgekd.distill.recipe import Recipe, Scheme
from edgekd.distill.schemes import find_scheme
from edgekd.distill.stage import Stage
from edgekd.errors import StageError
from edgekd.fidelity_report import artifact_fidelity, student_fidelity
from edgekd.lab.results import keep
from edgekd.run_state import RunState
from edgekd.search.budget import figures, least_accuracy, leeway_of, over_budget, unmeasured, with_least_leeway
from edgekd.search.proposer import Trial
from edgekd.search.supernet import Supernet
from edgekd.students.program import build_student, lifelike, make_program
from edgekd.target import Program
from edgekd.types import Artifact, Candidate, Precision, Provenance
from edgekd.verify import verify

Record = dict[str, Any]
TRIES = 2
"""Of a run that fails on a device that answers: once may be the moment's fault."""


def failure_record(error: StageError) -> Record:
    return {"stage": error.stage, "cause": error.cause, "hint": error.hint}


@dataclass(kw_only=True)
class Run(RunState):
    """The stages of one run."""

    @cached_property
    def supernet(self) -> Supernet | None:
        """Where the project lets all students train together."""
        return Supernet(run=self) if self.project.search.method == "supernet" else None

    # Screening -----------------------------------------------------------------------------------------------------

    def screen(self, candidate: Candidate, deployment: Deployment) -> list[Record]:
        """Figures of the untrained candidate, precision by precision until one fits the budget. Fails as a record."""
        found = []
        for precision in deployment.precisions:
            found.append(self.screen_one(candidate, deployment, precision))
            if found[-1]["fits"]:
                break
        return found

    def screen_one(self, candidate: Candidate, deployment: Deployment, precision: Precision) -> Record:
        """Figures of the untrained candidate in one precision, and whether they fit the budget."""
        key = {**deployment.key, "candidate": candidate.id, "precision": str(precision)}
        record: Record = self.store.once("screen", key, lambda: self._screen(candidate, deployment, precision))
        record |= {"device": deployment.device.name, "target": deployment.target.name, "precision": str(precision)}
        record["fits"] = record["failure"] is None and not over_budget(with_least_leeway(record), deployment.budget)
        return record

    def _screen(self, candidate: Candidate, deployment: Deployment, precision: Precision) -> Record:
        module = lifelike(build_student(self.family, candidate, self.data.contract, self.seed), self.seed)
        program = make_program(module, candidate, self.data.contract)
        calibration = calibration_inputs(self.data, program.contract, self.seed)
        try:
            with tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
                artifact = build(deployment.target, program, precision, calibration, Path(folder))
                return {**self._measured(artifact, deployment, Settings.quick(self.seed)), "failure": None}
        except StageError as error:
            return {"failure": failure_record(error)}

    def _measured(self, artifact: Artifact, deployment: Deployment, settings: Settings) -> Record:
        """Figures of an artifact on its device. What fails again and again while the device answers is the artifact's fault.

        Raises StageError for that, DeviceError where the device is lost or cannot measure at all.
        """
        faults = []
        for _ in range(TRIES):
            try:
                return self._profile(artifact, deployment, settings)
            except DeviceFault as fault:
                if fault.cause not in OF_THE_RUN:
                    raise
                faults.append(fault)
        hint = f"try it alone: edgekd bench {artifact.path.name}"
        raise StageError("profile", f"{faults[-1].cause}, {TRIES} times: {faults[-1]}", hint) from faults[-1]

    def _profile(self, artifact: Artifact, deployment: Deployment, settings: Settings) -> Record:
        transport, device, target = deployment.transport(), deployment.device.name, deployment.target.name
        with nullcontext() if transport is None else closing(transport):
            record = profile_record(
                profile(
                    artifact,
                    deployment.device,
                    target=deployment.target,
                    transport=transport,
                    threads=deployment.threads,
                    settings=settings,
                )
            )
        keep(record, device=device, target=target, sha256=artifact.sha256, address=deployment.connect)
        return record

    # Training ------------------------------------------------------------------------------------------------------

    def train(
        self, candidate: Candidate, stage: str, epochs: int, trial: Trial | None = None, recipe: Recipe | None = None
    ) -> Record:
        """Weights file, curve and accuracy of the candidate after `epochs`; a stopped or failed one says so.

        A rung ranks candidates by a short direct training; the final one follows the project's scheme. `recipe` is tried in
        place of the project's. `pilot` in the record is what decided on losses on feature maps, where something had to.
        """
        told: set[int] = set()

        def on_epoch(epoch: int, accuracy: float) -> bool:
            told.add(epoch)
            return trial is not None and trial.report(epoch, accuracy)

        try:
            stages = self.stages_for(candidate, stage, epochs, recipe)
        except StageError as error:
            return {"failure": failure_record(error), "curve": [], "stopped": "", "stage": stage}
        result = self.training.run(stages, stage, on_epoch)
        for point in result["curve"]:
            # A recorded training is told to the sampler as if it ran now: the search goes on as it would have.
            if point["epoch"] not in told:
                on_epoch(point["epoch"], point["accuracy"])
        return {**result, "pilot": self.pilots.found.get(candidate.id) if stage == "final" else None}

    def stages_for(self, candidate: Candidate, stage: str, epochs: int, recipe: Recipe | None = None) -> tuple[Stage, ...]:
        if self.supernet is not None and stage == "final":
            return self.supernet.finalist(candidate)
        recipe = recipe or (self.recipe if stage == "final" else self.project.distill)
        scheme = recipe.scheme if stage == "final" else Scheme()
        fitting = self.pilots.fitting(candidate, replace(recipe, epochs=epochs), final=stage == "final")
        return find_scheme(scheme.name, scheme.numbers)(self.plan(candidate, fitting))

    def program(self, candidate: Candidate, trained: Record) -> Program:
        """The trained student, read back from its weights file."""
        return make_program(self.training.module(candidate, trained), candidate, self.data.contract)

    # Artifacts -----------------------------------------------------------------------------------------------------

    def artifact(self, candidate: Candidate, trained: Record, deployment: Deployment, precision: Precision) -> Record:
        """Build, verify and profile one artifact of a trained candidate; what failed is in `failure`."""
        names = {"device": deployment.device.name, "target": deployment.target.name, "precision": str(precision)}
        try:
            built, checked = self.verified(candidate, trained, deployment, precision)
            key = {**deployment.key, "candidate": candidate.id, "precision": str(precision), "stage": "final"}
            measured = self.store.once(
                "profile", key, lambda: self._measured(from_record(built, self.store.folder), deployment, self.settings)
            )
        except StageError as error:
            return {**names, "failure": failure_record(error)}
        record = {
            **names,
            "failure": None,
            "artifact": built["path"],
            "sha256": built["sha256"],
            "tools": built["tools"],
            "accuracy": checked["accuracy"],
            "fidelity": checked["fidelity"],
            "correct": checked["correct"],
            **measured,
            "size_bytes": built["size_bytes"],
        }
        return record | self.judge(record, deployment, self.teacher_accuracy)

    def verified(
        self, candidate: Candidate, trained: Record, deployment: Deployment, precision: Precision
    ) -> tuple[Record, Record]:
        """The built artifact, and how it answers on the validation split. Raises StageError where either fails."""
        built = self._built(candidate, trained, deployment, precision)
        return built, self._checked(candidate, trained, deployment, built, "validation")

    def confirm(self, record: Record, candidate: Candidate, deployment: Deployment) -> Record:
        """What a second measurement, in new processes, changes in the record of an artifact that is about to be selected.

        Of several artifacts just within budget, the one that happened to measure low would be chosen. So the slower figures ship,
        the others are kept as `confirmed`, and the budget must be held by as much as the two differ.
        """
        if not record["values"]["latency_ms"]:
            return {}
        key = {**deployment.key, "candidate": candidate.id, "precision": record["precision"], "stage": "confirm"}
        trained = self.train(candidate, "final", self.project.distill.epochs)
        built = self._built(candidate, trained, deployment, Precision.parse(record["precision"]))
        try:
            again = self.store.once(
                "profile", key, lambda: self._measured(from_record(built, self.store.folder), deployment, self.settings)
            )
        except StageError as error:
            return {"within_budget": False, "failure": failure_record(error)}
        again |= {"size_bytes": record["size_bytes"]}
        budget = deployment.budget
        slower, other = sorted((again, record), key=lambda r: -(figures(r, budget)["latency_ms"] or 0.0))
        changed = {name: slower[name] for name in again}
        if not over_budget({**record, **changed}, budget):
            changed["leeway"] = leeway_of(record, again, budget)
        within = record["within_budget"] and not over_budget({**record, **changed}, budget)
        confirmed = {"latency_ms": other["latency_ms"], "peak_memory_bytes": other["peak_memory_bytes"]}
        return {**changed, "confirmed": confirmed, "within_budget": within}

    def tested(self, candidate: Candidate, deployment: Deployment, precision: Precision) -> Record:
        """Accuracy and fidelity of a selected artifact on the test split, and its operators."""
        trained = self.train(candidate, "final", self.project.distill.epochs)
        built = self._built(candidate, trained, deployment, precision)
        operators = deployment.target.operators(self.store.folder / built["path"])
        return {**self._checked(candidate, trained, deployment, built, "test"), "operators": operators}

    def fidelity(self, candidate: Candidate, deployment: Deployment, precision: Precision) -> Record:
        """What of the teacher is in a selected artifact and in its student, on the test split."""
        trained = self.train(candidate, "final", self.project.distill.epochs)
        built = self._built(candidate, trained, deployment, precision)
        artifact, target = from_record(built, self.store.folder), deployment.target
        training, program = self.training, self.program(candidate, trained)
        teachers = [cache.folder.name for cache in training.caches]
        key = {"candidate": candidate.id, "weights": trained["sha256"], "teachers": teachers}
        student = self.store.once("fidelity report", key, lambda: student_fidelity(training, program))
        key |= {"sha256": built["sha256"], "target": target.name}
        found: Record = self.store.once(
            "fidelity report", key, lambda: artifact_fidelity(training, student, program, artifact, target)
        )
        return found

    def judge(self, record: Record, deployment: Deployment, teacher_accuracy: float) -> Record:
        """Whether the record is within the deployment's budget, and what of the budget could not be measured."""
        least = least_accuracy(deployment.budget, teacher_accuracy)
        accurate = least is None or record["accuracy"]["artifact"] >= least
        return {
            "within_budget": accurate and not over_budget(record, deployment.budget),
            "unmeasured": unmeasured(record, deployment.budget),
        }

    def _built(self, candidate: Candidate, trained: Record, deployment: Deployment, precision: Precision) -> Record:
        key = {
            "candidate": candidate.id,
            "weights": trained["sha256"],
            "target": deployment.target.name,
            "precision": str(precision),
        }
        result: Record = self.store.once("build", key, lambda: self._build(candidate, trained, deployment, precision))
        return result

    def _build(self, candidate: Candidate, trained: Record, deployment: Deployment, precision: Precision) -> Record:
        program = self.program(candidate, trained)
        place = self.folder(candidate) / "artifacts" / deployment.target.name / str(precision)
        fp32 = None
        if precision != FLOAT:
            fp32 = from_record(self._built(candidate, trained, deployment, FLOAT), self.store.folder)
        with self.store.fresh_folder(place) as folder:
            calibration = calibration_inputs(self.data, program.contract, self.seed)
            artifact = build(deployment.target, program, precision, calibration, folder, fp32)
        return to_record(moved(artifact, folder, place), self.store.folder)

    def _checked(self, candidate: Candidate, trained: Record, deployment: Deployment, built: Record, split: str) -> Record:
        """Fidelity and accuracy of a built artifact on one split."""
        key = {"sha256": built["sha256"], "target": deployment.target.name, "precision": built["precision"], "split": split}
        result: Record = self.store.once("verify", key, lambda: self._check(candidate, trained, deployment, built, split))
        return result

    def _check(self, candidate: Candidate, trained: Record, deployment: Deployment, built: Record, split: str) -> Record:
        samples: Split = getattr(self.data, split)
        artifact = from_record(built, self.store.folder)
        # What ships was decided on the validation split: the test split gives figures, and refuses nothing any more.
        deciding = split == "validation"
        found = verify(
            artifact,
            deployment.target,
            self.program(candidate, trained),
            samples,
            others=self.data.train if deciding else None,
            refuse=deciding,
        )
        # Without a runtime on this machine it is a reference executor's answers that were counted.
        provenance = Provenance.MEASURED if deployment.target.runner else Provenance.EMULATED
        accuracy = {
            "student": found.student_accuracy,
            "artifact": found.artifact_accuracy,
            "split": split,
            "provenance": str(provenance),
        }
        return {"accuracy": accuracy, "fidelity": asdict(found.fidelity), "correct": found.correct}
