"""``adapt cache ls`` and ``adapt cache rm``."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="See and delete what was computed once and kept.")


@app.callback()
def group() -> None:
    """See and delete what was computed once and kept."""


@app.command("ls")
def ls() -> None:
    """List frozen states and rendered data sets, the least recently used first."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from etude.adapters.storage.cache import cache_root, kept
    from etude.adapters.storage.feature_store import FeatureStore

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("id", "what", "last used"):
        table.add_column(column, no_wrap=column != "what")
    table.add_column("MB", justify="right", no_wrap=True)
    items = kept()
    for item in items:
        table.add_row(item.id, escape(item.what), f"{item.used:%Y-%m-%d %H:%M}", f"{item.bytes / 1e6:.1f}")
    if items:
        Console().print(table)
    limit = FeatureStore().limit / 1e9
    total = sum(item.bytes for item in items) / 1e9
    typer.echo(f"{total:.2f} GB in {cache_root()}; frozen states may take {limit:g} GB (ETUDE_CACHE_GB)")


@app.command("rm")
def rm(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids as 'adapt cache ls' shows them.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Delete all of it.")] = False,
) -> None:
    """Delete kept data; whatever needs it computes it again. What a run is computing just now stays."""
    from etude.adapters.errors import Problem, UserError
    from etude.adapters.storage.cache import kept

    if everything == bool(ids):
        raise UserError("say what to delete", where="adapt cache rm", fix="give ids from 'adapt cache ls', or --all")
    items = kept()
    known = {item.id for item in items}
    if unknown := [name for name in ids or () if name not in known]:
        raise UserError([Problem("nothing kept has this id", name, "see 'adapt cache ls'") for name in unknown])
    chosen = [item for item in items if everything or item.id in (ids or ())]
    failed = [item for item in chosen if not item.remove()]
    removed = sum(item.bytes for item in chosen if item not in failed) / 1e6
    typer.echo(f"{len(chosen) - len(failed)} deleted, {removed:.1f} MB")
    if failed:
        fix = "wait until no run computes it, and check its permissions"
        raise UserError([Problem("could not be deleted", str(item.folder), fix) for item in failed])
