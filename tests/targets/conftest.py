"""What the target tests share: students trained on real digits, and every artifact built once."""

from collections.abc import Callable

import numpy as np
import pytest

from edgekd._conformance_student import fit
from edgekd.errors import MissingExtraError
from edgekd.null_target import LinearModule
from edgekd.plugins import find_target
from edgekd.students.mbconv import MBCONV
from edgekd.students.program import weights_hash
from edgekd.target import FloatArray, Program
from edgekd.testing import Case
from edgekd.types import Contract, digest

PARAMS = {"width": 16, "growth": 2.0, "depth": 2, "kernel": 3, "expansion": 4, "stem_stride": 1, "skip": True}
TRAINED_ON = 597
"""Of 1,797 digits; 200 calibrate, and the answers to 1,000 are compared."""
CONTRACT = Contract(
    classes=tuple(f'<{i}> "&\n  é  >  <' for i in range(10)), mean=(0.3,), std=(0.38,), value_max=16.0, shape=(1, 8, 8)
)
"""Class names with everything that a metadata format could trip over."""


@pytest.fixture(scope="session")
def digits() -> tuple[FloatArray, np.ndarray]:
    """All digits (1797, 1, 8, 8), normalised and shuffled, with their labels."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.images))
    inputs = ((bunch.images[order, None] / 16 - 0.3) / 0.38).astype(np.float32)
    return inputs, bunch.target[order].astype(np.int64)


@pytest.fixture(scope="session")
def student(digits) -> Program:
    """An inverted-residual student trained on some of the digits."""
    import torch

    inputs, labels = digits
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = MBCONV.build(PARAMS, (1, 8, 8), 10)
    fit(module, inputs[:TRAINED_ON], labels[:TRAINED_ON], epochs=12)
    return Program(module=module, input_shape=(1, 8, 8), contract=CONTRACT, parent=weights_hash(module.state_dict()))


@pytest.fixture(scope="session")
def linear_student(digits) -> Program:
    """A linear student for the null target, fitted to the same digits by ridge regression."""
    inputs, labels = digits
    flat = np.c_[inputs[:TRAINED_ON].reshape(TRAINED_ON, -1), np.ones(TRAINED_ON)].astype(np.float64)
    solved = np.linalg.solve(flat.T @ flat + 10 * np.eye(flat.shape[1]), flat.T @ np.eye(10)[labels[:TRAINED_ON]])
    module = LinearModule(solved[:-1].T.astype(np.float32), solved[-1].astype(np.float32))
    return Program(module=module, input_shape=(1, 8, 8), contract=CONTRACT, parent=digest(module.weight.tolist()))


@pytest.fixture(scope="session")
def case(digits, request, tmp_path_factory) -> Callable[[str], Case]:
    """The `Case` of a target by its name, with its artifacts of this session; skips where its packages are missing."""
    made: dict[str, Case | MissingExtraError] = {}
    root = tmp_path_factory.mktemp("artifacts")

    def find(name: str) -> Case:
        if name not in made:
            program = request.getfixturevalue("linear_student" if name == "null" else "student")
            found = Case(find_target(name), program, digits[0][TRAINED_ON:], root)
            try:
                found.artifact("fp32")
                made[name] = found
            except MissingExtraError as error:
                made[name] = error
        known = made[name]
        if isinstance(known, MissingExtraError):
            pytest.skip(str(known))
        return known

    return find
