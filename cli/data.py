"""``adapt data check``, and how data sets are named on the command line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from etude.adapters.annotations import Annotation
    from etude.adapters.datasets import Dataset

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

    from etude.adapters.errors import UserError

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
    tagged = any(track.annotation.tags is not None for track in tracks)
    if tagged:
        table.add_column("recordings by tag")
    for split in dict.fromkeys(track.split for track in tracks):
        own = [track for track in tracks if track.split == split]
        counts = Counter(note.technique or "(unlabelled)" for track in own for note in track.annotation.notes)
        minutes = sum(track.info.duration for track in own) / 60
        columns = [_listed(counts)]
        if tagged:
            columns.append(_listed(Counter(tag for track in own for tag in tags_of(track.annotation))))
        table.add_row(split, str(len(own)), f"{minutes:.1f}", str(counts.total()), *map(escape, columns))
    Console().print(table)
    typer.echo(f"licence: {dataset.licence}; no problems found")


def tags_of(annotation: Annotation) -> tuple[str, ...]:
    """What a recording counts as."""
    if annotation.tags is None:
        return ("(unlabelled)",)
    return annotation.tags or ("(none labelled)" if annotation.unlabelled_tags else "(none)",)


def _listed(counts: Counter[str]) -> str:
    if len(counts) > MOST_LISTED:
        return f"{len(counts)} classes of {min(counts.values())} to {max(counts.values())} each"
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def dataset_of(name: str, overrides: Sequence[str] = (), techniques: Sequence[str] | None = None) -> Dataset:
    """The data set of a recipe, or of a manifest CSV whose class order is ``techniques``. Raises :class:`UserError`."""
    from etude.adapters.model.build import build_dataset
    from etude.adapters.recipe.schema import load_recipe
    from etude.adapters.registry import find

    if not name.endswith(".csv"):
        return build_dataset(load_recipe(name, overrides))
    kind, file = find("datasets", "manifest"), Path(name)
    config = kind.Config(name="manifest", root=str(file.parent), file=file.name, techniques=techniques)
    dataset: Dataset = kind(config)
    return dataset
