"""``adapt train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[str, typer.Argument(help="Recipe file, or the name of a packaged recipe.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="section.field=value, e.g. train.lr=1e-3")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the adapter goes; NAME-adapter by default.")] = None,
    run: Annotated[Path | None, typer.Option(help="Folder of the run: checkpoint, logs, plots; runs/NAME by default.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over instead of continuing an interrupted run.")] = False,
) -> None:
    """Train an adapter. An interrupted run (Ctrl-C) continues when the same command is given again."""
    from etude.adapters.training.engine import train as run_training
    from etude.adapters.training.recipe import load_recipe
    from etude.cli.scores import print_scores

    loaded = load_recipe(recipe, overrides or [])
    run = run or Path("runs") / loaded.name
    try:
        folder = run_training(loaded, run, out or Path(f"{loaded.name}-adapter"), fresh=fresh)
    except KeyboardInterrupt:
        typer.echo("interrupted; give the same command again to continue", err=True)
        raise
    if folder is not None:
        from etude.adapters.artifact import read_header

        header = read_header(folder)
        for split, scores in header.metrics.items():
            print_scores(scores, f"{loaded.name}, {split}")
        typer.echo(f"adapter: {folder} ({header.total_bytes / 1e6:.2f} MB)   run: {run}")
