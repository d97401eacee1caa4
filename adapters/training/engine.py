"""Training, from a recipe to an artifact: one engine for every method and head, on one or several processes.

A run folder holds everything of a run in progress (checkpoint, frozen states, logs, plots); the artifact is written at the end.
Randomness is drawn from (seed, step), so a resumed run repeats the losses of an uninterrupted one.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from etude.adapters import registry
from etude.adapters.build import build_backbone, build_dataset, build_model
from etude.adapters.datasets import Dataset, Track
from etude.adapters.errors import UserError, nearest
from etude.adapters.heads import Head
from etude.adapters.model import AdaptedModel
from etude.adapters.training.checkpoint import load_checkpoint
from etude.adapters.training.evaluation import flatten
from etude.adapters.training.feature_store import FrozenStates
from etude.adapters.training.finish import round_to, write_artifact
from etude.adapters.training.interrupt import Interruption
from etude.adapters.training.loop import Loop
from etude.adapters.training.recipe import Recipe, TrainConfig
from etude.adapters.training.reporter import Reporter
from etude.adapters.training.window_set import WindowSet


def train(recipe: Recipe, run: Path, out: Path, *, fresh: bool = False) -> Path:
    """Train ``recipe`` in the folder ``run`` and write the artifact to ``out``; returns ``out``.

    Continues an interrupted run of the same recipe unless ``fresh``. Raises :class:`UserError` for faulty data or a run folder
    of another recipe, and :class:`KeyboardInterrupt` after saving a checkpoint.
    """
    checkpoint = run / "checkpoint.pt"
    resumed = None if fresh else load_checkpoint(checkpoint, recipe.dump())
    if resumed and resumed[0].finished:
        raise UserError("is a finished run of this recipe", where=str(run), fix="pass --fresh to train it again")
    accelerator = Accelerator(mixed_precision=_precision(recipe.train))
    dataset = build_dataset(recipe)
    tracks = {split: dataset.tracks(split) for split in ("train", "validation")}
    model = _model(recipe, dataset, tracks["train"])
    _check_metric(recipe.train.metric, model)
    fingerprint = model.backbone.fingerprint()
    model.to(accelerator.device)
    _prepare(run, checkpoint if fresh else None)
    reporter = Reporter(run, enabled=accelerator.is_main_process)
    with reporter, Interruption(accelerator) as interruption:
        loop = Loop(recipe, model, tracks, accelerator, reporter, interruption, run)
        if resumed:
            loop.restore(*resumed)
        try:
            loop.run()
        except BaseException:
            loop.remove_states()  # a continued run computes them anew
            raise
        if model.backbone.fingerprint() != fingerprint:
            raise RuntimeError("the frozen backbone changed during training")
        model.load_trainable(loop.progress.best_state)
        round_to(model, recipe.train.dtype)
        metrics = {"validation": loop.scores(loop.validation, tune=True)}
        if any(track.split == "test" for track in dataset.check()[0]):
            windows = WindowSet(dataset.tracks("test"), model.backbone, recipe.train.overlap)
            metrics["test"] = loop.scores(FrozenStates(run / "test-states.f16", model, windows, 0.0), tune=False)
        if accelerator.is_main_process:
            write_artifact(out, recipe, dataset, model, fingerprint, metrics)
            loop.finish()
        loop.remove_states()
        accelerator.wait_for_everyone()
    return out


def _precision(config: TrainConfig) -> str:
    """bf16 only where hardware multiplies in it: on CPUs without such units it is several times slower than fp32."""
    if config.precision == "auto":
        return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    return "no" if config.precision == "fp32" else config.precision


def _model(recipe: Recipe, dataset: Dataset, tracks: list[Track]) -> AdaptedModel:
    backbone = build_backbone(recipe.backbone)
    annotations = [track.annotation for track in tracks]
    labels = dict.fromkeys(type(recipe.heads).model_fields, dataset.techniques)
    statistics = {
        name: registry.find("heads", name).measure(getattr(recipe.heads, name), labels[name], annotations, backbone.frame_rate)
        for name in labels
    }
    set_seed(recipe.seed)
    return build_model(recipe, backbone, labels, statistics)


def _check_metric(metric: str, model: AdaptedModel) -> None:
    """Find an unknown metric before hours of training, not after: the names of all scores are those of no recordings."""
    known = flatten({name: cast(Head, head).score([], [], model.backbone.frame_rate) for name, head in model.heads.items()})
    if metric not in known:
        raise UserError(f"no score '{metric}'", where="train.metric", fix=nearest(metric, known))


def _prepare(run: Path, stale: Path | None) -> None:
    """Create the run folder only now that recipe and data are known to be sound, and drop the ``stale`` checkpoint."""
    try:
        run.mkdir(parents=True, exist_ok=True)
        if stale is not None:
            stale.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot be written to: {error.strerror}", where=str(run), fix="name another folder") from None
