"""Training, from a recipe to an artifact: one engine for every method and head, on one or several processes.

A run folder holds everything of a run in progress (checkpoint, logs, plots); the artifact is written at the end. Frozen states
lie in the feature store, where later runs find them.
Randomness is drawn from (seed, step), so a resumed run repeats the losses of an uninterrupted one.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, set_seed

from etude.adapters import registry
from etude.adapters.artifact import HELD_OUT, Artifact
from etude.adapters.datasets import Dataset, Track, joined_licence
from etude.adapters.datasets._parts.groups import group_notices, groups_of
from etude.adapters.errors import UserError, nearest
from etude.adapters.heads._parts.labels import head_labels
from etude.adapters.model.adapted import AdaptedModel
from etude.adapters.model.build import build_backbone, build_dataset, build_method, build_model
from etude.adapters.recipe.schema import Recipe, TrainConfig
from etude.adapters.states.window_set import WindowSet
from etude.adapters.storage.feature_store import FeatureStore
from etude.adapters.training.checkpoint import load_checkpoint
from etude.adapters.training.evaluation import flatten
from etude.adapters.training.finish import complete, write_artifact
from etude.adapters.training.group_folds import Fold
from etude.adapters.training.interrupt import Interruption
from etude.adapters.training.leave_one_group_out import leave_one_group_out
from etude.adapters.training.loop import Loop
from etude.adapters.training.precision import autocast_dtype
from etude.adapters.training.processes import join_processes
from etude.adapters.training.reporter import Reporter
from etude.adapters.training.run_folder import hold
from etude.adapters.training.share import share_of
from etude.adapters.training.starting_point import start_from

MOST_NOTICES = 5
"""Of more notices about the data, training tells only the number."""


def train(recipe: Recipe, run: Path, out: Path, *, fresh: bool = False, cache: bool = True) -> Path:
    """Train ``recipe`` in the folder ``run`` and write the artifact to ``out``; returns ``out``.

    Continues an interrupted run of the same recipe unless ``fresh``. Without ``cache``, frozen states are computed at every
    step. Raises :class:`UserError` for faulty data, a run folder that is in use or of another recipe or an ``init_from`` that
    does not fit, and :class:`KeyboardInterrupt` after saving a checkpoint.
    """
    checkpoint = run / "checkpoint.pt"
    resumed = None if fresh else load_checkpoint(checkpoint, recipe.dump())
    if resumed and resumed[0].finished:
        raise UserError("is a finished run of this recipe", where=str(run), fix="pass --fresh to train it again")
    accelerator = Accelerator(mixed_precision=_mixed_precision(recipe.train))
    dataset = build_dataset(recipe)
    tracks = {split: dataset.tracks(split) for split in ("train", "validation")}
    tracks["train"] = share_of(tracks["train"], recipe.train.share, recipe.seed)
    model, origin, start = _begin(recipe, dataset, tracks["train"])
    _check_metric(recipe.train.metric, model)
    model.to(accelerator.device)
    reporter = Reporter(run, enabled=accelerator.is_main_process)
    stale = ("checkpoint.pt", HELD_OUT) if fresh else ()
    with hold(run, accelerator, stale), reporter, Interruption(accelerator) as interruption:
        loop = Loop(recipe, model, tracks, accelerator, reporter, interruption, run, FeatureStore() if cache else None)
        notices = [*group_notices(dataset.check()[0]), *dataset.notices]
        for notice in notices[:MOST_NOTICES]:
            reporter.say(f"notice: {notice}")
        if (more := len(notices) - MOST_NOTICES) > 0:
            reporter.say(f"notice: and {more} more, which 'adapt data check' tells")
        if start and not resumed:
            reporter.say(start)
        metrics: dict[str, Any] = {"validation": complete(loop, resumed)}
        if any(track.split == "test" for track in dataset.check()[0]):
            tracks["test"] = dataset.tracks("test")
            test = loop.frozen(WindowSet(tracks["test"], model.backbone, recipe.train.overlap))
            loop.fill_states(test, "test")
            metrics["test"] = loop.scores(test, tune=False)
        licence = joined_licence(dataset.licence, *([origin.manifest.data_licence] if origin else []))
        groups = {split: groups_of(own) for split, own in tracks.items()}
        groups["train"] = tuple(sorted({*groups["train"], *_groups_before(origin)}))
        write = partial(write_artifact, out, recipe, dataset.config.name, licence, model, loop.fingerprint, groups)
        if accelerator.is_main_process:
            write(metrics)
        if recipe.train.leave_one_group_out:
            held_out = leave_one_group_out(loop, partial(_begin_fold, recipe, dataset))
            if held_out and accelerator.is_main_process:
                write({**held_out, **metrics})
        loop.finish()
    return out


def _mixed_precision(config: TrainConfig) -> str:
    """Accelerate's name for the precision; the main process chooses, since what it measures is not the same everywhere."""
    state = join_processes()
    dtype = autocast_dtype(config.precision, state.device) if state.is_main_process else None
    names = {None: "no", torch.bfloat16: "bf16", torch.float16: "fp16"}
    return names[broadcast_object_list([dtype])[0]]


def _begin(recipe: Recipe, dataset: Dataset, tracks: list[Track]) -> tuple[AdaptedModel, Artifact | None, str]:
    """The model that is to be trained on ``tracks``, the adapter that it starts from if there is one, and that in words."""
    model = untrained_model(recipe, dataset, tracks)
    return model, *(start_from(model, recipe, Path(recipe.init_from)) if recipe.init_from else (None, ""))


def _begin_fold(recipe: Recipe, dataset: Dataset, fold: Fold) -> AdaptedModel:
    """The same without the groups of ``fold``. Raises :class:`UserError` where the adapter to start from has seen one."""
    model, origin, _ = _begin(recipe, dataset, fold.train)
    if known := _groups_before(origin).intersection(fold.groups):
        raise UserError(f"{recipe.init_from}, which training starts from, has learned from '{min(known)}'")
    return model


def _groups_before(origin: Artifact | None) -> set[str]:
    """What the adapter that training starts from was trained on."""
    return set((origin.manifest.groups or {}).get("train", ("",))) if origin else set()


def untrained_model(recipe: Recipe, dataset: Dataset, tracks: list[Track]) -> AdaptedModel:
    """The model at step 0; ``tracks`` are the training tracks, of which the heads measure class weights and pitches."""
    backbone = build_backbone(recipe.backbone)
    annotations = [track.annotation for track in tracks]
    labels = {name: head_labels(name, dataset) for name in type(recipe.heads).model_fields}
    frozen, rate = build_method(recipe).leaves_states(backbone), backbone.frame_rate
    statistics = {
        name: registry.find("heads", name).measure(getattr(recipe.heads, name), own, annotations, rate, frozen=frozen)
        for name, own in labels.items()
    }
    set_seed(recipe.seed)
    model = build_model(recipe, backbone, labels, statistics)
    model.gradient_checkpointing = recipe.train.gradient_checkpointing
    return model


def _check_metric(metric: str, model: AdaptedModel) -> None:
    """Find an unknown metric before hours of training, not after: the names of all scores are those of no recordings."""
    rate, heads = model.backbone.frame_rate, model.reader.heads_by_name
    known = flatten({name: head.score([], [], head.frame_rate(rate)) for name, head in heads.items()})
    if metric not in known:
        raise UserError(f"no score '{metric}'", where="train.metric", fix=nearest(metric, known))
