"""Devices that are lost in mid-run: their work waits, that of the others goes on.

Every measurement that was made is in the store, so work that a lost device cut off is simply begun again: what is recorded
comes back at once. A device that does not come back closes its own deployments; the others ship.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekd.bench.transports import DeviceFault
from edgekd.bench.transports.faults import PASSING
from edgekd.deployment import Deployment
from edgekd.errors import DeviceError

if TYPE_CHECKING:
    from edgekd.outcome import Outcome
    from edgekd.stages import Run

PAUSES_S = (5.0, 15.0, 60.0, 120.0)
"""Before each new try; a board starts in a minute. After the last one without any progress the device is given up."""


@dataclass(frozen=True, kw_only=True)
class Absence:
    """A device that was lost: how often in a row, and when to try again (`time.monotonic`)."""

    fault: DeviceError
    tries: int
    due: float


def attempt(run: "Run", outcome: "Outcome", deployment: Deployment, work: Callable[[Deployment], None]) -> bool:
    """Do a deployment's work; whether it was done. It is not where the device is lost, or was and the next try is not due."""
    absence = outcome.absent.get(deployment)
    if deployment in outcome.closed or (absence is not None and time.monotonic() < absence.due):
        return False
    try:
        work(deployment)
    except DeviceError as error:
        _note(run, outcome, deployment, error, 0 if absence is None else absence.tries)
        return False
    if outcome.absent.pop(deployment, None) is not None:
        run.console.say(f"{deployment.label}: the device is back")
    return True


def for_each(
    run: "Run",
    outcome: "Outcome",
    work: Callable[[Deployment], None],
    deployments: Sequence[Deployment] | None = None,
    *,
    patient: bool = True,
) -> None:
    """Do the work of every open deployment, or of `deployments`; those whose device is lost come last, when it is back.

    Args:
        work: is begun again where it was cut off.
        patient: wait for a lost device; otherwise it is given up at once.
    """
    waiting, rounds, last = list(outcome.open_deployments if deployments is None else deployments), 0, run.store.last
    while True:
        waiting = [d for d in waiting if not attempt(run, outcome, d, work) and d not in outcome.closed]
        if not waiting:
            return
        rounds = rounds + 1 if run.store.last == last else 1
        last = run.store.last
        if rounds > len(PAUSES_S) or not patient:
            for deployment in waiting:
                outcome.lose(deployment, outcome.absent[deployment].fault)
            return
        pause = max(0.0, min(outcome.absent[d].due for d in waiting) - time.monotonic())
        run.console.say(f"waiting {pause:.0f} s for {', '.join(d.label for d in waiting)}")
        time.sleep(pause)


def _note(run: "Run", outcome: "Outcome", deployment: Deployment, error: DeviceError, tries: int) -> None:
    """Of what will pass, when to try again; all else closes the deployment."""
    if not (isinstance(error, DeviceFault) and error.cause in PASSING):
        outcome.lose(deployment, error)
        run.console.say(f"{deployment.label}: device failed: {error}")
        return
    pause = PAUSES_S[min(tries, len(PAUSES_S) - 1)]
    outcome.absent[deployment] = Absence(fault=error, tries=tries + 1, due=time.monotonic() + pause)
    run.console.say(f"{deployment.label}: device lost: {error}; the others go on")
