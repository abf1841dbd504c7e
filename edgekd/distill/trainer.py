"""Train one student against the teacher's cached answers; stopped anywhere, it goes on bit-identically.

No teacher runs here: a step sees the picture that the cache's row was computed for, and that row.
"""

import copy
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.data import Data
from edgekd.data.prepare import prepare
from edgekd.data.views import Augment, permutation, render
from edgekd.distill import Batch, Outputs
from edgekd.distill import loss as make_loss
from edgekd.distill.cache import TeacherCache
from edgekd.distill.checkpoint import load_checkpoint, save_checkpoint
from edgekd.distill.recipe import Recipe, average_decay, rate
from edgekd.errors import StageError
from edgekd.types import Contract

CHECKPOINT_SECONDS = 20.0
COLLAPSED = 0.05
"""A student that ends below this share of the way from chance to perfection has learnt nothing, of two classes or of many."""

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


class Trainer:
    """Trains `student` on `data` by `recipe`.

    Args:
        contract: the student's own: it may take smaller images than the data has.
        cache: the teacher's answers; None trains without a teacher.
        checkpoint: where the state is kept while training, and taken up from.
        seed: of the order of samples, and of the views where there is no cache.
        on_epoch: told (epoch, validation accuracy) after each; returning True ends the training there.
        on_step: told of every step.
    """

    def __init__(
        self,
        student: nn.Module,
        data: Data,
        contract: Contract,
        recipe: Recipe,
        cache: TeacherCache | None,
        augment: Augment,
        checkpoint: Path,
        seed: int = 0,
        on_epoch: Callable[[int, float], bool] = lambda epoch, accuracy: False,
        on_step: Callable[[Step], None] = lambda step: None,
    ) -> None:
        torch.set_num_threads(recipe.threads or os.cpu_count() or 1)
        torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.data, self.contract, self.recipe, self.cache, self.augment = data, contract, recipe, cache, augment
        self.checkpoint, self.seed, self.on_epoch, self.on_step = checkpoint, seed, on_epoch, on_step
        self.student: nn.Module = student.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.student)
        self.pairs = _float_pairs(self.average, self.student)
        self.losses = [(item.weight, make_loss(item.name, **item.numbers)) for item in recipe.losses] if cache else []
        self.optimizer = _optimizer(self.student, recipe)
        self.steps_per_epoch = recipe.steps_per_epoch(len(data.train))
        self.steps = recipe.epochs * self.steps_per_epoch
        self.state = _State(step=0, loss_sum=0.0, agreement_sum=0.0, seconds=0.0, curve=[])

    def run(self) -> Trained:
        """Train to the end, or as far as `max_minutes` or `on_epoch` let it. Raises StageError("distil") on NaN or collapse."""
        if self.checkpoint.exists():
            self.state = _State(**load_checkpoint(self.checkpoint, self.student, self.average, self.optimizer))
            if any(self.on_epoch(int(point["epoch"]), point["accuracy"]) for point in self.state.curve):
                return self._finish("pruned")
        last_saved = started = time.monotonic()
        seconds_before = self.state.seconds
        while self.state.step < self.steps:
            epoch = self.state.step // self.steps_per_epoch
            for batch, teacher in self._batches(epoch, self.state.step % self.steps_per_epoch):
                self._step(batch, teacher)
                self.state.seconds = seconds_before + time.monotonic() - started
                # Not between an epoch's last step and its point on the curve: that point would be lost.
                if self.state.step % self.steps_per_epoch and time.monotonic() - last_saved > CHECKPOINT_SECONDS:
                    self._save()
                    last_saved = time.monotonic()
                if self.recipe.max_minutes and self.state.seconds > 60 * self.recipe.max_minutes:
                    return self._finish("time limit")
            if self.on_epoch(epoch + 1, self._close_epoch(epoch + 1)):
                return self._finish("pruned")
            if time.monotonic() - last_saved > CHECKPOINT_SECONDS:
                self._save()
                last_saved = time.monotonic()
        return self._finish("")

    def estimate_seconds(self, tried: int = 4) -> float:
        """How long the rest will take, from a few steps of a copy that is thrown away; validation is left out."""
        steps = self.steps_per_epoch
        student, sample = copy.deepcopy(self.student).train(), next(iter(self._batches(0, 0)))[0]
        for step in range(tried + 1):
            if step == 1:
                # The first step pays for allocations.
                started = time.perf_counter()
            F.cross_entropy(student(sample.inputs), sample.labels).backward()
        return (time.perf_counter() - started) / tried * self.recipe.epochs * steps

    def _finish(self, stopped: str) -> Trained:
        module = self.average if self.recipe.average_decay else self.student
        return Trained(module=module.to("cpu").eval(), curve=self.state.curve, stopped=stopped)

    def _batches(self, epoch: int, skip: int) -> Iterator[tuple[Batch, Outputs | None]]:
        """Batches of an epoch from the `skip`-th on, each with the cached answers for its very pictures."""
        train, view = self.data.train, epoch % self.recipe.views
        order = permutation(len(train), epoch, self.seed)
        logits = self.cache.logits(view) if self.cache else None
        embedding = self.cache.embedding(view) if self.cache else None
        for index in range(skip, self.steps_per_epoch):
            rows = order[index * self.recipe.batch_size : (index + 1) * self.recipe.batch_size]
            raw = render(train.inputs[rows], train.ids[rows], view, self._view_seed, self.augment)
            batch = Batch(inputs=self._tensor(prepare(raw, self.contract)), labels=self._tensor(train.labels[rows]), epoch=epoch)
            if logits is None:
                yield batch, None
                continue
            answers = None if embedding is None else self._tensor(embedding[rows].astype(np.float32))
            yield batch, Outputs(logits=self._tensor(logits[rows]), embedding=answers)

    @property
    def _view_seed(self) -> int:
        return self.cache.seed if self.cache else self.seed

    def _tensor(self, values: Any) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(values)).to(self.device)
        return tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor

    def _step(self, batch: Batch, teacher: Outputs | None) -> None:
        state = self.state
        self.student.train()
        logits = self.student(batch.inputs)
        loss = self.recipe.task_weight * F.cross_entropy(logits, batch.labels)
        agreement = 0.0
        if teacher is not None:
            student = Outputs(logits=logits)
            loss = loss + sum(weight * criterion(student, teacher, batch) for weight, criterion in self.losses)
            agreement = (logits.detach().argmax(1) == teacher.logits.argmax(1)).float().mean().item()
        value = loss.item()
        if not math.isfinite(value):
            raise StageError("distil", f"the loss became {value} at step {state.step + 1}", "lower [distill] learning_rate")
        for group in self.optimizer.param_groups:
            group["lr"] = rate(state.step, self.steps, self.recipe.learning_rate)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self._follow(average_decay(state.step, self.steps, self.recipe.average_decay))
        state.step += 1
        state.loss_sum += value
        state.agreement_sum += agreement
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
            }
        )
        state.loss_sum = state.agreement_sum = 0.0
        chance = 1 / len(self.contract.classes)
        if epoch == self.recipe.epochs and accuracy < chance + COLLAPSED * (1 - chance):
            raise StageError("distil", f"the student collapsed: accuracy {accuracy:.3f} is chance", "lower the learning rate")
        return accuracy

    def _validate(self) -> tuple[float, float | None]:
        """(accuracy, agreement with the teacher) of the weights that would ship, on the validation split."""
        module = self.average if self.recipe.average_decay else self.student
        answers = predict(module, prepare(self.data.validation.inputs, self.contract), self.device).argmax(1)
        accuracy = float((answers == self.data.validation.labels).mean())
        if self.cache is None:
            return accuracy, None
        return accuracy, float((answers == self.cache.validation_logits().argmax(1)).mean())

    def _save(self) -> None:
        save_checkpoint(self.checkpoint, self.student, self.average, self.optimizer, vars(self.state))


@torch.no_grad()
def predict(module: nn.Module, inputs: Any, device: torch.device | None = None, batch: int = 500) -> Any:
    """Logits (N, C), float32 NumPy, of a network in evaluation mode, for normalised inputs (N, C, H, W)."""
    module.eval()
    chunks = [torch.from_numpy(inputs[i : i + batch]).to(device or "cpu") for i in range(0, len(inputs), batch)]
    return torch.cat([module(chunk).cpu() for chunk in chunks]).numpy()


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
