"""Train a learner against its teachers' cached answers; stopped anywhere, it goes on bit-identically.

No teacher runs here: a step sees the picture that the cache's row was computed for, and that row.
"""

import copy
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgekd.data import Data
from edgekd.data.prepare import prepare
from edgekd.data.views import Augment, permutation, render
from edgekd.distill import Batch, Outputs, detectors
from edgekd.distill.answers import Answers
from edgekd.distill.cache import witness_of
from edgekd.distill.checkpoint import load_checkpoint, save_checkpoint
from edgekd.distill.gradients import backward_apart
from edgekd.distill.guard import Guard
from edgekd.distill.learners import Learner
from edgekd.distill.objective import TASK, gradient_scales
from edgekd.distill.recipe import Recipe, average_decay, rate
from edgekd.distill.rounding import stripped
from edgekd.types import Contract

CHECKPOINT_SECONDS = 20.0
STEP_SEEDS = 1_000_003
"""Between the seeds of two trainings' steps: a prime above the steps that trainings with neighbouring seeds would share."""

Curve = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a progress display is told after a step."""

    step: int
    steps: int
    epoch: int
    loss: float
    agreement: float


@dataclass(frozen=True, kw_only=True)
class Trained:
    """`module` holds the weights that ship, in evaluation mode on the CPU. `stopped` says why training ended early, if so."""

    module: nn.Module
    curve: Curve
    stopped: str = ""


@dataclass(kw_only=True)
class _State:
    """Where a training is; all of it goes into the checkpoint."""

    step: int
    loss_sum: float
    agreement_sum: float
    seconds: float
    curve: Curve
    scales: dict[str, float]
    ratios: dict[str, float]
    guard: dict[str, Any]


class Trainer:
    """Trains `learner` on `data` by `recipe`.

    Args:
        learner: an `nn.Module` of edgekd/distill/learners.
        contract: the student's own: it may take smaller images than the data has.
        answers: the teachers'; None trains without a teacher.
        checkpoint: where the state is kept while training, and taken up from.
        seed: of the order of samples.
        view_seed: of the views where there is no cache that says it.
        on_epoch: told (epoch, validation accuracy) after each; returning True ends the training there.
        on_step: told of every step.
        guard: rolls a collapsing training back; without one a loss that is no number ends it.
    """

    def __init__(
        self,
        learner: Learner,
        data: Data,
        contract: Contract,
        recipe: Recipe,
        answers: Answers | None,
        augment: Augment,
        checkpoint: Path,
        seed: int = 0,
        view_seed: int = 0,
        on_epoch: Callable[[int, float], bool] = lambda epoch, accuracy: False,
        on_step: Callable[[Step], None] = lambda step: None,
        guard: Guard | None = None,
    ) -> None:
        use_threads(recipe)
        torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
        # Deterministic mode also fills every new tensor, for programs that read what they never wrote: a quarter of a step.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.data, self.contract, self.recipe, self.answers, self.augment = data, contract, recipe, answers, augment
        self.checkpoint, self.seed, self.on_epoch, self.on_step = checkpoint, seed, on_epoch, on_step
        self.view_seed = answers.caches[0].seed if answers else view_seed
        self.steps_per_epoch = recipe.steps_per_epoch(len(data.train))
        self.steps = recipe.epochs * self.steps_per_epoch
        self.guard = guard
        kept = guard.state if guard else {}
        self.state = _State(step=0, loss_sum=0.0, agreement_sum=0.0, seconds=0.0, curve=[], scales={}, ratios={}, guard=kept)
        module: Any = learner
        self.learner: Any = module.to(self.device).to(memory_format=torch.channels_last)
        self._make_adapters()
        self.average = copy.deepcopy(self.learner)
        self.pairs = _float_pairs(self.average, self.learner)
        self.optimizer = _optimizer(self.learner, recipe)
        self.parameters = [p for p in self.learner.parameters() if p.requires_grad]

    def run(self) -> Trained:
        """Train to the end, or as far as `max_minutes` or `on_epoch` let it. Raises StageError("distil") on NaN or collapse."""
        if self.checkpoint.exists():
            self._load(self.checkpoint)
            if any(self.on_epoch(int(point["epoch"]), point["accuracy"]) for point in self.state.curve):
                return self._finish("pruned")
        elif self.guard:
            self.guard.keep(self.state.step, self._save)
        last_saved = started = time.monotonic()
        seconds_before = self.state.seconds
        while self.state.step < self.steps:
            epoch = self.state.step // self.steps_per_epoch
            for batch, teachers in self._batches(epoch, self.state.step % self.steps_per_epoch):
                cause = self._step(batch, teachers)
                self.state.seconds = seconds_before + time.monotonic() - started
                if self.guard and cause:
                    self.guard.roll_back(self.state.step, cause, self._load)
                    break
                if self.guard:
                    self.guard.keep(self.state.step, self._save)
                # Not between an epoch's last step and its point on the curve: that point would be lost.
                if self.state.step % self.steps_per_epoch and time.monotonic() - last_saved > CHECKPOINT_SECONDS:
                    self._save(self.checkpoint)
                    last_saved = time.monotonic()
                if self.recipe.max_minutes and self.state.seconds > 60 * self.recipe.max_minutes:
                    return self._finish("time limit")
            else:
                if self.on_epoch(epoch + 1, self._close_epoch(epoch + 1)):
                    return self._finish("pruned")
                if time.monotonic() - last_saved > CHECKPOINT_SECONDS:
                    self._save(self.checkpoint)
                    last_saved = time.monotonic()
        return self._finish("")

    def estimate_seconds(self, tried: int = 4) -> float:
        """How long the rest will take, from a few steps of a copy that is thrown away; validation is left out."""
        learner, (batch, teachers) = copy.deepcopy(self.learner).train(), next(self._batches(0, 0))
        for step in range(tried + 1):
            if step == 1:
                # The first step pays for allocations.
                started = time.perf_counter()
            _total(learner.learn(batch, teachers).parts).backward()
        return (time.perf_counter() - started) / tried * self.recipe.epochs * self.steps_per_epoch

    @torch.no_grad()
    def _make_adapters(self) -> None:
        """Losses with weights of their own make them when they first see shapes: before the optimizer and the average."""
        batch, teachers = next(self._batches(0, 0))
        self.learner.eval()
        self.learner.learn(batch, teachers)

    def _finish(self, stopped: str) -> Trained:
        """The student alone: what helped it to learn stays behind, and it must answer as it did with it."""
        learner = (self.average if self.recipe.average_decay else self.learner).eval()
        batch, teachers = next(self._batches(0, 0))
        with torch.no_grad():
            trained = learner.learn(batch, teachers).logits.cpu().numpy()
        student = stripped(learner.student()).to("cpu").eval()
        detectors.adapter_in_student(predict(student, batch.inputs.cpu().numpy()), trained)
        return Trained(module=student, curve=self.state.curve, stopped=stopped)

    def _batches(self, epoch: int, skip: int) -> Iterator[tuple[Batch, list[Outputs]]]:
        """Batches of an epoch from the `skip`-th on, each with the cached answers for its very pictures."""
        train, view = self.data.train, epoch % self.recipe.views
        order = permutation(len(train), epoch, self.seed)
        answers_of = None
        if self.answers:
            answers_of = self.answers.view(view)
            ours = witness_of(train, view, self.view_seed, self.augment)
            for cache in self.answers.caches:
                detectors.unequal_views(ours, cache.witness(view))
        for index in range(skip, self.steps_per_epoch):
            rows = order[index * self.recipe.batch_size : (index + 1) * self.recipe.batch_size]
            raw = render(train.inputs[rows], train.ids[rows], view, self.view_seed, self.augment)
            batch = Batch(inputs=self._tensor(prepare(raw, self.contract)), labels=self._tensor(train.labels[rows]), epoch=epoch)
            yield batch, answers_of(rows, self._tensor) if answers_of else []

    def _tensor(self, values: Any) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(values)).to(self.device)
        return tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor

    def _step(self, batch: Batch, teachers: Sequence[Outputs]) -> str:
        """One step; why the training must be rolled back, or nothing."""
        state, slower = self.state, self.guard.state["rate"] if self.guard else 1.0
        self.learner.train()
        for group in self.optimizer.param_groups:
            group["lr"] = slower * rate(state.step, self.steps, self.recipe.learning_rate)
        self.optimizer.zero_grad()
        with torch.random.fork_rng(devices=[]):
            # What a network draws, for dropout say, is a function of (seed, step): a training that goes on draws it again.
            torch.manual_seed((self.seed * STEP_SEEDS + state.step) % 2**63)
            told = self.learner.learn(batch, teachers)
        value = _total(told.parts).item()
        if self.guard and (cause := self.guard.failing(state.step + 1, value)).startswith("not"):
            return cause
        detectors.not_a_number(value, state.step + 1)
        if state.step % self.steps_per_epoch == 0 and len(told.parts) > 1 and TASK in told.parts:
            self._backward_apart(told.parts, batch.epoch)
        else:
            _total(told.parts).backward()
        self.optimizer.step()
        self._follow(average_decay(state.step, self.steps, self.recipe.average_decay))
        state.step += 1
        state.loss_sum += value
        if teachers:
            answered = teachers[0].logits.argmax(1)
            state.agreement_sum += (told.logits.detach().argmax(1) == answered).float().mean().item()
        done = (state.step - 1) % self.steps_per_epoch + 1
        self.on_step(
            Step(
                step=state.step,
                steps=self.steps,
                epoch=batch.epoch + 1,
                loss=state.loss_sum / done,
                agreement=state.agreement_sum / done,
            )
        )
        if self.guard is None or told.least is None:
            return ""
        self.guard.note((told.least.detach().argmax(1) == batch.labels).float().mean().item())
        return self.guard.failing(state.step, value)

    def _backward_apart(self, parts: Mapping[str, Tensor], epoch: int) -> None:
        """Once an epoch, in place of a step's single backward pass. Under `normalize` the scales are set here, for the epoch;
        this very step still takes those of the epoch before."""
        norms = backward_apart(parts, self.parameters, TASK)
        objective = self.learner.objective
        self.state.ratios = {name: norm / max(norms[TASK], 1e-12) for name, norm in norms.items() if name != TASK}
        if epoch > 0:
            # What a learner adds of its own may come in slowly, and fade where peers agree: only the recipe's are judged.
            detectors.dead_kd_term({name: ratio for name, ratio in self.state.ratios.items() if name in objective.weights})
        if self.recipe.normalize:
            weights = {name: weight * objective.scales.get(name, 1.0) for name, weight in objective.weights.items()}
            scales = gradient_scales({name: norm for name, norm in norms.items() if name in weights}, weights)
            self.state.scales = objective.scales = scales

    @torch.no_grad()
    def _follow(self, decay: float) -> None:
        averages, values = self.pairs
        torch._foreach_lerp_(averages, values, 1 - decay)

    def _close_epoch(self, epoch: int) -> float:
        """Add the epoch's point to the curve, keep the state, check for collapse. The validation accuracy."""
        state = self.state
        accuracy, agreement = self._validate()
        steps = self.steps_per_epoch
        state.curve.append(
            {
                "epoch": epoch,
                "loss": state.loss_sum / steps,
                "accuracy": accuracy,
                "agreement": agreement,
                "seconds": state.seconds,
                "gradient_ratios": state.ratios,
            }
        )
        state.loss_sum = state.agreement_sum = 0.0
        if epoch == self.recipe.epochs:
            detectors.collapse(accuracy, len(self.contract.classes))
        return accuracy

    def _validate(self) -> tuple[float, float | None]:
        """(accuracy, agreement with the teacher) of the weights that would ship, on the validation split."""
        learner = self.average if self.recipe.average_decay else self.learner
        answers = predict(learner.student(), prepare(self.data.validation.inputs, self.contract), self.device).argmax(1)
        accuracy = float((answers == self.data.validation.labels).mean())
        if self.answers is None:
            return accuracy, None
        return accuracy, float((answers == self.answers.validation().argmax(1)).mean())

    def _save(self, file: Path) -> None:
        save_checkpoint(file, self.learner, self.average, self.optimizer, vars(self.state))

    def _load(self, file: Path) -> None:
        self.state = _State(**load_checkpoint(file, self.learner, self.average, self.optimizer))
        self.learner.objective.scales = self.state.scales
        if self.guard:
            self.guard.state = self.state.guard


