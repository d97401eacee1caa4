"""``adapt data``."""

from __future__ import annotations

import typer

from etude.cli.check import check

app = typer.Typer(no_args_is_help=True, help="Look at data sets.")
app.command("check")(check)


@app.callback()
def group() -> None:
    """Look at data sets."""
