"""Workers compute units of work ahead of the flow: on this machine's processes, or on a Ray cluster.

The flow of `pipeline.py` stays serial and alone decides: it asks the store for one unit after the other. Before it goes through
a list of units that do not depend on each other it lets workers fill the store with them (`warm`). What no worker did, because
it failed or there was none, the flow computes itself: workers change how long a run takes, never what it finds.

    driver:  task → ask the store → job (task, units and files that it reads) ──→ worker: the same Run, a store of its own
             store.merge ←── packet (units that were recorded, their files) ←──────────┘
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from edgekd.workers.task import Task

if TYPE_CHECKING:
    from edgekd.stages import Run

__all__ = ["Here", "Task", "Workers"]


class Workers(Protocol):
    """Whoever computes ahead."""

    def warm(self, run: "Run", tasks: Sequence[Task]) -> None:
        """Record in the run's store what these tasks compute. Those that fail, or that nobody can do, are left to the flow."""

    def close(self) -> None:
        """Let go of processes and connections. Called once, however the run ends."""


class Here:
    """Nobody: the flow computes everything itself."""

    def warm(self, run: "Run", tasks: Sequence[Task]) -> None:
        return

    def close(self) -> None:
        return
