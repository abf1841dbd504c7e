"""A scheme as a small graph: each stage is one training, named by the content of all that decides its weights."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from edgekd.distill.recipe import Recipe
from edgekd.types import Candidate, Scalar, digest

TEACHER = "teacher"
"""What `taught_by` calls the project's own teachers."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One training of a scheme.

    Args:
        name: says in folders and on the console what it is.
        seed: of first weights and of the order of samples.
        learner: what is trained together; `count` peers or branches.
        taught_by: names of earlier stages whose students teach, or `TEACHER`; none trains on the labels alone.
        starts_from: name of an earlier stage whose smaller student this one grows out of, or whose weights it takes.
        weight_bits: train with weights rounded to so many bits.
        axes: of the space whose students all train on one set of weights; `candidate` is the largest of them.
    """

    name: str
    candidate: Candidate
    recipe: Recipe
    seed: int
    learner: Literal["solo", "mutual", "collaborative", "turns", "sandwich"] = "solo"
    count: int = 1
    taught_by: tuple[str, ...] = (TEACHER,)
    starts_from: str | None = None
    weight_bits: int | None = None
    axes: tuple[tuple[str, tuple[Scalar, ...]], ...] = ()

    @property
    def shared(self) -> bool:
        """Whether it trains a supernet."""
        return self.learner in ("turns", "sandwich")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a scheme plans from: the student wanted, its recipe and seed, and how large things are.

    Args:
        params: parameters of a candidate.
        teacher_params: None where the teacher's format does not tell.
    """

    candidate: Candidate
    recipe: Recipe
    seed: int
    params: Callable[[Candidate], int]
    teacher_params: int | None

    def stage(self, **changes: Any) -> Stage:
        """The student itself, taught by the teacher, but for `changes`."""
        return Stage(**{"name": "student", "candidate": self.candidate, "recipe": self.recipe, "seed": self.seed, **changes})

    @property
    def untaught(self) -> Recipe:
        """The recipe for the labels alone."""
        return replace(self.recipe, losses=(), task_weight=1.0)


def stage_keys(stages: Sequence[Stage], teacher: Any) -> dict[str, str]:
    """The content hash of each stage: of its own settings, and of the keys of what teaches it and what it starts from.

    `teacher` is what the project's teachers are known by.
    """
    keys: dict[str, str] = {TEACHER: digest(teacher)}
    for stage in stages:
        own = {name: value for name, value in asdict(stage).items() if name not in ("name", "taught_by", "starts_from")}
        parents = [[keys[name] for name in stage.taught_by], stage.starts_from and keys[stage.starts_from]]
        keys[stage.name] = digest([own, parents])
    return keys
