"""Whether many samples may run at once through a program that is written for one.

A rule looks at one operation whose operands depend on the sample and have a leading axis of 1. It returns the parameters
to replace so that this axis may grow, usually none; or None where samples would meet, and then they run one by one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Site:
    """One operation of a program: the declared shapes of operands that depend on the sample, and of the results."""

    operands: dict[str, list[tuple[int, ...]]]
    constants: Mapping[str, Any]
    """The other parameters; `values` of concat and stack is here too where some of them are constant."""
    results: list[tuple[int, ...]]

    @property
    def rank(self) -> int:
        """Of the first operand."""
        return len(next(iter(self.operands.values()))[0])


Rule: TypeAlias = Callable[[Site], dict[str, Any] | None]


def leading(site: Site) -> bool:
    """Whether every operand that depends on the sample, and every result, has a leading axis of 1."""
    shapes = [shape for several in site.operands.values() for shape in several] + site.results
    return all(shape[:1] == (1,) for shape in shapes)


def samplewise(site: Site) -> dict[str, Any] | None:
    """The first axis is the batch by definition (convolution, pooling, `f(x)` by element); parameters are constant."""
    return {} if set(site.operands) == {"x"} else None


def elementwise(site: Site) -> dict[str, Any] | None:
    """Operands broadcast from the last axis on: the leading axes meet only where the ranks are the same."""
    ranks = {len(shape) for several in site.operands.values() for shape in several}
    return {} if ranks == {len(site.results[0])} else None


def along(*names: str, of_result: bool = False) -> Rule:
    """Works along the axes in parameter `names`, which must not be the first; those of the result where they are new."""

    def rule(site: Site) -> dict[str, Any] | None:
        rank = len(site.results[0]) if of_result else site.rank
        for name in names:
            if name not in site.constants or any(int(axis) % rank == 0 for axis in np.ravel(site.constants[name])):
                return None
        return None if "values" in site.constants else {}

    return rule


def reshaped(site: Site) -> dict[str, Any] | None:
    """1 · n elements in rows of one sample each stay so; the first size is left to NumPy."""
    return {"shape": (-1, *site.results[0][1:])}


def permuted(site: Site) -> dict[str, Any] | None:
    return {} if int(site.constants["perm"][0]) == 0 else None


def gathered(site: Site) -> dict[str, Any] | None:
    """Rows of a constant table by each sample's indices, or the same elements of each sample."""
    if int(site.constants.get("batch_dims", 0)):
        return None
    if set(site.operands) == {"indices"}:  # their shape stands in place of the axis, which is the result's first
        return {} if int(site.constants.get("axis", 0)) % np.ndim(site.constants["x"]) == 0 else None
    return {} if set(site.operands) == {"x"} and int(site.constants.get("axis", 0)) % site.rank else None


def padded(site: Site) -> dict[str, Any] | None:
    flat = site.constants["pad"]
    return {} if len(flat) < 2 * site.rank or not (flat[0] or flat[1]) else None


def tiled(site: Site) -> dict[str, Any] | None:
    return {} if len(site.constants["reps"]) == site.rank and site.constants["reps"][0] == 1 else None


def sliced(site: Site) -> dict[str, Any] | None:
    """A slice of the one sample is all of it, so the first axis is left open."""
    squeezed = site.constants.get("squeeze_mask")
    if squeezed is not None and squeezed[0]:
        return None
    opened: dict[str, Any] = {}
    for name, first in (("begin_mask", True), ("end_mask", True), ("stride", 1)):
        given = site.constants.get(name)
        values = np.full(site.rank, first) if given is None and name == "stride" else np.zeros(site.rank, bool)
        opened[name] = values if given is None else np.array(given)
        opened[name][0] = first
    return opened


def multiplied(site: Site) -> dict[str, Any] | None:
    """Rows of matrices of their own, or one row a sample times a constant matrix."""
    rank = len(site.results[0])
    if rank > 2:
        return elementwise(site)
    transposed = bool(site.constants.get("transpose_x", False))
    return {} if set(site.operands) == {"x"} and not transposed else None
