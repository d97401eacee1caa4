"""``adapt data check``, and how data sets are named on the command line."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import typer

MOST_LISTED = 60
"""Of more classes, only the number and the sizes are shown."""

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

    from etude.adapters.annotations import kind_of
    from etude.adapters.errors import UserError
    from etude.adapters.model.build import named_dataset

    dataset = named_dataset(recipe, overrides or [])
    tracks, problems = dataset.check()
    problems = [*problems, *dataset.check_audio(tracks), *dataset.leaks()]
    for notice in dataset.notices:
        typer.echo(f"notice: {notice}", err=True)
    if problems:
        raise UserError(problems)
    table = Table("split", box=SIMPLE_HEAD, pad_edge=False)
    kinds = [kind_of(name) for name in sorted(set[str]().union(*(track.annotation for track in tracks)))]
    for column in ("recordings", "minutes", *(kind.plural for kind in kinds if not kind.whole)):
        table.add_column(column, justify="right", no_wrap=True)
    for kind in kinds:
        table.add_column(kind.heading)
    for split in dict.fromkeys(track.split for track in tracks):
        own = [track for track in tracks if track.split == split]
        minutes = sum(track.info.duration for track in own) / 60
        layers = {kind: [getattr(track.annotation, kind.name) for track in own] for kind in kinds}
        totals = [str(sum(map(len, layers[kind]))) for kind in kinds if not kind.whole]
        listed = [_listed(Counter(name for layer in layers[kind] for name in kind.counts(layer))) for kind in kinds]
        table.add_row(split, str(len(own)), f"{minutes:.1f}", *totals, *map(escape, listed))
    Console().print(table)
    typer.echo(f"licence: {dataset.licence}; no problems found")


def _listed(counts: Counter[str]) -> str:
    if len(counts) > MOST_LISTED:
        return f"{len(counts)} classes of {min(counts.values())} to {max(counts.values())} each"
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
