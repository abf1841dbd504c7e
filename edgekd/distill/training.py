"""Train the stages of a scheme, each once: a stage that is recorded is not trained again, one that was cut off goes on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from edgekd.console import Console
from edgekd.data import Data
from edgekd.data.prepare import prepare, resize
from edgekd.data.views import Augment
from edgekd.distill.answers import Answers
from edgekd.distill.cache import TeacherCache, open_cache
from edgekd.distill.checkpoint import read_tensors, write_tensors
from edgekd.distill.guard import Guard
from edgekd.distill.learners import Learner
from edgekd.distill.learners.collaborative import Collaborative
from edgekd.distill.learners.mutual import Mutual
from edgekd.distill.learners.sandwich import Sandwich
from edgekd.distill.learners.solo import Solo
from edgekd.distill.learners.turns import Turns
from edgekd.distill.objective import Objective
from edgekd.distill.recipe import Recipe, Tap
from edgekd.distill.rounding import with_rounded_weights
from edgekd.distill.schemes.progressive import grow
from edgekd.distill.stage import TEACHER, Stage, stage_keys
from edgekd.distill.taps import Tapped, spatial_taps
from edgekd.distill.trainer import Step, Trainer, use_threads
from edgekd.errors import InputError, StageError, did_you_mean, storage_errors
from edgekd.store import Store
from edgekd.students import Family, image_size, resized_shape
from edgekd.students.program import build_student, weights_hash
from edgekd.students.sharing import Cutter
from edgekd.students.space import Space
from edgekd.teachers import FeatureRequest, TeacherOutputs
from edgekd.teachers.accelerate import accelerate
from edgekd.teachers.loaded import LoadedTeacher
from edgekd.teachers.torch_module import tapped_teacher, torch_teacher
from edgekd.types import Candidate, Contract

Record = dict[str, Any]
OnEpoch = Callable[[int, float], bool]
SAMPLE = 128
"""Validation samples on which a student that becomes a teacher is tried."""
PEER_SEEDS = 104_729
"""Between the seeds of students that learn together: a prime, so that neighbouring runs share none."""


def never(epoch: int, accuracy: float) -> bool:
    """Stop at no epoch."""
    return False


@dataclass(kw_only=True)
class Training:
    """What all trainings of a run share.

    Args:
        caches: of the project's teachers; empty trains without any.
        teacher_kinds: of the building blocks of a single teacher that shows them.
        cache_root: where students that teach keep their answers.
        view_seed: of the views, the same for all trainings of a run: taught and untaught students see the same pictures.
    """

    data: Data
    augment: Augment
    family: Family
    store: Store
    console: Console
    view_seed: int
    cache_root: Path
    caches: tuple[TeacherCache, ...] = ()
    teacher_kinds: frozenset[str] | None = None

    def run(self, stages: Sequence[Stage], label: str, on_epoch: OnEpoch = never) -> Record:
        """The last stage's record: weights file, curve, `failure`. `on_epoch` is told of the last stage's epochs.

        A failed stage ends the scheme there: its record is the scheme's.
        """
        keys = stage_keys(stages, [cache.folder.name for cache in self.caches])
        done: dict[str, Record] = {}
        for stage in stages:
            last = stage is stages[-1]
            # A supernet is the same one whether it is asked for itself or for a student of it.
            own = last and not stage.shared
            key = {"label": label if own else "stage", "stage": keys[stage.name]}
            train = self._trainer_of(stage, keys[stage.name], label if own else stage.name, done, on_epoch if last else never)
            record: Record = self.store.once("distil", key, train)
            done[stage.name] = record
            if record["failure"] is not None:
                return record if last else _failed_before(stage, record)
        return record

    def _trainer_of(self, stage: Stage, key: str, label: str, done: dict[str, Record], on_epoch: OnEpoch) -> Callable[[], Record]:
        return lambda: self._train(stage, key, label, done, on_epoch)

    def module(self, candidate: Candidate, trained: Record) -> nn.Module:
        """The trained student, read back from its weights file, in evaluation mode."""
        module = build_student(self.family, candidate, self.data.contract, 0)
        module.load_state_dict(read_tensors(self.store.folder / trained["weights"])[0])
        return module.eval()

    def contract(self, candidate: Candidate) -> Contract:
        return replace(self.data.contract, image_size=image_size(candidate, self.data.contract.shape))

    def _train(self, stage: Stage, key: str, label: str, done: dict[str, Record], on_epoch: OnEpoch) -> Record:
        use_threads(stage.recipe)
        folder = self.store.folder / "candidates" / stage.candidate.id / f"{label}-{key[:8]}"
        with storage_errors(str(folder)):
            folder.mkdir(parents=True, exist_ok=True)
        checkpoint = folder / "checkpoint.safetensors"
        trainer = None
        with self.console.bar(f"{stage.candidate.id} {label}", 1) as bar:

            def on_step(step: Step) -> None:
                note = f"epoch {step.epoch}/{stage.recipe.epochs}  loss {step.loss:.3f}  agreement {step.agreement:.1%}"
                bar.at(step.step, note, total=step.steps)

            try:
                trainer = self._trainer(stage, done, checkpoint, on_epoch, on_step)
                if label == "final":
                    seconds = trainer.estimate_seconds()
                    text = f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
                    self.console.say(f"{stage.candidate.id}: {stage.recipe.epochs} epochs, about {text}")
                trained = trainer.run()
            except StageError as error:
                _remove(checkpoint)
                failure = {"stage": error.stage, "cause": error.cause, "hint": error.hint}
                return {"failure": failure, "curve": trainer.state.curve if trainer else [], "stopped": "", "stage": label}
        state = trained.module.state_dict()
        write_tensors(folder / "weights.safetensors", state)
        _remove(checkpoint)
        return {
            "failure": None,
            "candidate": {"family": stage.candidate.family, "values": stage.candidate.values},
            "stage": label,
            "weights": (folder / "weights.safetensors").relative_to(self.store.folder).as_posix(),
            "sha256": weights_hash(state),
            "curve": trained.curve,
            "stopped": trained.stopped,
            "rollbacks": trainer.guard.state["rollbacks"] if trainer.guard else [],
            "spent": _spent(trainer, stage, key, done),
        }

    def _trainer(
        self, stage: Stage, done: dict[str, Record], checkpoint: Path, on_epoch: OnEpoch, on_step: Callable[[Step], None]
    ) -> Trainer:
        taught = any(name != TEACHER or self.caches for name in stage.taught_by)
        objective = Objective(stage.recipe, taught=taught)
        caches = tuple(cache for name in stage.taught_by for cache in self._teachers(name, stage, done, objective))
        learner, keys = self._learner(stage, done, objective, caches)
        guard, answers = None, None
        if stage.shared:
            steps = stage.recipe.epochs * stage.recipe.steps_per_epoch(len(self.data.train))
            classes = len(self.data.contract.classes)
            guard = Guard(kept=checkpoint.with_name("healthy.safetensors"), classes=classes, steps=steps)
        if caches:
            request = _request(stage, objective)
            answers = Answers(caches=caches, embedding="embedding" in objective.needs, request=request, keys=keys)
        return Trainer(
            learner,
            self.data,
            self.contract(stage.candidate),
            stage.recipe,
            answers,
            self.augment,
            checkpoint,
            seed=stage.seed,
            view_seed=self.view_seed,
            on_epoch=on_epoch,
            on_step=on_step,
            guard=guard,
        )

    # What is trained -----------------------------------------------------------------------------------------------

    def _learner(
        self, stage: Stage, done: dict[str, Record], objective: Objective, caches: Sequence[TeacherCache]
    ) -> tuple[Learner, tuple[str, ...]]:
        """The learner, and the keys of the feature maps that it shares with the teacher."""
        networks = [self._network(stage, stage.seed + index * PEER_SEEDS, done) for index in range(stage.count)]
        shape = resized_shape(stage.candidate, self.data.contract.shape)
        if stage.learner == "collaborative":
            return Collaborative(networks, objective, shape, stage.recipe.epochs), ()
        taps = self._student_taps(stage, networks[0], shape, objective, caches)
        tapped = [Tapped(network, len(self.data.contract.classes), taps) for network in networks]
        if stage.shared:
            kind = Turns if stage.learner == "turns" else Sandwich
            return kind(tapped[0], objective, self.cutter(stage), stage.recipe.epochs), tuple(sorted(taps))
        if stage.learner == "mutual":
            return Mutual(tapped, objective), tuple(sorted(taps))
        return Solo(tapped[0], objective), tuple(sorted(taps))

    def cutter(self, stage: Stage) -> Cutter:
        """Cuts the students of a supernet's stage out of its weights."""
        space = Space(family=stage.candidate.family, axes=dict(stage.axes))
        return Cutter(self.family, space, self.data.contract.shape, len(self.data.contract.classes))

    def _network(self, stage: Stage, seed: int, done: dict[str, Record]) -> nn.Module:
        network = build_student(self.family, stage.candidate, self.data.contract, seed)
        if stage.starts_from is not None:
            begun = done[stage.starts_from]
            tensors, _ = read_tensors(self.store.folder / begun["weights"])
            if stage.axes:
                network.load_state_dict(self.cutter(stage).cut(stage.candidate, tensors))
            elif begun["candidate"]["values"] == stage.candidate.values:
                network.load_state_dict(tensors)
            else:
                if not isinstance(network, nn.Sequential):
                    raise InputError("scheme 'progressive' needs a student that is an nn.Sequential, as resnet and mbconv are")
                grow(tensors, network)
        return network if stage.weight_bits is None else with_rounded_weights(network, stage.weight_bits)

    def _student_taps(
        self,
        stage: Stage,
        network: nn.Module,
        shape: tuple[int, ...],
        objective: Objective,
        caches: Sequence[TeacherCache],
    ) -> dict[str, str]:
        """Key to path of the student's layers that its losses look at: those that the teacher has too, if it is asked."""
        request = _request(stage, objective)
        if request is None or not caches:
            return spatial_taps(network, shape) if "student features" in objective.needs else {}
        if len(caches) > 1:
            raise InputError("[distill] losses on feature maps take one teacher: their maps cannot be combined")
        if request.paths:
            return _named_taps(stage.recipe.taps, network)
        theirs = caches[0].feature_keys(request)
        taps = {key: path for key, path in spatial_taps(network, shape).items() if key in theirs}
        if not taps:
            found = f"no layer of the student has a resolution of the teacher's ({', '.join(theirs)})"
            raise StageError("distil", found, "name [distill] taps")
        return taps

    # What teaches it -----------------------------------------------------------------------------------------------

    def _teachers(self, name: str, stage: Stage, done: dict[str, Record], objective: Objective) -> tuple[TeacherCache, ...]:
        if name == TEACHER:
            return self.caches
        trained = done[name]
        candidate = Candidate.of(trained["candidate"]["family"], trained["candidate"]["values"])
        # Its layers pair by resolution: taps that the project names are those of the project's teacher.
        return (self.teacher_cache(candidate, trained, name, stage.recipe, feature_request((), objective.needs)),)

    def teacher_cache(
        self, candidate: Candidate, trained: Record, name: str, recipe: Recipe, request: FeatureRequest | None
    ) -> TeacherCache:
        """The answers of a trained student as a teacher, for the views of a recipe, filled where they are missing."""
        views = min(recipe.views, recipe.epochs)
        teacher = self._as_teacher(candidate, trained, name, request, views)
        cache = open_cache(self.cache_root, teacher, self.data, self.augment, self.view_seed)
        with self.console.bar(name, 1) as bar:
            cache.fill(teacher, views, lambda title, now, total: bar.at(now, "", f"{name}, {title}", total), request)
        return cache

    def _as_teacher(
        self, candidate: Candidate, trained: Record, name: str, request: FeatureRequest | None, views: int
    ) -> LoadedTeacher:
        shape = resized_shape(candidate, self.data.contract.shape)
        tapped = tapped_teacher(self.module(candidate, trained), replace(self.data.contract, shape=shape), request)
        size = image_size(candidate, self.data.contract.shape)
        sample = prepare(self.data.validation.inputs[:SAMPLE], self.contract(candidate))
        teacher = accelerate(torch_teacher(name, tapped, code=""), tapped, sample, views * len(self.data.train))
        if size is None:
            return teacher
        answer = teacher.answer

        def resized(inputs: NDArray[np.float32]) -> TeacherOutputs:
            # Normalised first, resized then: both are linear and the weights of a resize sum to 1, so the order is free.
            return answer(resize(inputs, size))

        return replace(teacher, answer=resized)


