"""Workers on a Ray cluster. Machines offer CPUs, and the devices at them as resources:

    ray start --address HEAD:6379 --num-cpus 8                                            # trains, rates and builds
    ray start --address HEAD:6379 --num-cpus 0 --resources '{"device:pixel-8": 1}'        # measures, and does nothing else

A step that measures runs only where its device is offered, one at a time; where no machine offers it, the flow measures. Every
machine has the driver's version of edgekd; the project's folder lies at the same place, or is Ray's `working_dir`.

Ray restarts nothing by itself here (`max_retries=0`), and every job is put on a machine by name: so the account of attempts
(`Store.attempts`) is whole, and a lost one is known by where it was lost.
"""

import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from edgekd.errors import DeviceError, InputError, first_line
from edgekd.plugins import need
from edgekd.workers.crew import Dispatch, Ended, Seat
from edgekd.workers.packet import Packet
from edgekd.workers.remote import perform
from edgekd.workers.task import Task

if TYPE_CHECKING:
    from edgekd.stages import Run

Record = dict[str, Any]
REACH_S, CONNECT_S = 5.0, 20.0
"""Until a machine that does not answer is given up, and one that answers but is no Ray."""
LOOKS_EVERY_S = 1.0
"""At which machines there are, and whether something ended."""
AVOIDED_S = 30.0
"""A machine that lost a job comes last for so long: Ray may take a while to see that it is dead."""
FETCH_S = 120.0


class OnRay:
    """The cluster at an address: `auto` is one that this machine is part of, HOST:PORT too, ray://HOST:PORT any other.

    Raises:
        MissingExtraError: without Ray.
        InputError: for what is no address, or a cluster of another version of Ray or Python.
        DeviceError: where no cluster answers.
    """

    def __init__(self, address: str) -> None:
        self._ray = connect(address)
        self._flying: dict[Any, Seat] = {}
        self._shipped: dict[str, dict[str, Any]] = {}
        self._nodes: list[Record] = []
        self._looked = -LOOKS_EVERY_S
        self._avoided: dict[str, float] = {}

    def warm(self, run: "Run", tasks: Sequence[Task]) -> None:
        Dispatch(run, tasks, self).work()

    def close(self) -> None:
        self.stop()
        self._ray.shutdown()

    # A crew --------------------------------------------------------------------------------------------------------

    def free(self, device: str | None) -> Seat | None:
        """On the machine with the fewest jobs; one that lost a job comes last."""
        busy = Counter(seat.where for seat in self._flying.values())
        for node in sorted(self._alive(), key=lambda node: (self._is_avoided(node), busy[node["NodeID"]])):
            offered = int(node["Resources"].get("CPU" if device is None else f"device:{device}", 0))
            for index in range(offered):
                seat = Seat(where=node["NodeID"], index=index, device=device)
                if seat not in self._flying.values():
                    return seat
        return None

    def start(self, seat: Seat, job: Packet, run: "Run") -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        remote = self._ray.remote(perform).options(
            num_cpus=1 if seat.device is None else 0,
            resources={} if seat.device is None else {f"device:{seat.device}": 1},
            max_retries=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(seat.where, soft=False),
        )
        self._flying[remote.remote(job.to_bytes(), self._caches(run))] = seat

    def wait(self) -> list[Ended]:
        ready: list[Any] = []
        while not ready:
            ready, _ = self._ray.wait(list(self._flying), timeout=LOOKS_EVERY_S)
        return [self._received(ref) for ref in ready]

    def stop(self) -> None:
        for ref in self._flying:
            with suppress(Exception):  # whatever Ray says of one that has just ended
                self._ray.cancel(ref, force=True)
        self._flying.clear()

    def _received(self, ref: Any) -> Ended:
        from ray.exceptions import RayError, RayTaskError

        seat = self._flying.pop(ref)
        try:
            return Ended(seat=seat, answer=Packet.from_bytes(self._ray.get(ref, timeout=FETCH_S)))
        except RayTaskError as error:
            if "No module named 'edgekd" in str(error):
                where = f"a machine of the Ray cluster ({seat.where[:12]})"
                raise InputError(f"{where} has no edgekd: install there what is installed here") from error
            return Ended(seat=seat, answer=None, cause=first_line(error.cause))
        except (RayError, InputError) as error:
            self._avoided[seat.where] = time.monotonic() + AVOIDED_S
            self._looked = -LOOKS_EVERY_S
            return Ended(seat=seat, answer=None, cause=first_line(error).partition(". ")[0], fault=True)

    def _alive(self) -> list[Record]:
        if time.monotonic() - self._looked > LOOKS_EVERY_S:
            self._nodes = [node for node in self._ray.nodes() if node["Alive"]]
            self._looked = time.monotonic()
        return self._nodes

    def _is_avoided(self, node: Record) -> bool:
        return self._avoided.get(node["NodeID"], 0.0) > time.monotonic()

    def _caches(self, run: "Run") -> dict[str, dict[str, Any]]:
        """The teachers' answers, a reference for each file: a machine that has a file does not fetch it."""
        for cache in run.training.caches:
            if cache.folder.name not in self._shipped:
                files = sorted(file for file in cache.folder.iterdir() if file.is_file() and not file.name.startswith("."))
                self._shipped[cache.folder.name] = {file.name: self._ray.put(file.read_bytes()) for file in files}
        return {cache.folder.name: self._shipped[cache.folder.name] for cache in run.training.caches}


def connect(address: str) -> Any:
    """Ray, connected. Raises as `OnRay` says."""
    ray = need("ray", "ray", "--ray")
    if address != "auto":
        _reach(address)
    found: list[BaseException] = []

    def init() -> None:
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=init, daemon=True)
    thread.start()
    thread.join(CONNECT_S)
    if thread.is_alive():
        raise DeviceError(f"--ray {address}: what answers there is no Ray cluster, or hangs: see `ray status` on its head")
    if not found:
        return ray
    cause = first_line(found[0])
    if "mismatch" in cause.lower():
        raise InputError(f"--ray {address}: {cause}: install the cluster's versions here") from found[0]
    hint = "on a machine that is not part of the cluster, give ray://HOST:10001"
    raise DeviceError(f"--ray {address}: no Ray cluster can be joined: {cause}; {hint}") from found[0]


def _reach(address: str) -> None:
    """That something answers at HOST:PORT: Ray itself would try for a minute."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InputError(f"--ray {address}: expected auto, HOST:PORT or ray://HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_S).close()
    except OSError as error:
        raise DeviceError(f"--ray {address}: nothing answers there ({error}): see `ray status` on the cluster's head") from error
