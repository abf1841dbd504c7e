"""Trainings of small students on the synthetic data, taught by a real network, and cut off anywhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from synthetic_data import CLASSES, CONTRACT, synthetic
from torch import nn
from torch.nn import functional as F

from edgekd.console import Console
from edgekd.data.prepare import prepare
from edgekd.data.views import Augment
from edgekd.distill.cache import TeacherCache, open_cache
from edgekd.distill.recipe import Recipe, WeightedLoss
from edgekd.distill.schemes import find_scheme
from edgekd.distill.stage import Plan, Stage
from edgekd.distill.training import Training
from edgekd.store import Store
from edgekd.students import find_family
from edgekd.students.program import count_params
from edgekd.teachers import FeatureRequest
from edgekd.teachers.torch_module import tapped_teacher, torch_teacher
from edgekd.types import Candidate, Scalar

AUGMENT = Augment(shift=1)
DATA = synthetic(train=256)
FAMILY = find_family("resnet")
RECIPE = Recipe(epochs=4, batch_size=16, views=2, threads=1, learning_rate=0.1, average_decay=0.9)
EVERY_STEP = -1.0
"""For `trainer.CHECKPOINT_SECONDS`: a checkpoint whenever one may be written."""


def candidate(**changes: Scalar) -> Candidate:
    """The smallest residual network with shortcuts, but for `changes`."""
    values = {"width": 8, "growth": 1.0, "depth": 1, "kernel": 3, "bottleneck": 0.0, "skip": True, "input_size": 8}
    return Candidate.of("resnet", {**values, **changes})


def losses(*names: str, weight: float = 1.0, **numbers: Any) -> tuple[WeightedLoss, ...]:
    return tuple(WeightedLoss(name=name, weight=weight, numbers=numbers) for name in names)


@lru_cache
def teacher_network(seed: int = 0, width: int = 16) -> nn.Module:
    """A residual network that knows the synthetic data."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    network: nn.Module = FAMILY.build(candidate(width=width).values, CONTRACT.shape, CLASSES)
    inputs, labels = torch.from_numpy(prepare(DATA.train.inputs, CONTRACT)), torch.from_numpy(DATA.train.labels)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for step in range(24):
        rows = slice(64 * (step % 4), 64 * (step % 4) + 64)
        optimizer.zero_grad()
        F.cross_entropy(network(inputs[rows]), labels[rows]).backward()
        optimizer.step()
    return network.eval()


def cache_of(folder: Path, seed: int = 0, request: FeatureRequest | None = None, views: int = RECIPE.views) -> TeacherCache:
    teacher = torch_teacher(f"teacher {seed}", tapped_teacher(teacher_network(seed), CONTRACT, request), code="")
    cache = open_cache(folder, teacher, DATA, AUGMENT, 0)
    cache.fill(teacher, views, lambda title, done, total: None, request)
    return cache


def plan(recipe: Recipe = RECIPE, seed: int = 3, teacher_params: int | None = None, **changes: Scalar) -> Plan:
    return Plan(
        candidate=candidate(**changes),
        recipe=recipe,
        seed=seed,
        params=lambda given: count_params(FAMILY, given, CONTRACT),
        teacher_params=teacher_params,
    )


def stages(recipe: Recipe = RECIPE, scheme: str = "direct", numbers: dict[str, Any] | None = None, **changes: Any) -> Any:
    return find_scheme(scheme, numbers or {})(plan(recipe, **changes))


class Cut(Exception):
    """A power cut."""


class Watch(Console):
    """Remembers the titles of its bars; raises Cut when a bar has moved `cut` times."""

    def __init__(self, cut: int | None = None) -> None:
        super().__init__()
        self.cut, self.moves, self.titles = cut, 0, list[str]()

    def say(self, text: str) -> None:
        self.titles.append(text)

    @contextmanager
    def bar(self, title: str, total: float) -> Iterator[Any]:
        self.titles.append(title)
        yield self

    def at(self, *told: Any, **more: Any) -> None:
        self.moves += 1
        if self.moves == self.cut:
            raise Cut


@contextmanager
def training(
    folder: Path, caches: tuple[TeacherCache, ...] = (), watch: Watch | None = None, **changes: Any
) -> Iterator[Training]:
    store = Store(folder)
    given = Training(
        data=DATA,
        augment=AUGMENT,
        family=FAMILY,
        store=store,
        console=watch or Watch(),
        view_seed=0,
        cache_root=folder.with_name(f"{folder.name}-cache"),
        caches=caches,
    )
    try:
        yield replace(given, **changes)
    finally:
        store.close()


def trained(folder: Path, planned: tuple[Stage, ...], caches: tuple[TeacherCache, ...] = (), **changes: Any) -> Any:
    """The last stage's record."""
    with training(folder, caches, **changes) as made:
        return made.run(planned, "final")


def recorded(folder: Path) -> Any:
    """What a run's store holds of all its trainings, but for times."""
    store = Store(folder)
    units = store.units("distil")
    store.close()
    return without_times(units)


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in ("seconds", "spent")}
    return [without_times(item) for item in value] if isinstance(value, list) else value