@torch.no_grad()
def predict(module: nn.Module, inputs: Any, device: torch.device | None = None, batch: int = 500) -> Any:
    """Logits (N, C), float32 NumPy, of a network in evaluation mode, for normalised inputs (N, C, H, W)."""
    module.eval()
    chunks = [torch.from_numpy(inputs[i : i + batch]).to(device or "cpu") for i in range(0, len(inputs), batch)]
    return torch.cat([module(chunk).cpu() for chunk in chunks]).numpy()


def use_threads(recipe: Recipe) -> None:
    """Sums differ in their last bits by the number of threads: all that a training computes takes the recipe's."""
    torch.set_num_threads(recipe.threads or os.cpu_count() or 1)


def _total(parts: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(parts.values())).sum()


def _optimizer(student: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """Weight decay on matrices and kernels only: on biases and normalisation it only shrinks their scale."""
    decayed = [p for p in student.parameters() if p.ndim > 1]
    free = [p for p in student.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=True)


def _float_pairs(average: nn.Module, student: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Corresponding floating-point tensors of both, parameters and buffers, sharing storage with them."""
    ours, theirs = average.state_dict(), student.state_dict()
    names = [name for name, value in theirs.items() if value.is_floating_point()]
    return [ours[name] for name in names], [theirs[name] for name in names]
