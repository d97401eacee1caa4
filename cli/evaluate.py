"""``adapt eval``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    adapter: Annotated[Path, typer.Argument(help="Adapter folder.")],
    data: Annotated[
        str | None, typer.Argument(help="Manifest CSV or recipe with the data; the adapter's own recipe by default.")
    ] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    weights: Annotated[str | None, typer.Option(help="Backbone weights, if not where the recipe says.")] = None,
) -> None:
    """Score an adapter with the thresholds stored in it."""
    from etude.adapters.datasets import SPLITS
    from etude.adapters.errors import UserError, nearest
    from etude.cli.progress import progress

    if split not in SPLITS:
        raise UserError(f"unknown split '{split}'", where="--split", fix=nearest(split, SPLITS))
    with progress("loading the adapter", 1):
        from accelerate import Accelerator

        from etude.adapters.artifact import plain
        from etude.adapters.build import build_dataset
        from etude.adapters.inference.session import Session
        from etude.adapters.training.evaluation import evaluate as score
        from etude.adapters.training.feature_store import FrozenStates
        from etude.adapters.training.window_set import WindowSet
        from etude.cli.dataset import dataset_of
        from etude.cli.scores import print_scores

        session = Session(adapter, weights=weights)
    manifest = session.artifact.manifest
    labels = next(iter(manifest.labels.values()))
    dataset = build_dataset(session.recipe) if data is None else dataset_of(data, techniques=labels)
    tracks = dataset.tracks(split)
    found = {note.technique for track in tracks for note in track.annotation.notes if note.technique}
    if unknown := sorted(found - set(labels)):
        raise UserError(
            f"technique '{unknown[0]}' is not a class of the adapter", where=data or "data", fix=nearest(unknown[0], labels)
        )
    windows = WindowSet(tracks, session.model.backbone, session.recipe.train.overlap)
    states = FrozenStates(Path(adapter) / "states.f16", session.model, windows, 0.0)
    with progress("evaluating", len(tracks)) as advance:
        scores = score(session.model, states, Accelerator(), 4, advance, tune=False)
    if as_json:
        result = {"adapter": str(adapter), "split": split, "recordings": len(tracks), "scores": plain(scores)}
        typer.echo(json.dumps(result, ensure_ascii=False, allow_nan=False))
    else:
        recordings = f"{len(tracks)} recording{'' if len(tracks) == 1 else 's'}"
        print_scores(scores, f"{manifest.name} on {data or 'its own data'}, {split}, {recordings}")
