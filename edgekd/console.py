"""What a run tells while it works: lines on stderr, and a progress bar where a person is watching."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Console:
    """Lines and bars. Standard output stays free for `--json -`."""

    def __init__(self) -> None:
        from rich.console import Console as RichConsole

        self.rich: RichConsole = RichConsole(file=sys.stderr, highlight=False, soft_wrap=True)
        self._bar: Progress | None = None

    def say(self, text: str) -> None:
        """One line, as it is: names come from users and hold no markup."""
        self.rich.print(text, markup=False)

    @contextmanager
    def bar(self, title: str, total: float) -> Iterator["Bar"]:
        """A progress bar with the time left; nothing is drawn where stderr is no terminal."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[note]}"))
        progress = Progress(*columns, TimeRemainingColumn(), console=self.rich, transient=True, disable=not self.rich.is_terminal)
        with progress:
            yield Bar(progress, progress.add_task(title, total=total, note=""))


class Bar:
    """One bar of a `Console`."""

    def __init__(self, progress: "Progress", task: "TaskID") -> None:
        self._progress, self._task = progress, task

    def at(self, done: float, note: str = "", title: str | None = None, total: float | None = None) -> None:
        self._progress.update(self._task, completed=done, note=note, description=title, total=total)
