"""Rolls a supernet's training back when it collapses: the smallest students go first, and drag the shared weights along.

Every hundred steps the state is kept if it is healthy: no NaN, and the smallest student right more often than 1.5 times chance
once the rate has risen. If it is not, training goes back to what was kept, with half the learning rate.

Source: users' reports of AttentiveNAS (issue 5) and AlphaNet (issues 6 and 9).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekd.errors import StageError

EVERY = 100
"""Steps between two looks."""
ABOVE_CHANCE = 1.5
GRACE = 0.1
"""Share of all steps in which the smallest student may still answer by chance."""
MOST = 5
"""Roll-backs, after which the rate is a 32nd: then it is not the rate."""
SLOWER = 0.5


@dataclass(kw_only=True)
class Guard:
    """Watches one training.

    Args:
        kept: file of the last healthy state.
        classes: number of them, which chance follows from.
        steps: of the whole training.
        state: what is remembered of the steps since the last look and of all roll-backs; part of every checkpoint.
    """

    kept: Path
    classes: int
    steps: int
    state: dict[str, Any] = field(default_factory=lambda: {"right": 0.0, "looked": 0, "rollbacks": [], "rate": 1.0})

    def note(self, right: float) -> None:
        """Share of a batch that the weakest student got right."""
        self.state["right"] += right
        self.state["looked"] += 1

    def failing(self, step: int, loss: float) -> str:
        """Why this step's state is not healthy; empty where it is, or where it is not yet time to look."""
        if not math.isfinite(loss):
            return "not-a-number"
        if step % EVERY or step < GRACE * self.steps:
            return ""
        right = self.state["right"] / max(1, self.state["looked"])
        least = min(ABOVE_CHANCE / self.classes, (1 + 1 / self.classes) / 2)
        if right >= least:
            return ""
        return f"collapse: the smallest student is right on {right:.3f}, chance is {1 / self.classes:.3f}"

    def keep(self, step: int, save: Callable[[Path], None]) -> None:
        """Keep a healthy state, every so many steps."""
        if step % EVERY == 0:
            self.state |= {"right": 0.0, "looked": 0}
            save(self.kept)

    def roll_back(self, step: int, cause: str, load: Callable[[Path], None]) -> None:
        """Go back to the kept state, more slowly. Raises StageError where that was done too often."""
        rollbacks = [*self.state["rollbacks"], {"step": step, "cause": cause}]
        if len(rollbacks) > MOST:
            raise StageError("distil", f"{cause}, after {MOST} roll-backs", "lower [distill] learning_rate")
        slower = self.state["rate"] * SLOWER
        load(self.kept)
        self.state |= {"right": 0.0, "looked": 0, "rollbacks": rollbacks, "rate": slower}
