"""``adapt data``: look at data sets, find them, and write them out."""

from __future__ import annotations

import typer

from etude.cli import data_check, data_convert, data_init

app = typer.Typer(no_args_is_help=True, help="Look at data sets.")
app.command("check")(data_check.check)
app.command("init")(data_init.init)
app.command("convert")(data_convert.convert)


@app.callback()
def group() -> None:
    """Look at data sets."""
