"""A progress bar for commands: on stderr, and only if that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar while the block runs; call the value with the number of items done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    bars = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        # Lines printed meanwhile go above the bar; but what is piped elsewhere must arrive there, not on the terminal.
        redirect_stdout=sys.stdout.isatty(),
        disable=not console.is_terminal,
    )
    with bars:
        task = bars.add_task(description, total=total)
        yield lambda count: bars.advance(task, count)
