"""A worker: the driver's run on a scratch store, one task after the other. What it recorded goes back as a packet."""

import fcntl
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekd.console import Bar, Console
from edgekd.errors import DeviceError, EdgekdError, storage_errors
from edgekd.store import Store
from edgekd.workers.packet import Packet
from edgekd.workers.setting import run_from, take_state
from edgekd.workers.task import TASKS, Task

if TYPE_CHECKING:
    from edgekd.stages import Run

Record = dict[str, Any]
PREFIX, STORE = "edgekd-worker-", "store"


class Silent(Console):
    """Says nothing: what a worker finds out, the flow says when it comes to it."""

    def say(self, text: str) -> None:
        return

    @contextmanager
    def bar(self, title: str, total: float) -> Iterator[Bar]:
        from rich.progress import Progress

        progress = Progress(console=self.rich, disable=True)
        yield Bar(progress, progress.add_task(title, total=total, note=""))


class Worker:
    """Keeps data and scratch store from task to task. `folder` is one of `scratch_folder`."""

    def __init__(self, setup: Record, folder: Path) -> None:
        self._store = Store(folder / STORE)
        self._run: Run = run_from(setup, self._store, Silent())

    def perform(self, job: Packet, cache_root: Path) -> Packet:
        """Do a job's task. The answer's note says how it ended: `error` is one of edgekd's, which the flow will meet itself;
        `lost` whether the device is why.
        """
        started, error, lost = time.time(), None, False
        try:
            self._store.merge(job)
            before = self._store.last
            take_state(self._run, job.note["state"], cache_root)
            task = Task.from_json(job.note["task"])
            TASKS[task.what](self._run, task)
        except EdgekdError as found:
            error, lost = str(found), isinstance(found, DeviceError)
        return self._store.packet(
            self._store.since(before), {"error": error, "lost": lost, "started": started, "seconds": time.time() - started}
        )


def refusal(error: EdgekdError) -> Packet:
    """The answer of a machine that cannot be a worker of this run, whatever the task."""
    return Packet(note={"refused": str(error)})


def job_packet(run: "Run", task: Task, needs: list[tuple[str, str]], setup: Record, state: Record) -> Packet:
    """All that a worker has to know to do the task."""
    return run.store.packet(needs, {"setup": setup, "state": state, "task": task.to_json()})


def scratch_folder() -> Path:
    """A new folder for a worker's store; those of workers that were killed are removed on the way: their lock is free."""
    root = Path(tempfile.gettempdir())
    for old in root.glob(f"{PREFIX}*"):
        with suppress(OSError), (old / STORE / ".lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(old, ignore_errors=True)
    with storage_errors(str(root)):
        return Path(tempfile.mkdtemp(prefix=PREFIX))
