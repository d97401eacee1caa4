"""``adapt train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from etude.cli.completion import adapters, recipes


def train(
    recipe: Annotated[
        str,
        typer.Argument(help="Recipe file, packaged recipe, or folder of labelled recordings.", autocompletion=recipes),
    ],
    overrides: Annotated[list[str] | None, typer.Argument(help="section.field=value, e.g. train.lr=1e-3")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where the adapter goes; NAME-adapter by default.")] = None,
    run: Annotated[Path | None, typer.Option(help="Folder of the run: checkpoint, logs, plots; runs/NAME by default.")] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Adapter to start from; of a folder or a manifest, the rest is as in its recipe.",
            autocompletion=adapters,
        ),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over; replaces the run and its adapter.")] = False,
    cache: Annotated[bool, typer.Option("--cache/--no-cache", help="Keep and reuse frozen states.")] = True,
) -> None:
    """Train an adapter. An interrupted run (Ctrl-C) continues when the same command is given again."""
    from etude.adapters.recipe.schema import load_recipe
    from etude.cli.folders import run_and_out
    from etude.cli.launched import speaks
    from etude.cli.progress import progress
    from etude.cli.resumable import resumable
    from etude.cli.verbosity import quiet

    if start is None:
        loaded = load_recipe(recipe, overrides or [])
    else:
        with progress("reading the adapter", 1):
            from etude.adapters.training.continued import continued

            loaded = continued(recipe, start, overrides or [])
    run, out = run_and_out(loaded.name, "adapter", "adapter.json", run, out, fresh)
    with progress("starting", 1):
        from etude.adapters.artifact import read_header
        from etude.adapters.training.engine import train as run_training
        from etude.cli.measured import print_all_scores
    with resumable(fresh=fresh):
        run_training(loaded, run, out, fresh=fresh, cache=cache)
    if not speaks():
        return
    if quiet():
        typer.echo(str(out))
        return
    header = read_header(out)
    print_all_scores(header, f"{loaded.name}, ")
    typer.echo(f"adapter: {out} ({header.total_bytes / 1e6:.2f} MB)   run: {run}")
