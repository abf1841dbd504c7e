"""What a model answers on a device: fetched as data, nothing of which is believed."""

from pathlib import Path

import numpy as np
import pytest

from edgekd.bench.transports.local import Local
from edgekd.device import find_device
from edgekd.device_session import DeviceSession, device_outputs
from edgekd.errors import DeviceError
from edgekd.null_target import LinearModule, NullTarget
from edgekd.target import Program
from edgekd.types import Artifact, Contract

TARGET, HERE = NullTarget(), find_device("local")
CONTRACT = Contract(classes=("a", "b"), mean=(0.0,), std=(1.0,), value_max=1.0, shape=(1, 4, 4))
INPUTS = np.random.default_rng(0).standard_normal((5, 1, 4, 4)).astype(np.float32)
LIES = {
    "objects": "numpy.save('output-0.npy', numpy.array([{}]), allow_pickle=True)",
    "size": "numpy.lib.format.write_array_header_1_0("
    "open('output-0.npy', 'wb'), dict(descr='<f4', fortran_order=False, shape=(10**12,)))",
    "fewer samples": "numpy.save('output-0.npy', numpy.zeros((3, 2), numpy.float32))",
    "text": "numpy.save('output-0.npy', numpy.array(['a'] * 5))",
    "garbage": "open('output-0.npy', 'wb').write(bytes(100))",
    "nothing": "os.remove('output-0.npy')",
}


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    module = LinearModule(np.random.default_rng(1).standard_normal((2, 16)).astype(np.float32), np.ones(2, np.float32))
    return TARGET.convert(Program(module=module, input_shape=(1, 4, 4), contract=CONTRACT, parent="p"), tmp_path)


class Lying(Local):
    """A device that changes its outputs after the run."""

    def __init__(self, lie: str) -> None:
        super().__init__()
        self.lie = lie

    def run(self, argv, timeout_s):  # type: ignore[no-untyped-def]
        done = super().run(argv, timeout_s)
        assert super().run([self.python, "-c", f"import os, numpy; {self.lie}"], 60).rc == 0
        return done


def test_answers_of_a_device_are_those_of_a_session(artifact: Artifact) -> None:
    """Logits come back sample by sample, as the target's own session gives them."""
    transport = Local()
    found = DeviceSession(artifact.path, TARGET.contract(artifact.path), HERE, target=TARGET, transport=transport).run(INPUTS)
    transport.close()
    assert np.array_equal(found, TARGET.open(artifact.path).run(INPUTS))


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_what_comes_back_is_not_believed(artifact: Artifact, lie: str) -> None:
    """Objects, sizes that are not there, other shapes and garbage are named; nothing is unpickled."""
    transport = Lying(lie)
    with pytest.raises(DeviceError, match=r"outputs|output-0\.npy"):
        device_outputs(artifact.path, [INPUTS], HERE, target=TARGET, transport=transport)
    transport.close()
