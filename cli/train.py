"""``adapt train``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[str, typer.Argument(help="Recipe file, or the name of a packaged recipe.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="section.field=value, e.g. train.lr=1e-3")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the adapter goes; NAME-adapter by default.")] = None,
    run: Annotated[Path | None, typer.Option(help="Folder of the run: checkpoint, logs, plots; runs/NAME by default.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over; replaces the run and its adapter.")] = False,
    cache: Annotated[bool, typer.Option("--cache/--no-cache", help="Keep and reuse frozen states.")] = True,
) -> None:
    """Train an adapter. An interrupted run (Ctrl-C) continues when the same command is given again."""
    from etude.adapters.errors import UserError
    from etude.adapters.training.recipe import load_recipe
    from etude.cli.folders import check_writable
    from etude.cli.progress import progress

    loaded = load_recipe(recipe, overrides or [])
    run, out = run or Path("runs") / loaded.name, out or Path(f"{loaded.name}-adapter")
    check_writable(run, "--run")
    check_writable(out, "--out")
    if (out / "adapter.json").exists() and not (fresh or (run / "checkpoint.pt").exists()):
        fix = "name another folder with --out, or pass --fresh to replace it"
        raise UserError("holds an adapter already", where=f"--out {out}", fix=fix)
    with progress("starting", 1):
        from etude.adapters.artifact import read_header
        from etude.adapters.training.engine import train as run_training
        from etude.cli.scores import print_scores
    try:
        run_training(loaded, run, out, fresh=fresh, cache=cache)
    except KeyboardInterrupt:
        again = "the same command without --fresh" if fresh else "the same command again"
        typer.echo(f"interrupted; give {again} to continue", err=True)
        raise typer.Exit(130) from None
    if os.environ.get("RANK", "0") != "0":  # under 'accelerate launch', one process speaks for all
        return
    header = read_header(out)
    for split, scores in header.metrics.items():
        print_scores(scores, f"{loaded.name}, {split}")
    typer.echo(f"adapter: {out} ({header.total_bytes / 1e6:.2f} MB)   run: {run}")
