"""Scores of a model over tracks, the tracks shared out over all processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

from etude.adapters.artifact import RECIPE, Artifact, load
from etude.adapters.datasets import SPLITS
from etude.adapters.datasets._parts.groups import groups_of, measured_on
from etude.adapters.device import find_device
from etude.adapters.errors import UserError, nearest
from etude.adapters.heads import Activations
from etude.adapters.heads._parts.labels import check_labels, head_kind
from etude.adapters.model.adapted import AdaptedModel
from etude.adapters.model.build import build_dataset, build_trained, named_dataset, trained_recipe
from etude.adapters.model.pieces import Pieces, window_activations
from etude.adapters.recipe.trained import data_recipe, store_dtype
from etude.adapters.states.framing import frames_of
from etude.adapters.states.frozen_states import frozen_states
from etude.adapters.states.window_features import WindowFeatures
from etude.adapters.states.window_set import WindowSet
from etude.adapters.storage.feature_store import FeatureStore
from etude.adapters.training.interrupt import Interruption

Scores = dict[str, dict[str, Any]]
"""Head -> its scores."""
Task = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""What is done and how many items that is -> a block, in which the number of items done is told."""
BATCH = 4
"""Windows at a time, where no recipe says how many."""


@contextmanager
def _quiet(description: str, total: int) -> Iterator[Callable[[int], None]]:
    yield lambda count: None


@torch.no_grad()
def track_activations(model: AdaptedModel, states: WindowFeatures, index: int, batch_size: int) -> dict[str, Activations]:
    """Activations by head of one track of ``states``, in single precision as in prediction, whatever training computes in."""
    windows, positions = states.windows, states.windows.of_track[index]
    frames = frames_of(model.backbone, windows.tracks[index].info)
    pieces = Pieces(model.reader, model.backbone, windows.run(positions).windows, frames, windows.overlap)
    for first in range(positions.start, positions.stop, batch_size):
        rows = range(first, min(first + batch_size, positions.stop))
        context = model.context([state.to(model.device) for state in states(rows)])
        pieces.add(context, window_activations(model.reader, context), range(len(rows)))
    return pieces.result()


def collect_activations(
    model: AdaptedModel,
    states: WindowFeatures,
    accelerator: Accelerator,
    batch_size: int,
    advance: Callable[[int], None],
    interruption: Interruption | None = None,
) -> list[dict[str, Activations]]:
    """Pooled activations by head of every track of ``states``, in track order, gathered from all processes."""
    model.eval()
    found: list[tuple[int, dict[str, Activations]]] = []
    for index in range(accelerator.process_index, len(states.windows.tracks), accelerator.num_processes):
        if interruption is not None:
            interruption.check()
        own, rate = track_activations(model, states, index, batch_size), model.backbone.frame_rate
        heads = model.reader.heads_by_name
        found.append((index, {name: head.pool(own[name], head.frame_rate(rate)) for name, head in heads.items()}))
        advance(1)
    gathered = cast(list[tuple[int, dict[str, Activations]]], gather_object(found))
    return [activations for _, activations in sorted(gathered, key=lambda item: item[0])]


def score_tracks(
    model: AdaptedModel,
    states: WindowFeatures,
    accelerator: Accelerator,
    batch_size: int,
    advance: Callable[[int], None],
    interruption: Interruption | None = None,
    *,
    tune: bool = True,
) -> Scores:
    """Scores of every head, the same on all processes; with ``tune``, thresholds are chosen on these tracks first."""
    activations = collect_activations(model, states, accelerator, batch_size, advance, interruption)
    scores: Scores = {}
    if accelerator.is_main_process:
        references = [track.truth for track in states.windows.tracks]
        for name, head in model.reader.heads_by_name.items():
            own, rate = [item[name] for item in activations], head.frame_rate(model.backbone.frame_rate)
            if tune:
                head.tune(references, own, rate)
            scores[name] = head.score(references, own, rate)
    return cast(list[Scores], broadcast_object_list([scores]))[0]


@dataclass(frozen=True)
class Evaluation:
    """Scores of an adapter on ``recordings`` recordings of a split."""

    adapter: Artifact
    split: str
    recordings: int
    measured: str
    """Whether on other sessions and players than those of training, in plain words."""
    scores: Scores


def evaluate(
    adapter: str | Path,
    data: str | Path | None = None,
    *,
    split: str = "test",
    weights: str | None = None,
    device: str | None = None,
    cache: bool = True,
    task: Task = _quiet,
    say: Callable[[str], None] = lambda text: None,
) -> Evaluation:
    """Score the adapter in a folder with the thresholds stored in it.

    ``data`` is a recipe or a manifest CSV; the adapter's own data when omitted. ``weights`` and ``device`` as in ``Session``.
    Without ``cache``, frozen states are neither kept nor reused. ``task`` shows progress, ``say`` gets warnings. Raises
    :class:`UserError` for a damaged adapter, other weights, and data that is faulty or has other classes.
    """
    chosen = next((known for known in SPLITS if known == split), None)
    if chosen is None:
        raise UserError(f"unknown split '{split}'", where="split", fix=nearest(split, SPLITS))
    with task("loading the adapter", 1):
        trained = load(Path(adapter))
        model = build_trained(trained, weights).to(find_device(device))
    manifest, where = trained.manifest, str(trained.folder / RECIPE)
    classes = {head_kind(head).name: own for head, own in reversed(manifest.labels.items())}
    if data is None:
        dataset = build_dataset(data_recipe(trained.recipe, where, trained.home))
    else:
        dataset = named_dataset(str(data), classes=classes)
    tracks = dataset.tracks(chosen)
    check_labels(manifest.labels, dataset, (track.annotation for track in tracks), str(data or "data"))
    windows = WindowSet(tracks, model.backbone, trained_recipe(trained).overlap)
    source = frozen_states(model, manifest.backbone.fingerprint)
    dtype = store_dtype(trained.recipe, where)
    states = WindowFeatures(source, windows, FeatureStore() if cache else None, dtype=dtype, say=say)
    accelerator = Accelerator()
    with task("frozen states", len(windows)) as advance:
        states.fill(accelerator, advance, lambda: None)
    with task("evaluating", len(tracks)) as advance:
        scores = score_tracks(model, states, accelerator, BATCH, advance, tune=False)
    measured = measured_on((manifest.groups or {}).get("train"), groups_of(tracks))
    return Evaluation(trained, chosen, len(tracks), measured, scores)


def flatten(scores: Scores) -> dict[str, float]:
    """``head.score`` -> number, tables left out."""
    return {
        f"{head}.{name}": float(value)
        for head, values in scores.items()
        for name, value in values.items()
        if isinstance(value, int | float)
    }


def per_class_f1(scores: Scores) -> dict[str, float]:
    """The F1 of every class of all heads, of what the scores of its kind count."""
    return {
        label: float(row[head_kind(head).unit]["f1"])
        for head, values in scores.items()
        for label, row in values.get("per_class", {}).items()
    }
