"""The memory that a built model's activations need at once, planned from the lifetimes in its file: `modelled`, for any device.

Operators run in the file's order; a tensor lives from the operator that makes it to the last one that reads it, the inputs from
the start, the outputs to the end. Weights, scratch memory of kernels and waste between tensors are not counted: it is what a
perfect planner reaches. Source: Pisarchyk and Lee 2020, arXiv:2001.03288, section 3 (of students: students/liveness.py).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.errors import InputError, MissingExtraError
from edgekd.target import Target
from edgekd.types import Provenance


@dataclass(frozen=True, kw_only=True)
class Step:
    """One operator. `over`: it reads each element before it writes it, so it takes the memory of an input that ends with it."""

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    over: bool = False


@dataclass(frozen=True, kw_only=True)
class Lifetimes:
    """A model's tensors and operators, in the order that they run. `sizes` are in bytes; weights need not be in it."""

    sizes: dict[str, int]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    steps: tuple[Step, ...]


def planned_peak(target: Target, model: Path) -> dict[str, Any]:
    """The figure `planned_peak_bytes` of a record: {value, provenance}, or the reason why there is none.

    A target tells lifetimes by a method `lifetimes(model: Path) -> Lifetimes`, which it need not have.
    """
    tell = getattr(target, "lifetimes", None)
    if tell is None:
        return _none(f"target {target.name} does not tell how long its tensors live")
    try:
        return {"value": peak_bytes(tell(model)), "provenance": str(Provenance.MODELLED)}
    except (InputError, MissingExtraError) as error:
        return _none(str(error))


def _none(reason: str) -> dict[str, Any]:
    return {"value": None, "provenance": str(Provenance.UNAVAILABLE), "reason": reason}


def peak_bytes(found: Lifetimes) -> int:
    """Bytes that live at once at the worst operator. What depends on weights alone is a weight too."""
    steps = _varying(found)
    sizes, last = _fused(found, steps), _last(found, steps)
    place: dict[str, str] = {name: name for name in found.inputs}
    ends = {name: last.get(name, -1) for name in found.inputs}
    alive = {name: sizes[name] for name in found.inputs}
    peak = sum(alive.values())
    for number, step in enumerate(steps):
        for name in step.writes:
            over = _overwritten(step, name, place, ends, alive, sizes, number) if step.over else None
            place[name] = over if over is not None and over not in found.inputs else name
            ends[place[name]] = last.get(name, -1)
            alive.setdefault(place[name], sizes[name])
        peak = max(peak, sum(alive.values()))
        alive = {name: size for name, size in alive.items() if ends[name] > number}
    return peak


def _varying(found: Lifetimes) -> list[Step]:
    """Steps that depend on an input, with only such tensors among what they read. Raises InputError for an unknown size."""
    varying, steps = set(found.inputs), []
    for step in found.steps:
        reads = tuple(name for name in step.reads if name in varying)
        if reads:
            varying.update(step.writes)
            steps.append(Step(reads=reads, writes=step.writes, over=step.over))
    unknown = sorted(varying - found.sizes.keys())
    if unknown:
        raise InputError(f"the file does not tell the size of tensor '{unknown[0][:80]}'")
    return steps


def _last(found: Lifetimes, steps: Sequence[Step]) -> dict[str, int]:
    """Tensor → the last step that reads it."""
    last = {name: number for number, step in enumerate(steps) for name in step.reads}
    return last | dict.fromkeys(found.outputs, len(steps))


def _fused(found: Lifetimes, steps: Sequence[Step]) -> dict[str, int]:
    """Sizes, where what only feeds an element-wise operator with smaller elements is never written in full (quantization)."""
    readers = Counter(name for step in steps for name in step.reads) + Counter(found.outputs)
    sizes = dict(found.sizes)
    for step in reversed(steps):
        if step.over and len(step.reads) == 1 and readers[step.reads[0]] == 1 and step.reads[0] not in found.inputs:
            sizes[step.reads[0]] = min(sizes[step.reads[0]], sizes[step.writes[0]])
    return sizes


def _overwritten(
    step: Step,
    name: str,
    place: dict[str, str],
    ends: dict[str, int],
    alive: dict[str, int],
    sizes: dict[str, int],
    number: int,
) -> str | None:
    """The memory of an input of the step that nobody needs after it, and that is large enough."""
    fitting = (place[read] for read in step.reads)
    return next((there for there in fitting if ends[there] <= number and alive.get(there, 0) >= sizes[name]), None)
