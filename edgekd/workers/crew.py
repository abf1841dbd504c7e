"""Hand tasks to a crew of workers until none is left, and take up again what was lost.

A unit is worked on by one worker at a time: a task whose first missing unit is being computed waits until it is recorded, and
is then asked for again. That is also what orders tasks that read each other's units.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from edgekd.errors import EdgekdError, InputError
from edgekd.store import MEASUREMENTS, Unrecorded
from edgekd.workers.packet import Packet, UnitName
from edgekd.workers.setting import afresh, setup_of, state_of
from edgekd.workers.task import TASKS, Task
from edgekd.workers.worker import job_packet

if TYPE_CHECKING:
    from edgekd.stages import Run

Record = dict[str, Any]
MOST_LOST = 3
"""Workers that one task may take down; then it is left to the flow, where what is wrong with it can be seen."""


@dataclass(frozen=True, kw_only=True)
class Seat:
    """A place for one task at a time.

    Args:
        where: the process or the machine, as accounts name it.
        index: among those there.
        device: what it measures on; None computes.
    """

    where: str
    index: int
    device: str | None = None


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a job ended: a packet, or none and why. `fault` is the worker's end; otherwise its code raised something."""

    seat: Seat
    answer: Packet | None
    cause: str = ""
    fault: bool = False


class Crew(Protocol):
    """Workers that take jobs. A seat that `free` gave is taken by `start` until `wait` says that its job ended."""

    def free(self, device: str | None) -> Seat | None: ...

    def start(self, seat: Seat, job: Packet, run: "Run") -> None: ...

    def wait(self) -> list[Ended]:
        """Blocks until something ended. Raises an EdgekdError that ends the run where no worker can be right."""
        ...

    def stop(self) -> None:
        """End the jobs that are under way; their results are not wanted."""
        ...


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the store has of a task: `missing` is the first unit that it has not, `needs` those that were read before."""

    missing: UnitName | None
    needs: list[UnitName]


def ask(run: "Run", task: Task) -> Asked:
    """Go through a task without computing. An error of the task's own counts as nothing missing: the flow will meet it."""
    with run.store.asking() as needs:
        try:
            TASKS[task.what](afresh(run), task)
        except Unrecorded as found:
            return Asked(missing=found.name, needs=needs)
        except EdgekdError:
            pass
        return Asked(missing=None, needs=needs)


@dataclass(frozen=True, kw_only=True)
class _Flight:
    task: Task
    missing: UnitName
    started: float


class Dispatch:
    """One list of tasks on its way through a crew."""

    def __init__(self, run: "Run", tasks: Sequence[Task], crew: Crew) -> None:
        self._run, self._crew = run, crew
        self._waiting, self._flying = list(tasks), dict[Seat, _Flight]()
        self._attempts, self._lost = Counter[Task](), Counter[Task]()
        self._given_up, self._gone = set[UnitName](), set[str]()
        self._total, self._setup = len(tasks), setup_of(run)

    def work(self) -> None:
        """Until nothing is under way and nothing more can be started."""
        try:
            with self._run.console.bar("workers", self._total) as bar:
                while True:
                    self._start_all(devices_for_measuring=True)
                    if not self._flying:
                        self._start_all(devices_for_measuring=False)
                    if not self._flying:
                        return
                    done = self._total - len(self._waiting) - len(self._flying)
                    bar.at(done, ", ".join(sorted({flight.task.what for flight in self._flying.values()})))
                    for ended in self._crew.wait():
                        self._take(ended)
        finally:
            if self._flying:
                self._crew.stop()

    def _start_all(self, devices_for_measuring: bool) -> None:
        """Start what there are seats for. A device is not kept busy with what a machine without one could do, if there is one."""
        for task in list(self._waiting):
            device = task.device(self._run)
            if device in self._gone:
                self._waiting.remove(task)
                continue
            seat = self._crew.free(device)
            if seat is None:
                continue
            asked = ask(self._run, task)
            if asked.missing is None or asked.missing in self._given_up:
                self._waiting.remove(task)
            elif seat.device and devices_for_measuring and asked.missing[0] not in MEASUREMENTS and self._others_left():
                continue
            elif all(flight.missing != asked.missing for flight in self._flying.values()):
                self._waiting.remove(task)
                job = job_packet(self._run, task, asked.needs, self._setup, state_of(self._run))
                self._crew.start(seat, job, self._run)
                self._flying[seat] = _Flight(task=task, missing=asked.missing, started=time.time())

    def _others_left(self) -> bool:
        """Whether anything that needs no device is under way or waits."""
        tasks = [*self._waiting, *(flight.task for flight in self._flying.values())]
        return any(task.device(self._run) is None for task in tasks)

    def _take(self, ended: Ended) -> None:
        """Record what came back; a lost task waits for another worker."""
        flight = self._flying.pop(ended.seat)
        task = flight.task
        if ended.answer is not None and "refused" in ended.answer.note:
            raise InputError(f"worker {ended.seat.where[:12]}: {ended.answer.note['refused']}")
        self._attempts[task] += 1
        self._run.store.merge(ended.answer or Packet(), self._account(ended, flight))
        if ended.answer is None:
            self._lost[task] += 1
            again = self._lost[task] <= MOST_LOST
            what = "another takes it up" if again else "left to this process"
            self._run.console.say(f"worker {ended.seat.where[:12]} lost {task}: {ended.cause}; {what}")
            if again:
                self._waiting.insert(0, task)
                return
        if ended.answer is None or ended.answer.note["error"]:
            self._given_up.add(flight.missing)
        if ended.answer is not None and ended.answer.note.get("lost") and ended.seat.device:
            self._gone.add(ended.seat.device)  # the flow waits for it, or gives it up

    def _account(self, ended: Ended, flight: _Flight) -> Record:
        note = {} if ended.answer is None else ended.answer.note
        error = note.get("error")
        outcome = "done" if ended.answer is not None else "lost" if ended.fault else "failed"
        return {
            "task": str(flight.task),
            "unit": list(flight.missing),
            "number": self._attempts[flight.task],
            "worker": ended.seat.where,
            "started": flight.started,
            "seconds": time.time() - flight.started,
            "outcome": "left" if error else outcome,
            "cause": error or ended.cause,
        }


def summary(attempts: Sequence[Record]) -> Record:
    """Of `Store.attempts`, for a report: how often workers were asked, what became of it, what each machine did."""
    outcomes = Counter(attempt["outcome"] for attempt in attempts)
    return {
        "attempts": len(attempts),
        **{outcome: outcomes[outcome] for outcome in ("done", "left", "lost", "failed")},
        "units": sum(attempt["recorded"] for attempt in attempts),
        "done_twice": sum(attempt["repeated"] for attempt in attempts),
        "by_worker": dict(Counter(attempt["worker"] for attempt in attempts if attempt["recorded"])),
    }
