"""The end of a run: what was trained, with its scores, becomes an artifact."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch

from etude.adapters import artifact
from etude.adapters.config import as_written
from etude.adapters.heads import Head
from etude.adapters.model.adapted import AdaptedModel
from etude.adapters.recipe.schema import Recipe
from etude.adapters.training.checkpoint import Checkpoint
from etude.adapters.training.evaluation import Scores, flatten
from etude.adapters.training.loop import Loop
from etude.hub_cards.card import render_card

PACKAGES = ("torch", "transformers", "peft", "accelerate", "safetensors")


def round_to(model: AdaptedModel, dtype: str) -> None:
    """Give the trained tensors the precision they are stored in, so that the scores are those of the stored adapter."""
    kind = getattr(torch, dtype)
    model.load_trainable({name: tensor.to(kind).float() for name, tensor in model.trainable_state().items()})


def complete(loop: Loop, resumed: Checkpoint | None) -> Scores:
    """Train to the end, from the checkpoint ``resumed`` if there is one; leaves the best model as it is stored, with tuned
    thresholds, and returns its scores on validation data."""
    loop.prepare()
    if resumed:
        loop.restore(*resumed)
    loop.run()
    if loop.model.backbone.fingerprint() != loop.fingerprint:
        raise RuntimeError("the frozen backbone changed during training")
    loop.model.load_trainable(loop.progress.best_state)
    loop.refit()
    round_to(loop.model, loop.config.dtype)
    return loop.scores(loop.validation, tune=True)


def write_artifact(
    out: Path,
    recipe: Recipe,
    dataset: str,
    licence: str,
    model: AdaptedModel,
    fingerprint: str,
    groups: dict[str, tuple[str, ...]],
    metrics: dict[str, Any],
) -> None:
    """Write ``out``; ``dataset`` and ``licence`` are name and licence of the data, ``groups`` those of its recordings by split,
    ``metrics`` holds the scores by split, and those of :mod:`leave_one_group_out`.

    Raises :class:`UserError` when the disk refuses.
    """
    manifest = _manifest(recipe, dataset, licence, model, fingerprint, groups, metrics)
    text = recipe.dump()
    artifact.save(
        out,
        manifest=manifest,
        tensors=model.trainable_state(),
        recipe=text,
        metrics=metrics,
        card=render_card(manifest, metrics, text),
        dtype=recipe.train.dtype,
        home=Path.cwd(),
    )


def _manifest(
    recipe: Recipe,
    dataset: str,
    licence: str,
    model: AdaptedModel,
    fingerprint: str,
    groups: dict[str, tuple[str, ...]],
    metrics: dict[str, Any],
) -> artifact.Manifest:
    backbone, heads = model.backbone, cast(dict[str, Head], dict(model.heads.items()))
    headline: dict[str, Any] = flatten(metrics.get("test") or metrics["validation"])
    return artifact.Manifest(
        name=recipe.name,
        created=datetime.now(UTC).date().isoformat(),
        etude_version=version("etude"),
        versions={"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
        seed=recipe.seed,
        backbone=artifact.BackboneRef(
            name=recipe.backbone.name,
            id=as_written(backbone.id),
            revision=backbone.revision,
            fingerprint=fingerprint,
            licence=backbone.licence,
            sample_rate=backbone.sample_rate,
            frame_rate=backbone.frame_rate,
            hidden_size=backbone.hidden_size,
            num_blocks=backbone.num_blocks,
        ),
        method=recipe.method.name,
        labels={name: head.labels for name, head in heads.items()},
        thresholds={name: head.thresholds for name, head in heads.items()},
        statistics={name: head.statistics for name, head in heads.items()},
        dataset=dataset,
        data_licence=licence,
        trainable=model.trainable_counts(),
        scores=headline,
        metric=recipe.train.metric,
        groups=groups,
    )
