"""Workers as processes of this machine. They train, rate and build; what is measured here waits until the machine is quiet.

Devices elsewhere are measured meanwhile, all at the same time: each has a process of its own that builds for it and waits for it.
"""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING

from edgekd.errors import InputError
from edgekd.workers.crew import Dispatch, Ended, Seat
from edgekd.workers.packet import Packet
from edgekd.workers.task import Task
from edgekd.workers.worker import scratch_folder

if TYPE_CHECKING:
    from edgekd.stages import Run

MOST = 256
GRACE_S = 5.0
"""A process that let go of its channel, or was asked to end, has this long before it is killed."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """A worker's process, our end of its channel, and the folder of its store and its log."""

    popen: subprocess.Popen[bytes]
    channel: Connection
    folder: Path


class Processes:
    """`count` processes and one for each remote device, started when there is something to do and ended with the run."""

    def __init__(self, count: int) -> None:
        if not 1 <= count <= MOST:
            raise InputError(f"--workers is {count}, expected 1 to {MOST}")
        self._count = count
        self._started: dict[Seat, Process] = {}
        self._busy: set[Seat] = set()

    def warm(self, run: "Run", tasks: Sequence[Task]) -> None:
        ours = [task for task in tasks if task.device(run) is None or task.is_remote(run)]
        if ours:
            Dispatch(run, ours, self).work()

    def close(self) -> None:
        for seat in list(self._started):
            self._end(seat)
        self._busy.clear()

    # A crew --------------------------------------------------------------------------------------------------------

    def free(self, device: str | None) -> Seat | None:
        seats = [Seat(where=f"process {index + 1}", index=index) for index in range(self._count)]
        if device is not None:
            seats = [Seat(where=f"process for {device}", index=0, device=device)]
        return next((seat for seat in seats if seat not in self._busy), None)

    def start(self, seat: Seat, job: Packet, run: "Run") -> None:
        if seat not in self._started:
            self._started[seat] = start_process()
        self._busy.add(seat)
        # A process that ended meanwhile is seen by `wait`.
        with suppress(OSError):
            self._started[seat].channel.send_bytes(job.to_bytes())

    def wait(self) -> list[Ended]:
        channels = {self._started[seat].channel: seat for seat in self._busy}
        return [self._received(channels[channel]) for channel in wait(list(channels)) if isinstance(channel, Connection)]

    def stop(self) -> None:
        for seat in list(self._busy):
            self._end(seat)
        self._busy.clear()

    def _received(self, seat: Seat) -> Ended:
        self._busy.discard(seat)
        try:
            return Ended(seat=seat, answer=Packet.from_bytes(self._started[seat].channel.recv_bytes()))
        except (EOFError, OSError, InputError):
            return Ended(seat=seat, answer=None, cause=self._end(seat, GRACE_S), fault=True)

    def _end(self, seat: Seat, own_end_s: float = 0.0) -> str:
        """End a seat's process, if it does not come to its own end in time; how it ended, in words."""
        process = self._started.pop(seat)
        process.channel.close()
        popen = process.popen
        with suppress(subprocess.TimeoutExpired):
            popen.wait(own_end_s)
        if popen.poll() is None:
            popen.terminate()
            with suppress(subprocess.TimeoutExpired):
                popen.wait(GRACE_S)
            popen.kill()
        code, last = popen.wait(), _last_line(process.folder / "log")
        shutil.rmtree(process.folder, ignore_errors=True)
        return f"it ended with {f'signal {-code}' if code < 0 else f'exit code {code}'}" + (f": {last}" if last else "")


def start_process() -> Process:
    """A fresh interpreter, not a fork: torch's threads do not survive one, and a caller's script is not run again."""
    folder = scratch_folder()
    ours, theirs = socket.socketpair()
    with theirs, (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "edgekd.workers.process", str(theirs.fileno()), str(folder), str(os.getpid())]
        popen = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(theirs.fileno(),), start_new_session=True
        )
    return Process(popen=popen, channel=Connection(ours.detach()), folder=folder)


def _last_line(log: Path) -> str:
    with suppress(OSError):
        lines = log.read_text(errors="replace")[-4000:].splitlines()
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")
    return ""
