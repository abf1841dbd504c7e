"""Reference executor: runs a package's program in NumPy, off a Mac, from the package alone.

Half precision: values are rounded to fp16 after every operation, sums inside an operation run in float32. Apple's
processors differ among themselves here (the Neural Engine and the GPU may add in fp16), so an fp16 answer of a real
device lies near this one, not on it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekd.errors import InputError, StageError, first_line
from edgekd.plugins import need
from edgekd.target import FloatArray
from edgekd_coreml.batching import Site, leading
from edgekd_coreml.kernels import KERNELS
from edgekd_coreml.package import read
from edgekd_coreml.program import MilProgram, Operation, decode, parameters
from edgekd_coreml.weights import MAX_ELEMENTS, Array, elements

CHUNK = 16
"""Samples at once. On 28×28 inputs 8 take 0 to 15 % longer, 64 and more 10 to 75 %: they leave the processor's cache."""


@dataclass(frozen=True)
class Step:
    """One operation, ready to run. `batched`: its results depend on the sample. `last`: values nobody needs after it."""

    operation: Operation
    batched: bool
    replaced: dict[str, Any]
    last: tuple[str, ...]


class ReferenceSession:
    """A loaded package. Raises InputError for a broken one, StageError("verify", …) for an operation it does not know."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._path, self._threads = path, threads
        # Two BLAS threads that wait for each other at every small product take 100 times as long on a busy machine.
        self._blas = need("threadpoolctl", "coreml", "running Core ML packages").ThreadpoolController()
        self._program = program = decode(read(path))
        unknown = sorted({each.kind for each in program.operations} - set(KERNELS))
        if unknown:
            cause = f"{path}: the reference executor has no operation '{', '.join(unknown)}'"
            raise StageError("verify", cause, "choose another family, or verify on a Mac")
        if len(program.inputs) != 1 or len(program.outputs) != 1 or program.inputs[0].shape[:1] != (1,):
            raise InputError(f"{path}: expected one input of batch 1 and one output")
        try:
            self._steps, self._together = _plan(program)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise InputError(f"{path}: broken program: {error}") from error
        self._check()

    def run(self, inputs: FloatArray) -> FloatArray:
        """Logits (B, classes) for (B, C, H, W), float32, normalised. Raises InputError for another shape."""
        expected = self._program.inputs[0].shape[1:]
        if inputs.shape[1:] != expected:
            raise InputError(f"{self._path}: samples of shape {inputs.shape[1:]}, expected {expected}")
        size = CHUNK if self._together else 1
        with self._blas.limit(limits=self._threads, user_api="blas"):
            rows = [self._chunk(inputs[at : at + size]) for at in range(0, len(inputs), size)]
        if not rows:
            raise InputError(f"{self._path}: there are no samples to run")
        return np.concatenate(rows).astype(np.float32)

    def close(self) -> None:
        """Nothing is held but memory."""

    def _check(self) -> None:
        """Refuse what could not be run: tensors beyond all measure, an output that no sample reaches."""
        computed = {value.name for step in self._steps if step.batched for value in step.operation.outputs}
        if self._program.outputs[0] not in computed:
            raise InputError(f"{self._path}: output '{self._program.outputs[0]}' does not follow from the input")
        largest = max((elements(value.shape) for step in self._steps for value in step.operation.outputs), default=0)
        if largest * CHUNK > MAX_ELEMENTS:
            raise InputError(f"{self._path}: a tensor of {largest} elements is beyond what the reference executor takes")

    def _chunk(self, inputs: FloatArray) -> Array:
        given = self._program.inputs[0]
        values: dict[str, Any] = {**self._program.constants, given.name: _rounded(np.asarray(inputs, np.float32), given.dtype)}
        for step in self._steps:
            self._run(step, values, len(inputs))
            for name in step.last:
                del values[name]
        return np.asarray(values[self._program.outputs[0]]).reshape(len(inputs), -1)

    def _run(self, step: Step, values: dict[str, Any], batch: int) -> None:
        """Run one operation and check its results against what the program declares."""
        operation = step.operation
        try:
            with np.errstate(all="ignore"):
                found = KERNELS[operation.kind].run(**{**parameters(operation, values), **step.replaced})
            results = found if isinstance(found, list) else [found]
            for value, result in zip(operation.outputs, results, strict=True):
                declared = (batch, *value.shape[1:]) if step.batched and self._together else value.shape
                if np.shape(result) != declared:
                    raise ValueError(f"gives shape {np.shape(result)}, declared {declared}")
                values[value.name] = _rounded(np.asarray(result), value.dtype)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, MemoryError) as error:
            name = f"operation '{operation.kind}' ({operation.outputs[0].name})"
            raise InputError(f"{self._path}: {name} cannot be run: {first_line(error)}") from error


def _rounded(values: Array, dtype: str) -> Array:
    """As a tensor of `dtype` holds them, floats kept in float32. Out of range of fp16 is infinite, as on a device."""
    if dtype == "fp16":
        return values.astype(np.float16).astype(np.float32)
    return values.astype(np.float32) if dtype == "fp32" else values


def _plan(program: MilProgram) -> tuple[list[Step], bool]:
    """(the operations in order, whether samples may run together)."""
    shapes = {value.name: value.shape for value in program.inputs}
    needed = _last_uses(program)
    steps, together = [], True
    for number, operation in enumerate(program.operations):
        site = _site(operation, shapes, program)
        replaced: dict[str, Any] | None = {}
        if site.operands:
            replaced = KERNELS[operation.kind].rule(site) if leading(site) else None
            shapes.update({value.name: value.shape for value in operation.outputs})
        together = together and replaced is not None
        steps.append(Step(operation, bool(site.operands), replaced or {}, needed.get(number, ())))
    return (steps, True) if together else ([Step(s.operation, s.batched, {}, s.last) for s in steps], False)


def _site(operation: Operation, shapes: dict[str, tuple[int, ...]], program: MilProgram) -> Site:
    """What a batching rule sees. `shapes`: declared, of the values so far that depend on the sample."""
    operands = {key: [shapes[name] for name in names if name in shapes] for key, names in operation.inputs.items()}
    fixed = {key: names for key, names in operation.inputs.items() if any(name not in shapes for name in names)}
    constants = {key: program.constants.get(names[0]) for key, names in fixed.items()}
    results = [value.shape for value in operation.outputs]
    return Site(operands={key: each for key, each in operands.items() if each}, constants=constants, results=results)


def _last_uses(program: MilProgram) -> dict[int, tuple[str, ...]]:
    """Number of an operation → computed values that are needed for the last time there, constants and output apart."""
    last: dict[str, int] = {}
    for number, operation in enumerate(program.operations):
        last.update(dict.fromkeys((value.name for value in operation.outputs), number))
        last.update({name: number for names in operation.inputs.values() for name in names if name not in program.constants})
    found: dict[int, tuple[str, ...]] = {}
    for name, number in last.items():
        if name not in program.outputs:
            found[number] = (*found.get(number, ()), name)
    return found
