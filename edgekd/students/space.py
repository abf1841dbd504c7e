"""A space of students: values for each axis, cheapest first; small ones are enumerated, large ones drawn from."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgekd.errors import InputError
from edgekd.types import Candidate, Scalar

ENUMERABLE = 2000
"""Students that are looked at one by one; each takes a few milliseconds before anything is trained or measured."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """Students of one family."""

    family: str
    axes: Mapping[str, tuple[Scalar, ...]]

    @property
    def size(self) -> int:
        return math.prod(len(values) for values in self.axes.values())

    @property
    def smallest(self) -> Candidate:
        """The cheapest value on every axis: what it cannot meet, none can."""
        return Candidate.of(self.family, {axis: values[0] for axis, values in self.axes.items()})

    @property
    def largest(self) -> Candidate:
        """The dearest value on every axis."""
        return Candidate.of(self.family, {axis: values[-1] for axis, values in self.axes.items()})

    def candidates(self) -> list[Candidate]:
        """All of them, in order of the axes. Raises InputError for a space too large for that."""
        if self.size > ENUMERABLE:
            text = f"[students] the space has {self.size:,} students, more than {ENUMERABLE:,} to go through"
            raise InputError(f'{text}: set [search] space = "free", or fewer values in [students] axes')
        return [
            Candidate.of(self.family, dict(zip(self.axes, values, strict=True)))
            for values in itertools.product(*self.axes.values())
        ]

    def steps(self, candidate: Candidate) -> tuple[int, ...]:
        """How far up each axis the candidate is."""
        return tuple(values.index(candidate.values[axis]) for axis, values in self.axes.items())

    def draw(self, rng: np.random.Generator) -> Candidate:
        """One of them, each as likely."""
        return Candidate.of(self.family, {axis: values[rng.integers(len(values))] for axis, values in self.axes.items()})
