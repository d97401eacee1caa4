"""``adapt pretrain``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from etude.cli.completion import recipes


def pretrain(
    recipe: Annotated[
        str, typer.Argument(help="Pretraining recipe, a file or a packaged one by name.", autocompletion=recipes)
    ],
    overrides: Annotated[list[str] | None, typer.Argument(help="section.field=value, e.g. train.steps=500")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where the backbone goes; NAME-backbone by default.")] = None,
    run: Annotated[Path | None, typer.Option(help="Folder of the run: checkpoint, history; runs/NAME by default.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over; replaces the run and its backbone.")] = False,
) -> None:
    """Pretrain a small backbone from scratch. An interrupted run (Ctrl-C) continues with the same command."""
    from etude.adapters.recipe.pretraining import load_pretrain_recipe
    from etude.cli.folders import run_and_out
    from etude.cli.launched import speaks
    from etude.cli.progress import progress
    from etude.cli.resumable import resumable
    from etude.cli.verbosity import quiet

    loaded = load_pretrain_recipe(recipe, overrides or [])
    run, out = run_and_out(loaded.name, "backbone", "config.json", run, out, fresh)
    with progress("starting", 1):
        from etude.adapters.pretraining.engine import pretrain as run_pretraining
    with resumable(fresh=fresh):
        run_pretraining(loaded, run, out, fresh=fresh)
    if not speaks():
        return
    if quiet():
        typer.echo(str(out))
        return
    size = sum(file.stat().st_size for file in out.iterdir()) / 1e6
    use = f"backbone: {{name: mert, weights: {out.absolute()}}}"
    typer.echo(f"backbone: {out} ({size:.2f} MB)   run: {run}   use it as '{use}'")
