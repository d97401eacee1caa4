"""``adapt eval``."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from etude.cli.completion import adapters, recipes


def evaluate(
    adapter: Annotated[Path, typer.Argument(help="Adapter folder.", autocompletion=adapters)],
    data: Annotated[
        str | None,
        typer.Argument(help="Manifest, folder or recipe with the data; its own by default.", autocompletion=recipes),
    ] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    weights: Annotated[str | None, typer.Option(help="Backbone weights, if not where the recipe says.")] = None,
    cache: Annotated[bool, typer.Option("--cache/--no-cache", help="Keep and reuse frozen states.")] = True,
) -> None:
    """Score an adapter with the thresholds stored in it."""
    from etude.cli.launched import speaks
    from etude.cli.progress import progress

    with progress("starting", 1):
        from etude.adapters.artifact import plain
        from etude.adapters.training.evaluation import evaluate as run
        from etude.cli.scores import print_scores
    result = run(adapter, data, split=split, weights=weights, cache=cache, task=progress, say=partial(typer.echo, err=True))
    if not speaks():
        return
    if as_json:
        found = {"adapter": str(adapter), "split": split, "recordings": result.recordings, "measured": result.measured}
        found["scores"] = plain(result.scores)
        typer.echo(json.dumps(found, ensure_ascii=False, allow_nan=False))
    else:
        recordings = f"{result.recordings} recording{'' if result.recordings == 1 else 's'}"
        print_scores(result.scores, f"{result.adapter.manifest.name} on {data or 'its own data'}, {split}, {recordings}")
        typer.echo(result.measured)
