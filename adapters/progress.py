"""Progress of work that takes a while: bars on a terminal, anywhere else a line now and then."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

SECONDS = 30
"""Between two lines."""


class Bars(Progress):
    """A bar per task, gone when it is done. Without a terminal, what takes longer than ``SECONDS`` tells where it is.

    ``options`` are those of :class:`rich.progress.Progress`.
    """

    def __init__(self, console: Console, **options: Any) -> None:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        super().__init__(*columns, console=console, transient=True, disable=not console.is_terminal, **options)
        self._told = self.get_time()

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Add ``advance`` items to those that are done."""
        super().advance(task_id, advance)
        now = self.get_time()
        if self.disable and now - self._told >= SECONDS:
            self._told = now
            (task,) = (task for task in self.tasks if task.id == task_id)
            text = f"{task.description}: {task.completed:g} of {task.total:g} after {task.elapsed or 0:.0f} s"
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)
