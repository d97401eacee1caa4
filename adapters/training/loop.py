"""The loop over epochs and steps, with everything that a run in progress consists of."""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor

from etude.adapters.datasets import Track
from etude.adapters.errors import UserError
from etude.adapters.heads import Head
from etude.adapters.model.adapted import AdaptedModel
from etude.adapters.model.build import build_regularizers
from etude.adapters.recipe.schema import Recipe
from etude.adapters.states.frozen_states import frozen_states
from etude.adapters.states.memory import in_parts_that_fit
from etude.adapters.states.window_features import WindowFeatures
from etude.adapters.states.window_set import WindowSet, training_runs
from etude.adapters.storage.feature_store import FeatureStore
from etude.adapters.training.checkpoint import Progress, save_checkpoint
from etude.adapters.training.evaluation import Scores, flatten, per_class_f1, score_tracks
from etude.adapters.training.examples import Examples
from etude.adapters.training.interrupt import Interruption
from etude.adapters.training.objective import Objective
from etude.adapters.training.reporter import Reporter
from etude.adapters.training.schedule import warmup_cosine


class Loop:
    """The state of one training run."""

    def __init__(
        self,
        recipe: Recipe,
        model: AdaptedModel,
        tracks: dict[str, list[Track]],
        accelerator: Accelerator,
        reporter: Reporter,
        interruption: Interruption,
        folder: Path,
        store: FeatureStore | None,
    ) -> None:
        self.recipe, self.config, self.model = recipe, recipe.train, model
        self.accelerator, self.reporter, self.interruption, self.folder = accelerator, reporter, interruption, folder
        self.store, self.progress, self.fingerprint = store, Progress(), model.backbone.fingerprint()
        parts = self.config.accumulate * accelerator.num_processes
        if self.config.batch_size % parts:
            raise UserError(
                f"{self.config.batch_size} windows cannot be split into {self.config.accumulate} parts on "
                f"{accelerator.num_processes} processes",
                where="train.batch_size",
                fix=f"choose a multiple of {parts}",
            )
        self.part_size = self.config.batch_size // parts
        self.objective = Objective(model, build_regularizers(recipe, model.backbone.hidden_size))
        self.shows_runs = any(head.span != "window" for head in self.heads.values())
        overlap = self.config.overlap if self.shows_runs else None
        self.train_windows = WindowSet(tracks["train"], model.backbone, overlap, self.config.augment)
        self.runs = training_runs(self.train_windows, self.heads.values())
        """What a step draws from: windows, or where a head is shown more, as many consecutive ones as that takes."""
        self.train_states = self.frozen(self.train_windows)
        self.validation = self.frozen(WindowSet(tracks["validation"], model.backbone, self.config.overlap))
        self.steps_per_epoch = math.ceil(len(self.runs) / self.config.batch_size)
        fused = accelerator.device.type in ("cpu", "cuda")
        trained, decay = self.objective.trained(), self.config.weight_decay
        self.optimizer = torch.optim.AdamW(trained, self.config.lr, weight_decay=decay, fused=fused)
        self.wrapped, self.prepared_optimizer = accelerator.prepare(self.objective, self.optimizer)

    def frozen(self, windows: WindowSet) -> WindowFeatures:
        """The frozen states of ``windows`` under the run's settings."""
        source = frozen_states(self.model, self.fingerprint, training=windows is self.train_windows)
        return WindowFeatures(source, windows, self.store, dtype=self.config.store_dtype, say=self.reporter.say)

    @property
    def heads(self) -> dict[str, Head]:
        """The model's heads by name."""
        return cast(dict[str, Head], dict(self.model.heads.items()))

    def restore(self, progress: Progress, state: dict[str, Tensor], optimizer: dict[str, Any]) -> None:
        """Continue where a checkpoint stopped."""
        self.progress = progress
        self.objective.load(state)
        self.optimizer.load_state_dict(optimizer)

    def save(self) -> None:
        """Write the checkpoint (main process); no process goes on before, for a launcher ends all once one has left."""
        if self.accelerator.is_main_process:
            state, optimizer = self.objective.state(), self.optimizer.state_dict()
            save_checkpoint(self.folder / "checkpoint.pt", self.recipe.dump(), self.progress, state, optimizer)
        self.accelerator.wait_for_everyone()

    def finish(self) -> None:
        """Mark the run as finished, so that it is not continued."""
        self.progress.finished = True
        self.save()

    def scores(self, states: WindowFeatures, *, tune: bool) -> Scores:
        """Evaluate on the tracks of ``states``; ``tune`` chooses the thresholds on them first."""
        if wrapper := self.model.reader.wrapper:  # each process has measured its own share of the batches
            broadcast(list(wrapper.buffers()))
        with self.reporter.task("evaluation", len(states.windows.tracks)) as advance:
            return score_tracks(self.model, states, self.accelerator, self.part_size, advance, self.interruption, tune=tune)

    def fill_states(self, states: WindowFeatures, what: str) -> None:
        """Compute what the store lacks of ``states``."""
        with self.reporter.task(f"frozen states, {what}", states.windows.rows) as advance:
            states.fill(self.accelerator, advance, self.interruption.check)

    def prepare(self) -> None:
        """Compute what is frozen, and let the heads see the training windows as they are before the first step."""
        self.fill_states(self.train_states, "training")
        self.fill_states(self.validation, "validation")
        for head in self.heads.values():
            head.calibrate(Examples(self.model, self.train_states, head, 1, self.interruption.check))
        self.fit()

    def fit(self) -> None:
        """Let the heads learn what they learn from all training windows at once."""
        self.model.eval()
        for head in self.heads.values():
            head.fit(Examples(self.model, self.train_states, head, self.train_windows.views, self.interruption.check))

    def refit(self) -> None:
        """The same anew, where what is trained has changed the states."""
        if not self.model.method.leaves_states(self.model.backbone):
            self.fit()

    def run(self) -> None:
        """Train to the last epoch or to early stopping; where there is nothing to train step by step, judge what is fitted."""
        if self.fitted:
            return self._judge_fitted()
        share = self.config.batch_size // self.accelerator.num_processes
        sizes = [size for size in range(self.part_size, 0, -1) if share % size == 0]
        # Several processes must agree on the size, and one that runs out of memory cannot tell the others.
        alone = self.accelerator.num_processes == 1
        with self.reporter.task("training", self.config.epochs * self.steps_per_epoch, self._done()) as advance:

            def work(size: int) -> None:
                if size < self.part_size:
                    self.reporter.say(f"memory ran out; from here on {size} of {share} windows at a time")
                self.part_size = size
                while self.progress.epoch < self.config.epochs and not self._stalled():
                    self._epoch(advance)

            in_parts_that_fit(work, sizes if alone else sizes[:1])

    @property
    def fitted(self) -> bool:
        """Whether all that is learned is learned at once, before the first step."""
        frozen = self.model.method.leaves_states(self.model.backbone) and not self.recipe.regularizers
        return frozen and all(head.learned_at_once for head in self.heads.values())

    def _judge_fitted(self) -> None:
        row = {"epoch": 0, "train_loss": 0.0, "lr": 0.0} | self._validate(0)
        self.progress.history = [row]
        self.progress.epoch = self.config.epochs
        self.save()
        self.reporter.epoch(row, self.progress.history)

    def _done(self) -> int:
        return self.progress.epoch * self.steps_per_epoch + self.progress.step

    def _stalled(self) -> bool:
        stale = self.progress.epoch - 1 - self.progress.best_epoch
        return (
            self.config.patience is not None
            and bool(self.progress.history)
            and stale >= self.config.patience * self.config.evaluate_every
        )

    def _epoch(self, advance: Any) -> None:
        order = self.order(self.progress.epoch)
        self.wrapped.train()
        while self.progress.step < self.steps_per_epoch:
            for name, value in self.step(order).items():
                self.progress.losses[name] = self.progress.losses.get(name, 0.0) + value
            self.progress.step += 1
            advance(1)
            if self.interruption.requested():
                self.save()
                raise KeyboardInterrupt
        epoch = self.progress.epoch
        row: dict[str, Any] = {"epoch": epoch + 1, "lr": self.optimizer.param_groups[0]["lr"]}
        row |= {f"train_{name}": value / self.steps_per_epoch for name, value in self.progress.losses.items()}
        row["train_loss"] = sum(self.progress.losses.values()) / self.steps_per_epoch
        if (epoch + 1) % self.config.evaluate_every == 0 or epoch + 1 == self.config.epochs:
            self.save()
            row |= self._validate(epoch)
        self.progress.history.append(row)
        self.progress.epoch, self.progress.step, self.progress.losses = epoch + 1, 0, {}
        self.save()
        self.reporter.epoch(row, self.progress.history)

    def order(self, epoch: int) -> Tensor:
        """A permutation of the runs, filled up from its own start so that every batch is full."""
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.runs), generator=generator)
        return order.repeat(math.ceil(self.config.batch_size / len(order)) + 1)[: self.steps_per_epoch * self.config.batch_size]

    def step(self, order: Tensor) -> dict[str, float]:
        """One optimizer update; returns the loss terms, averaged over all processes."""
        done, step = self._done(), self.progress.step
        parts = self._parts(order, step)
        following = [*parts[1:], *(self._parts(order, step + 1)[:1] or [[]])]
        self.prepared_optimizer.zero_grad()
        self._seed((self.recipe.seed * 1_000_003 + done) * self.accelerator.num_processes + self.accelerator.process_index)
        factor = warmup_cosine(done, self.config.epochs * self.steps_per_epoch, self.config.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * factor
        sums: dict[str, Tensor] = {}
        for index, positions in enumerate(parts):
            divisor = self._divisor(order, step, positions)
            with self._sync(last=index == len(parts) - 1):
                terms = self._loss_terms(positions, following[index])
                self.accelerator.backward(sum(terms.values()) / divisor)
            for name, value in terms.items():
                sums[name] = sums.get(name, torch.zeros(())) + value.detach().cpu() / divisor
        self.accelerator.clip_grad_norm_(self.objective.trained(), self.config.clip)
        self.prepared_optimizer.step()
        values = {
            name: float(self.accelerator.reduce(value.to(self.accelerator.device), "mean")) for name, value in sums.items()
        }
        if not all(map(math.isfinite, values.values())):
            raise UserError(
                f"the loss is not finite at step {done}", where="training", fix="lower train.lr or use train.precision=fp32"
            )
        return values

    def _sync(self, *, last: bool) -> Any:
        return nullcontext() if last else self.accelerator.no_sync(self.wrapped)

    def _batch(self, order: Tensor, step: int) -> Tensor:
        return order[step * self.config.batch_size : (step + 1) * self.config.batch_size]

    def _parts(self, order: Tensor, step: int) -> list[list[int]]:
        """The windows of a step that this process computes, in parts; none after the last step."""
        parts = self._batch(order, step).view(-1, self.accelerator.num_processes, self.part_size)
        return cast(list[list[int]], parts[:, self.accelerator.process_index].tolist())

    def _divisor(self, order: Tensor, step: int, positions: list[int]) -> float:
        """What the mean over a part is divided by to count by its weight: the number of parts, where all weigh the same."""
        processes: int = self.accelerator.num_processes
        chosen = ([self.runs[position] for position in part] for part in (self._batch(order, step).tolist(), positions))
        whole, own = map(self.train_windows.weight, chosen)
        return whole / (own * processes)

    def _seed(self, seed: int) -> None:
        # torch.manual_seed also asks for a stack trace for GPUs that are not there, which takes a millisecond.
        if self.accelerator.device.type == "cpu":
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def _rows(self, positions: list[int]) -> list[int]:
        """Each epoch takes the next view of every window; not all windows are in the same view at once."""
        views, epoch = self.train_windows.views, self.progress.epoch
        return [position * views + (epoch + position) % views for position in positions]

    def _loss_terms(self, positions: list[int], following: list[int]) -> dict[str, Tensor]:
        """The loss terms of some windows; those that are ``following`` are read meanwhile."""
        device, chosen = self.accelerator.device, [self.runs[position] for position in positions]
        targets = self.train_windows.targets(chosen, self.heads)
        mask = self.train_windows.frame_weights(chosen).to(device) if self.recipe.regularizers else None
        terms: dict[str, Tensor]
        if not self.shows_runs:
            states = self.train_states(self._rows(positions))
            if following:
                self.train_states.read_ahead(self._rows(following))
            logits, terms = self.wrapped([state.to(device) for state in states], None, mask)
        else:
            rows = self._rows([window for run in chosen for window in run])

            def read(part: range) -> list[Tensor]:
                return [state.to(device) for state in self.train_states(rows[part.start : part.stop])]

            logits, terms = self.wrapped(read, [self.train_windows.run(run) for run in chosen], mask)
        for name, head in self.heads.items():
            on_device = {key: value.to(device) for key, value in targets[name].items()}
            terms |= {f"{name}_{term}": loss for term, loss in head.loss(logits[name], on_device).items()}
        return terms

    def _validate(self, epoch: int) -> dict[str, Any]:
        self.refit()
        scores = self.scores(self.validation, tune=True)
        flat = flatten(scores)
        metric = flat[self.config.metric]
        if self.progress.best_metric is None or metric > self.progress.best_metric:
            self.progress.best_metric, self.progress.best_epoch = metric, epoch
            self.progress.best_state = self.model.trainable_state()
        return {"metric": metric, "metric_name": self.config.metric, **flat, "per_class_f1": per_class_f1(scores)}
