"""The loop over epochs and steps, with everything that a run in progress consists of."""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor

from etude.adapters.datasets import Track
from etude.adapters.errors import UserError
from etude.adapters.heads import Head
from etude.adapters.model import AdaptedModel
from etude.adapters.training.checkpoint import Progress, save_checkpoint
from etude.adapters.training.evaluation import Scores, evaluate, flatten
from etude.adapters.training.feature_store import FrozenStates
from etude.adapters.training.interrupt import Interruption
from etude.adapters.training.recipe import Recipe
from etude.adapters.training.reporter import Reporter
from etude.adapters.training.window_set import WindowSet


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
    ) -> None:
        self.recipe, self.config, self.model = recipe, recipe.train, model
        self.accelerator, self.reporter, self.interruption, self.folder = accelerator, reporter, interruption, folder
        self.progress = Progress()
        parts = self.config.accumulate * accelerator.num_processes
        if self.config.batch_size % parts:
            raise UserError(
                f"{self.config.batch_size} windows cannot be split into {self.config.accumulate} parts on "
                f"{accelerator.num_processes} processes",
                where="train.batch_size",
                fix=f"choose a multiple of {parts}",
            )
        self.part_size = self.config.batch_size // parts
        self.train_windows = WindowSet(tracks["train"], model.backbone, None)
        self.validation_windows = WindowSet(tracks["validation"], model.backbone, self.config.overlap)
        self.train_states = FrozenStates(folder / "train-states.f16", model, self.train_windows, self.config.store_gb)
        self.validation = FrozenStates(folder / "validation-states.f16", model, self.validation_windows, self.config.store_gb)
        self.steps_per_epoch = math.ceil(len(self.train_windows) / self.config.batch_size)
        parameters = [parameter for _, parameter in model.named_trainable()]
        self.optimizer = torch.optim.AdamW(parameters, lr=self.config.lr, weight_decay=self.config.weight_decay)
        self.wrapped, self.prepared_optimizer = accelerator.prepare(model, self.optimizer)

    @property
    def heads(self) -> dict[str, Head]:
        """The model's heads by name."""
        return cast(dict[str, Head], dict(self.model.heads.items()))

    def restore(self, progress: Progress, state: dict[str, Tensor], optimizer: dict[str, Any]) -> None:
        """Continue where a checkpoint stopped."""
        self.progress = progress
        self.model.load_trainable(state)
        self.optimizer.load_state_dict(optimizer)

    def save(self) -> None:
        """Write the checkpoint (main process)."""
        if self.accelerator.is_main_process:
            state, optimizer = self.model.trainable_state(), self.optimizer.state_dict()
            save_checkpoint(self.folder / "checkpoint.pt", self.recipe.dump(), self.progress, state, optimizer)

    def finish(self) -> None:
        """Mark the run as finished, so that it is not continued."""
        self.progress.finished = True
        self.save()

    def remove_states(self) -> None:
        """Delete the files of frozen states (main process)."""
        if self.accelerator.is_main_process:
            self.train_states.remove()
            self.validation.remove()

    def scores(self, states: FrozenStates, *, tune: bool) -> Scores:
        """Evaluate on the tracks of ``states``; ``tune`` chooses the thresholds on them first."""
        with self.reporter.task("evaluation", len(states.windows.tracks)) as advance:
            return evaluate(self.model, states, self.accelerator, self.config.batch_size, advance, self.interruption, tune=tune)

    def run(self) -> None:
        """Train to the last epoch or to early stopping."""
        for states, what in ((self.train_states, "training"), (self.validation, "validation")):
            with self.reporter.task(f"frozen states, {what}", len(states.windows)) as advance:
                states.fill(self.accelerator, advance, self.interruption)
        with self.reporter.task("training", self.config.epochs * self.steps_per_epoch, self._done()) as advance:
            while self.progress.epoch < self.config.epochs and not self._stalled():
                self._epoch(advance)

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
        order = self._order(self.progress.epoch)
        self.wrapped.train()
        while self.progress.step < self.steps_per_epoch:
            for name, value in self._step(order).items():
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

    def _order(self, epoch: int) -> Tensor:
        """A permutation of the windows, filled up from its own start so that every batch is full."""
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.train_windows), generator=generator)
        return order.repeat(math.ceil(self.config.batch_size / len(order)) + 1)[: self.steps_per_epoch * self.config.batch_size]

    def _step(self, order: Tensor) -> dict[str, float]:
        """One optimizer update; returns the loss terms, averaged over all processes."""
        done, world = self._done(), self.accelerator.num_processes
        first = self.progress.step * self.config.batch_size
        batch = order[first : first + self.config.batch_size].view(self.config.accumulate, world, self.part_size)
        torch.manual_seed((self.recipe.seed * 1_000_003 + done) * world + self.accelerator.process_index)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * self._schedule(done)
        sums: dict[str, Tensor] = {}
        for part in range(self.config.accumulate):
            positions = batch[part, self.accelerator.process_index].tolist()
            with self._sync(last=part == self.config.accumulate - 1):
                terms = self._loss_terms(positions)
                self.accelerator.backward(sum(terms.values()) / self.config.accumulate)
            for name, value in terms.items():
                sums[name] = sums.get(name, torch.zeros(())) + value.detach().cpu() / self.config.accumulate
        self.accelerator.clip_grad_norm_([p for _, p in self.model.named_trainable()], self.config.clip)
        self.prepared_optimizer.step()
        self.prepared_optimizer.zero_grad()
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

    def _loss_terms(self, positions: list[int]) -> dict[str, Tensor]:
        targets = self.train_windows.targets(positions, self.heads)
        device = self.accelerator.device
        logits = self.wrapped(self.train_states(positions).to(device))
        terms: dict[str, Tensor] = {}
        for name, head in self.heads.items():
            on_device = {key: value.to(device) for key, value in targets[name].items()}
            terms |= {f"{name}_{term}": loss for term, loss in head.loss(logits[name], on_device).items()}
        return terms

    def _schedule(self, step: int) -> float:
        """Linear warm-up, then cosine to 0 over all steps."""
        total = self.config.epochs * self.steps_per_epoch
        warmup = round(self.config.warmup * total)
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))

    def _validate(self, epoch: int) -> dict[str, Any]:
        scores = self.scores(self.validation, tune=True)
        flat = flatten(scores)
        metric = flat[self.config.metric]
        if self.progress.best_metric is None or metric > self.progress.best_metric:
            self.progress.best_metric, self.progress.best_epoch = metric, epoch
            self.progress.best_state = self.model.trainable_state()
        return {"metric": metric, "metric_name": self.config.metric, **flat, "per_class_f1": _per_class(scores)}


def _per_class(scores: Scores) -> dict[str, float]:
    return {
        label: float(row["event"]["f1"]) for values in scores.values() for label, row in values.get("per_class", {}).items()
    }
