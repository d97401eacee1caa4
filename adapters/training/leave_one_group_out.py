"""Leave-one-group-out cross-validation: what the recipe is worth on sessions and players that training did not see.

The recipe is trained again without each fold's groups, from the same seed, and scored on them. Frozen states are those of the
run; finished folds lie in its folder, so that an interrupted run repeats none of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from etude.adapters.artifact import HELD_OUT, plain
from etude.adapters.datasets._parts.groups import some_of
from etude.adapters.errors import UserError
from etude.adapters.heads._parts.labels import head_kind
from etude.adapters.model.adapted import AdaptedModel
from etude.adapters.states.selected_features import SelectedFeatures
from etude.adapters.states.window_features import WindowFeatures
from etude.adapters.states.window_set import WindowSet
from etude.adapters.storage.atomic import replace_file
from etude.adapters.training.checkpoint import load_checkpoint
from etude.adapters.training.evaluation import Scores, flatten
from etude.adapters.training.finish import complete
from etude.adapters.training.group_folds import Fold, group_folds
from etude.adapters.training.loop import Loop
from etude.adapters.training.reporter import Reporter

Build = Callable[[Fold], AdaptedModel]
"""Gives the model at step 0, or raises :class:`UserError` where the groups cannot be left out."""


def leave_one_group_out(whole: Loop, build: Build) -> dict[str, Any]:
    """Scores on groups that were left out of the run ``whole``, whose states are there: ``{"leave_one_group_out": {"folds":
    [{"groups", "recordings", "scores"}, ...], "mean": ..., "spread": ...}}``, all scores by head.

    The spread is the standard deviation over the folds, if there are several. Empty where there are fewer than two groups,
    or no fold can be trained and judged; what hinders one is told. Raises :class:`KeyboardInterrupt` after saving a checkpoint.
    """
    train, validation = whole.train_windows.tracks, whole.validation.windows.tracks
    kinds = {head_kind(name).name for name in whole.heads}
    folds = group_folds(train, validation, kinds, whole.recipe.seed)
    if not folds:
        return {}
    scored = {track.audio for fold in folds for track in (*fold.validation, *fold.test)}
    windows = WindowSet([track for track in train if track.audio in scored], whole.model.backbone, whole.config.overlap)
    judged = whole.frozen(windows)
    whole.fill_states(judged, "groups to be left out")
    found: list[dict[str, Any]] = []
    with whole.reporter.task("leave one group out", len(folds)) as advance:
        for fold in folds:
            if scores := _fold_scores(whole, fold, judged, build):
                found.append({"groups": list(fold.groups), "recordings": len(fold.test), "scores": scores})
                metric = whole.config.metric
                whole.reporter.say(f"{some_of(fold.groups)} left out: {metric} {flatten(scores)[metric]:.3f}")
            advance(1)
    return {HELD_OUT: {"folds": found, **_summary([fold["scores"] for fold in found])}} if found else {}


def _fold_scores(whole: Loop, fold: Fold, judged: WindowFeatures, build: Build) -> Scores | None:
    """Of a model that was trained without the groups of ``fold``, on their recordings; ``None`` where that cannot be."""
    folder = whole.folder / HELD_OUT / _digest(whole.recipe.dump(), fold)
    if known := _finished(whole.accelerator, folder / "scores.json"):
        return known
    try:
        if not fold.test:
            raise UserError("what the others know does not occur in it")
        model = build(fold).to(whole.accelerator.device)
    except UserError as error:  # the others hold no pitch, say
        whole.reporter.say(f"notice: {some_of(fold.groups)} cannot be left out: {error.problems[0].what}")
        return None
    if whole.accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
    loop = _FoldLoop(whole, model, fold, judged, folder)
    complete(loop, load_checkpoint(folder / "checkpoint.pt", whole.recipe.dump()))
    test = loop.frozen(WindowSet(fold.test, model.backbone, loop.config.overlap))
    scores: Scores = plain(loop.scores(test, tune=False))
    if whole.accelerator.is_main_process:
        with replace_file(folder / "scores.json") as partial:
            partial.write_text(json.dumps(scores), encoding="utf-8")
        (folder / "checkpoint.pt").unlink()
    whole.accelerator.wait_for_everyone()
    return scores


def _digest(recipe: str, fold: Fold) -> str:
    """Tells folds of other groups or recordings apart."""
    own = [recipe, fold.groups, *([track.id for track in tracks] for tracks in (fold.train, fold.validation, fold.test))]
    return hashlib.sha256(json.dumps(own).encode()).hexdigest()[:16]


def _finished(accelerator: Accelerator, path: Path) -> Scores | None:
    """What an earlier run left, the same for all processes."""
    found = json.loads(path.read_text(encoding="utf-8")) if accelerator.is_main_process and path.exists() else None
    scores: Scores | None = broadcast_object_list([found])[0]
    return scores


class _Reporter(Reporter):
    """That of the whole run, silent about the epochs of a fold."""

    def __init__(self, whole: Reporter) -> None:
        super().__init__(whole.run, enabled=whole.enabled)
        self.console, self._bars = whole.console, whole._bars

    def epoch(self, row: dict[str, Any], history: list[dict[str, Any]]) -> None:
        """See :class:`Reporter`."""


class _FoldLoop(Loop):
    """Trains on some recordings of another loop, and reads its frozen states."""

    def __init__(self, whole: Loop, model: AdaptedModel, fold: Fold, judged: WindowFeatures, folder: Path) -> None:
        self.whole, self.judged = whole, judged
        tracks = {"train": fold.train, "validation": fold.validation}
        accelerator = Accelerator(mixed_precision=whole.accelerator.mixed_precision)
        super().__init__(
            whole.recipe, model, tracks, accelerator, _Reporter(whole.reporter), whole.interruption, folder, whole.store
        )

    def frozen(self, windows: WindowSet) -> WindowFeatures:
        """See :class:`Loop`."""
        trained = windows is self.train_windows
        return SelectedFeatures(windows, [self.whole.train_states] if trained else [self.judged, self.whole.validation])


def _summary(scores: list[Scores]) -> dict[str, Scores]:
    """Mean and standard deviation (of several) of every number that all folds have."""
    flat = [flatten(own) for own in scores]
    names = [name.split(".", 1) for name in flat[0] if all(name in own for own in flat)]
    found: dict[str, Scores] = {"mean": {}, "spread": {}}
    for head, name in names:
        values = [own[f"{head}.{name}"] for own in flat]
        found["mean"].setdefault(head, {})[name] = mean(values)
        if len(values) > 1:
            found["spread"].setdefault(head, {})[name] = stdev(values)
    return found
