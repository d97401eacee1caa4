"""How a command on many recordings ends."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from etude.adapters.errors import Problem, UserError

SOME_FAILED = 3
"""The exit code when some of many recordings failed, but not all."""


def conclude(problems: Sequence[Problem], failed: int, total: int) -> None:
    """Tell the problems of ``failed`` of ``total`` recordings, and leave with their exit code; without any, go on."""
    if failed == total:
        raise UserError(problems)
    for problem in problems:
        typer.echo(f"error: {problem}", err=True)
    if failed:
        raise typer.Exit(SOME_FAILED)
