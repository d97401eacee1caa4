"""Progress of a command, on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from etude.cli.launched import speaks


@contextmanager
def progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Progress while the block runs; call the value with the number of items done."""
    from rich.console import Console

    from etude.adapters.progress import Bars

    # Lines printed meanwhile go above the bar; but what is piped elsewhere must arrive there, not on the terminal.
    with Bars(Console(stderr=True, quiet=not speaks()), redirect_stdout=sys.stdout.isatty()) as bars:
        task = bars.add_task(description, total=total)
        yield lambda count: bars.advance(task, count)
