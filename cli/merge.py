"""``adapt merge``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from etude.cli.completion import adapters


def merge(
    adapter: Annotated[Path, typer.Argument(help="Adapter folder.", autocompletion=adapters)],
    out: Annotated[Path, typer.Argument(help="Folder for the result: backbone/ and adapter/ in it.")],
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier result.")] = False,
    weights: Annotated[str | None, typer.Option(help="Backbone weights, if not where the recipe says.")] = None,
) -> None:
    """Merge an adapter into its backbone. Makes weights for transformers, and an adapter of mix and heads only for them."""
    from etude.cli.folders import check_writable
    from etude.cli.progress import progress
    from etude.cli.verbosity import quiet

    check_writable(out, "OUT")
    with progress("merging", 1):
        from etude.adapters.inference.merge import ADAPTER, BACKBONE
        from etude.adapters.inference.merge import merge as run

        run(adapter, out, weights=weights, force=force)
    if quiet():
        typer.echo(f"{out / BACKBONE}\n{out / ADAPTER}")
        return
    typer.echo(f"weights: {out / BACKBONE}   adapter: {out / ADAPTER}")
