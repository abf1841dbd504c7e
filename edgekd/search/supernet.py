"""The supernet of a run: trained once, its students cut out, rated, and taken up by the trainings of the finalists."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.data.prepare import prepare
from edgekd.data.views import render
from edgekd.distill.calibration import calibrate
from edgekd.distill.checkpoint import read_tensors
from edgekd.distill.recipe import Recipe
from edgekd.distill.stage import Stage
from edgekd.distill.trainer import predict, use_threads
from edgekd.errors import InputError, StageError
from edgekd.students.program import build_student
from edgekd.students.sharing import Cutter
from edgekd.students.space import Space
from edgekd.types import Candidate

if TYPE_CHECKING:
    from edgekd.stages import Run

Record = dict[str, Any]
CALIBRATION_BATCHES, BATCH = 4, 128
"""Training pictures that statistics are taken from."""
RATED_ON = 1000
"""Validation samples, evenly spaced, that all students are rated on; those that may be selected, on the whole split."""
SAMPLED = 400
"""Random students of a large space among which a design is spread."""


@dataclass(kw_only=True)
class Supernet:
    """What the supernet of a run does. `run.space` is the space that it covers."""

    run: "Run"

    @property
    def space(self) -> Space:
        return self.run.space

    @cached_property
    def recipe(self) -> Recipe:
        """Losses on feature maps between unlike architectures are left out: a pilot would be one for each student."""
        own = self.run.project.distill
        if own.scheme.name != "direct" or own.tune_trials:
            raise InputError('[search] method "supernet" trains by scheme "direct", without tune_trials: change [distill]')
        return self.run.pilots.fitting(self.space.largest, own, final=False)

    @cached_property
    def cutter(self) -> Cutter:
        contract = self.run.data.contract
        return Cutter(self.run.family, self.space, contract.shape, len(contract.classes))

    @property
    def stage(self) -> Stage:
        """The training of all students together."""
        axes = tuple(self.space.axes.items())
        return Stage(
            name="supernet",
            candidate=self.space.largest,
            recipe=self.recipe,
            seed=self.run.seed,
            learner=self.run.project.search.step,
            axes=axes,
        )

    def finalist(self, candidate: Candidate) -> tuple[Stage, ...]:
        """A training of one student alone: from its share of the supernet's weights, or from fresh ones."""
        project = self.run.project
        own = Stage(
            name="student",
            candidate=candidate,
            recipe=replace(self.recipe, epochs=project.fine_tuning_epochs),
            seed=self.run.seed,
        )
        if project.search.finalists_from == "scratch":
            return (own,)
        supernet = self.stage
        return supernet, replace(own, starts_from=supernet.name, axes=supernet.axes)

    @cached_property
    def trained(self) -> Record:
        """The supernet's record. Raises StageError where its training failed."""
        self.cutter.check()
        found = self.run.training.run((self.stage,), "supernet")
        if found["failure"] is not None:
            failure = found["failure"]
            raise StageError(failure["stage"], f"supernet: {failure['cause']}", failure["hint"])
        return found

    @cached_property
    def _tensors(self) -> dict[str, Tensor]:
        return read_tensors(self.run.store.folder / self.trained["weights"])[0]

    @cached_property
    def _pictures(self) -> tuple[Any, ...]:
        """Raw training pictures, of the first view, that statistics are taken from."""
        run = self.run
        train, count = run.data.train, min(CALIBRATION_BATCHES * BATCH, len(run.data.train))
        rows = np.sort(np.random.default_rng(run.seed).choice(len(train), count, replace=False))
        rendered = render(train.inputs[rows], train.ids[rows], 0, run.training.view_seed, run.training.augment)
        shuffled = np.random.default_rng(run.seed).permutation(count)  # sources may come sorted by class
        return tuple(rendered[part] for part in np.array_split(shuffled, max(1, count // BATCH)))

    def sample(self) -> list[Candidate]:
        """Random students of the space, each once: where it is too large to go through, costs are first measured on some."""
        rng, run = np.random.default_rng(self.run.seed), self.run
        drawn = [self.space.smallest, self.space.largest, *(self.space.draw(rng) for _ in range(SAMPLED))]
        return [candidate for candidate in dict.fromkeys(drawn) if run.allowed(candidate)]

    def student(self, candidate: Candidate) -> nn.Module:
        """The student as cut out, with statistics of its own, in evaluation mode."""
        network = build_student(self.run.family, candidate, self.run.data.contract, self.run.seed)
        network.load_state_dict(self.cutter.cut(candidate, self._tensors))
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        contract = self.run.training.contract(candidate)
        return calibrate(network, (torch.from_numpy(prepare(raw, contract)) for raw in self._pictures))

    def rate(self, candidate: Candidate, samples: int = RATED_ON) -> Record:
        """Accuracy and cross-entropy of the student as cut out, on `samples` validation samples. A recorded unit of work."""
        samples = min(samples, len(self.run.data.validation))
        key = {"candidate": candidate.id, "supernet": self.trained["sha256"], "samples": samples}
        found: Record = self.run.store.once("rate", key, lambda: self._rate(candidate, samples))
        return found

    def _rate(self, candidate: Candidate, samples: int) -> Record:
        use_threads(self.recipe)
        validation = self.run.data.validation
        rows = np.linspace(0, len(validation) - 1, samples).astype(np.int64)
        inputs = prepare(validation.inputs[rows], self.run.training.contract(candidate))
        logits, labels = predict(self.student(candidate), inputs), validation.labels[rows]
        loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels)).item()
        return {"accuracy": float((logits.argmax(1) == labels).mean()), "loss": loss, "samples": samples}
