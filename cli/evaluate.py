"""``adapt eval``."""

from __future__ import annotations

import json
from functools import partial
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
    cache: Annotated[bool, typer.Option("--cache/--no-cache", help="Keep and reuse frozen states.")] = True,
) -> None:
    """Score an adapter with the thresholds stored in it."""
    from etude.adapters.datasets import SPLITS
    from etude.adapters.errors import UserError, nearest
    from etude.cli.progress import progress

    if split not in SPLITS:
        raise UserError(f"unknown split '{split}'", where="--split", fix=nearest(split, SPLITS))
    with progress("loading the adapter", 1):
        from accelerate import Accelerator

        from etude.adapters.artifact import load, plain
        from etude.adapters.device import find_device
        from etude.adapters.heads._parts.vocabulary import check_labels, vocabulary_of
        from etude.adapters.model.build import build_dataset, build_trained, trained_recipe
        from etude.adapters.states.frozen_states import frozen_states
        from etude.adapters.states.window_features import WindowFeatures
        from etude.adapters.states.window_set import WindowSet
        from etude.adapters.storage.feature_store import FeatureStore
        from etude.adapters.training.evaluation import evaluate as score
        from etude.cli.data import dataset_of
        from etude.cli.scores import print_scores

        trained = load(adapter)
        manifest, recipe = trained.manifest, trained_recipe(trained)
        model = build_trained(trained, weights).to(find_device(None))
    techniques = next((own for head, own in manifest.labels.items() if vocabulary_of(head) == "techniques"), None)
    dataset = build_dataset(recipe) if data is None else dataset_of(data, techniques=techniques)
    tracks = dataset.tracks(split)
    check_labels(manifest.labels, dataset, (track.annotation for track in tracks), data or "data")
    windows = WindowSet(tracks, model.backbone, recipe.train.overlap)
    source = frozen_states(model, manifest.backbone.fingerprint)
    store, dtype, say = FeatureStore() if cache else None, recipe.train.store_dtype, partial(typer.echo, err=True)
    states = WindowFeatures(source, windows, store, dtype=dtype, say=say)
    accelerator = Accelerator()
    with progress("frozen states", len(windows)) as advance:
        states.fill(accelerator, advance, lambda: None)
    with progress("evaluating", len(tracks)) as advance:
        scores = score(model, states, accelerator, 4, advance, tune=False)
    if as_json:
        result = {"adapter": str(adapter), "split": split, "recordings": len(tracks), "scores": plain(scores)}
        typer.echo(json.dumps(result, ensure_ascii=False, allow_nan=False))
    else:
        recordings = f"{len(tracks)} recording{'' if len(tracks) == 1 else 's'}"
        print_scores(scores, f"{manifest.name} on {data or 'its own data'}, {split}, {recordings}")
