"""Work that Ctrl-C leaves in a state from which it can go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from etude.cli.launched import speaks


@contextmanager
def resumable(*, fresh: bool) -> Iterator[None]:
    """Say how to continue when the block was interrupted, and leave with exit code 130; ``fresh``: it was given --fresh."""
    try:
        yield
    except KeyboardInterrupt:
        again = "the same command without --fresh" if fresh else "the same command again"
        if speaks():
            typer.echo(f"interrupted; give {again} to continue", err=True)
        raise typer.Exit(130) from None
