"""``adapt data check``."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Look at data sets.")


@app.callback()
def group() -> None:
    """Look at data sets."""


@app.command("check")
def check(
    recipe: Annotated[str, typer.Argument(help="Recipe file or packaged recipe, or a manifest CSV.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="section.field=value")] = None,
) -> None:
    """Read all labels and all audio; report every problem at once, then what the data set holds."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from etude.adapters.errors import UserError
    from etude.cli.dataset import dataset_of

    dataset = dataset_of(recipe, overrides or [])
    tracks, problems = dataset.check()
    problems = [*problems, *dataset.check_audio(tracks)]
    for notice in dataset.notices:
        typer.echo(f"notice: {notice}", err=True)
    if problems:
        raise UserError(problems)
    table = Table("split", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("recordings", "minutes", "events"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("events by technique")
    for split in dict.fromkeys(track.split for track in tracks):
        own = [track for track in tracks if track.split == split]
        counts = Counter(note.technique or "(unlabelled)" for track in own for note in track.annotation.notes)
        minutes = sum(track.info.duration for track in own) / 60
        by_class = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        table.add_row(split, str(len(own)), f"{minutes:.1f}", str(counts.total()), escape(by_class))
    Console().print(table)
    typer.echo(f"licence: {dataset.licence}; no problems found")
