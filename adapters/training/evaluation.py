"""Scores of a model over tracks, the tracks shared out over all processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor

from etude.adapters.heads import Activations, Head
from etude.adapters.heads._parts.labels import head_kind
from etude.adapters.model.adapted import AdaptedModel
from etude.adapters.states.activations import frames_of, track_activations
from etude.adapters.states.window_features import WindowFeatures
from etude.adapters.training.interrupt import Interruption

Scores = dict[str, dict[str, Any]]
"""Head -> its scores."""


def collect_activations(
    model: AdaptedModel,
    states: WindowFeatures,
    accelerator: Accelerator,
    batch_size: int,
    advance: Callable[[int], None],
    interruption: Interruption | None = None,
) -> list[dict[str, Activations]]:
    """Pooled activations by head of every track of ``states``, in track order, gathered from all processes."""
    windows = states.windows
    found: list[tuple[int, dict[str, Activations]]] = []
    for index in range(accelerator.process_index, len(windows.tracks), accelerator.num_processes):
        if interruption is not None:
            interruption.check()
        positions = windows.of_track[index]
        own = [windows.windows[position][1] for position in positions]
        frames = frames_of(model.backbone, windows.tracks[index].info)
        result = track_activations(model, own, frames, partial(_states_of, states, positions), batch_size)
        rate = model.backbone.frame_rate
        found.append((index, {name: cast(Head, model.heads[name]).pool(own, rate) for name, own in result.items()}))
        advance(1)
    gathered = cast(list[tuple[int, dict[str, Activations]]], gather_object(found))
    return [activations for _, activations in sorted(gathered, key=lambda item: item[0])]


def _states_of(states: WindowFeatures, positions: range, rows: Sequence[int]) -> Tensor:
    return states([positions[row] for row in rows])


def evaluate(
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
        references = [track.annotation for track in states.windows.tracks]
        for name, module in model.heads.items():
            head, own = cast(Head, module), [item[name] for item in activations]
            if tune:
                head.tune(references, own, model.backbone.frame_rate)
            scores[name] = head.score(references, own, model.backbone.frame_rate)
    return cast(list[Scores], broadcast_object_list([scores]))[0]


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