def _remove(checkpoint: Path) -> None:
    """What a training keeps while it is not whole."""
    for file in (checkpoint, checkpoint.with_name("healthy.safetensors")):
        file.unlink(missing_ok=True)


def _failed_before(stage: Stage, record: Record) -> Record:
    """A stage's failure as its scheme's: what failed is said, and its curve is not the wanted student's."""
    failure = {**record["failure"], "cause": f"stage '{stage.name}': {record['failure']['cause']}"}
    return {**record, "failure": failure, "curve": []}


def _request(stage: Stage, objective: Objective) -> FeatureRequest | None:
    """Taps that a project names are layers of its teacher: a student that teaches is asked for every resolution."""
    return feature_request(stage.recipe.taps if stage.taught_by == (TEACHER,) else (), objective.needs)


def _named_taps(taps: Sequence[Tap], network: nn.Module) -> dict[str, str]:
    """Teacher's path to student's. Raises StageError for a layer that this candidate has not: another may have it."""
    known = dict(network.named_modules())
    for tap in taps:
        if tap.student not in known:
            cause = f"the student has no layer '{tap.student}'" + did_you_mean(tap.student, filter(None, known))
            raise StageError("distil", cause, "name [distill] taps that all candidates have, or none")
    return {tap.teacher: tap.student for tap in taps}


def _spent(trainer: Trainer, stage: Stage, key: str, done: dict[str, Record]) -> dict[str, float]:
    """Seconds of all that led to the trained student: each stage's training, each teacher's answering of the views, once.

    A project's teacher is not trained here: its own training is not in it.
    """
    spent = {name: seconds for record in done.values() for name, seconds in record["spent"].items()}
    views = min(stage.recipe.views, stage.recipe.epochs)
    answered = {cache.folder.name: cache.seconds(views) for cache in (trainer.answers.caches if trainer.answers else ())}
    return spent | answered | {key: trainer.state.seconds}


def feature_request(taps: Sequence[Tap], needs: frozenset[str]) -> FeatureRequest | None:
    """The feature maps to ask a teacher for: those at `taps`, or at every resolution; None where no loss looks at any."""
    if "features" not in needs and "energy" not in needs:
        return None
    paths = [tap.teacher for tap in taps]
    for path in paths:
        if paths.count(path) > 1:
            raise InputError(f"[distill] taps name the teacher's layer '{path}' twice: each learns from a layer of its own")
    return FeatureRequest(paths=tuple(paths), energy="features" not in needs)
