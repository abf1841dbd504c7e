"""What a model answers on a device, run there by the runner and the harness that also measure it."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.bench.runs import Runs
from edgekd.bench.settings import Settings, Use
from edgekd.bench.transports import Transport
from edgekd.device import Device
from edgekd.errors import DeviceError, storage_errors
from edgekd.session import from_native, to_native
from edgekd.target import FloatArray, Target
from edgekd.types import Contract

Array = NDArray[Any]


class DeviceSession:
    """A `Session` whose artifact lies on a device. The transport is the caller's, and stays open."""

    def __init__(
        self, artifact: Path, contract: Contract, device: Device, *, target: Target, transport: Transport, threads: int = 1
    ) -> None:
        self._artifact, self._contract = artifact, contract
        self._device, self._target, self._transport, self._threads = device, target, transport, threads

    def run(self, inputs: FloatArray) -> FloatArray:
        """Logits (B, classes) for (B, C, H, W). Raises as `device_outputs` does."""
        spec, out = self._contract.inputs[0], self._contract.outputs[0]
        native = to_native(inputs, spec)
        answers = device_outputs(
            self._artifact, [native], self._device, target=self._target, transport=self._transport, threads=self._threads
        )
        return from_native(answers[0].reshape(len(native), -1), out)

    def close(self) -> None:
        """Nothing: the model ended with its process."""


def device_outputs(
    model: Path, inputs: Sequence[Array], device: Device, *, target: Target, transport: Transport, threads: int = 1
) -> list[Array]:
    """Run a model file on a device, sample by sample.

    Args:
        model: any file that the target's runner can load, with a batch of 1.
        inputs: one array (N, …) an input of the model, in its layout and type.

    Returns:
        One array (N, …) an output.

    Raises:
        DeviceError: where the model does not run there, the device is lost, or answers nonsense.
    """
    samples = len(inputs[0])
    with storage_errors("a temporary folder"), tempfile.TemporaryDirectory(prefix="edgekd-outputs-") as folder:
        files = tuple(_saved(Path(folder) / f"{number}.npy", array) for number, array in enumerate(inputs))
        runs = Runs(model, device, target, transport, threads, Settings(), Use(inputs=files, samples=samples))
        runs.push()
        reply = runs.run("outputs", {"queries": samples})
        runs.check_alike([reply])
        return [_fetched(transport, number, Path(folder), samples, device.name) for number in range(reply.outputs)]


def _saved(file: Path, array: Array) -> Path:
    np.save(file, array, allow_pickle=False)
    return file


def _fetched(transport: Transport, number: int, folder: Path, samples: int, where: str) -> Array:
    """An output's file: data from outside, so that no object is unpickled and no size in its header is believed."""
    name = f"output-{number}.npy"
    transport.pull(name, folder / name)
    try:
        # A map of the file cannot be larger than the file, whatever its header says.
        output = np.array(np.lib.format.open_memmap(folder / name, mode="r"))
    except (ValueError, TypeError, OverflowError, SyntaxError) as error:
        raise DeviceError(f"{where}: the outputs that came back are no arrays of numbers") from error
    if output.dtype.kind not in "fiub" or output.shape[:1] != (samples,):
        raise DeviceError(f"{where}: outputs of {samples} samples were asked for, others came back")
    return output
