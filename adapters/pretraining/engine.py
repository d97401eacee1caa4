"""Pretraining, from a recipe to a folder of weights that the backbone ``mert`` loads.

A run folder holds the checkpoint and the history; the backbone is written at the end. Clips are drawn from (seed, step), so a
resumed run sees what an uninterrupted one would.
"""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn
from transformers import HubertModel

from etude.adapters.backbones.mert import end_padding, hubert_config
from etude.adapters.errors import UserError
from etude.adapters.pretraining.clips import PITCHES, Clips, Composer
from etude.adapters.pretraining.folder import write_backbone
from etude.adapters.pretraining.objectives import Objectives, Targets
from etude.adapters.pretraining.techniques import TECHNIQUES
from etude.adapters.recipe.pretraining import PretrainRecipe
from etude.adapters.storage.atomic import replace_file
from etude.adapters.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from etude.adapters.training.interrupt import Interruption
from etude.adapters.training.processes import join_processes
from etude.adapters.training.reporter import Reporter
from etude.adapters.training.run_folder import hold
from etude.adapters.training.schedule import warmup_cosine

HELD_OUT = 2**31
"""Steps from here on are for validation: their clips are never trained on."""
VALIDATION_BATCHES = 8


class Pretrainer(nn.Module):
    """The backbone with its objectives; ``instruments``: how many there are to tell apart."""

    def __init__(self, recipe: PretrainRecipe, instruments: int) -> None:
        super().__init__()
        shape = recipe.shape.model_dump(exclude={"sample_rate"})
        shape = {key: list(value) if isinstance(value, tuple) else value for key, value in shape.items()}
        # Norms before the blocks, as in the 330M layout: they train faster and without accidents.
        self.backbone = HubertModel(hubert_config({**shape, "do_stable_layer_norm": True}, masked=False))
        self.objectives = Objectives(recipe, instruments, len(TECHNIQUES), PITCHES)
        self.padding = end_padding(recipe.shape.conv_kernel, recipe.shape.conv_stride)

    def forward(self, audio: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Clips ``[batch, samples]`` and their targets -> losses by name."""
        output = self.backbone(nn.functional.pad(audio, (0, self.padding)), output_hidden_states=True)
        states = (*output.hidden_states[:-1], output.last_hidden_state)
        losses: dict[str, Tensor] = self.objectives(states, audio, targets)
        return losses


def pretrain(recipe: PretrainRecipe, run: Path, out: Path, *, fresh: bool = False) -> Path:
    """Train the backbone of ``recipe`` in the folder ``run`` and write it to ``out``; returns ``out``.

    Continues an interrupted run of the same recipe unless ``fresh``. Raises :class:`UserError` for missing or damaged sources,
    a batch that the processes cannot share or a run folder that is in use or of another recipe, and
    :class:`KeyboardInterrupt` after saving a checkpoint.
    """
    checkpoint = run / "checkpoint.pt"
    resumed = None if fresh else load_checkpoint(checkpoint, recipe.dump())
    if resumed and resumed[0].finished:
        raise UserError("is a finished run of this recipe", where=str(run), fix="pass --fresh to train it again")
    join_processes()
    accelerator = Accelerator(mixed_precision="no")
    if recipe.train.batch_size % accelerator.num_processes:
        raise UserError(
            f"{recipe.train.batch_size} clips cannot be split over {accelerator.num_processes} processes",
            where="train.batch_size",
            fix=f"choose a multiple of {accelerator.num_processes}",
        )
    composer = Composer(recipe)
    set_seed(recipe.seed)
    model = Pretrainer(recipe, len(composer.instruments)).to(accelerator.device)
    main = accelerator.is_main_process
    reporter = Reporter(run, enabled=main)
    stale = ("checkpoint.pt", "history.jsonl") if fresh else ()
    with hold(run, accelerator, stale), reporter, Interruption(accelerator) as interruption:
        if main:
            with replace_file(run / "recipe.yaml") as partial:
                partial.write_text(recipe.dump(), encoding="utf-8")
        loop = _Loop(recipe, model, composer, accelerator, run)
        if resumed:
            loop.restore(*resumed)
        with reporter.task("pretraining", recipe.train.steps, loop.progress.step) as advance:
            while loop.progress.step < recipe.train.steps:
                loop.step()
                advance(1)
                if loop.progress.step % recipe.train.save_every == 0 or loop.progress.step == recipe.train.steps:
                    if main:
                        reporter.say(loop.validate())
                    loop.save()
                if interruption.requested():
                    loop.save()
                    raise KeyboardInterrupt
        if main:
            write_backbone(out, recipe, composer, model.backbone, loop.progress.history)
        loop.progress.finished = True
        loop.save()
    return out


class _Loop:
    """The state of one run."""

    def __init__(
        self, recipe: PretrainRecipe, model: Pretrainer, composer: Composer, accelerator: Accelerator, folder: Path
    ) -> None:
        self.recipe, self.config, self.model, self.composer = recipe, recipe.train, model, composer
        self.accelerator, self.folder, self.progress = accelerator, folder, Progress()
        processes, index = accelerator.num_processes, accelerator.process_index
        share = self.config.batch_size // processes
        self.items = range(index * share, (index + 1) * share)
        self.optimizer = torch.optim.AdamW(
            model.parameters(), self.config.lr, betas=(0.9, 0.98), weight_decay=self.config.weight_decay, fused=True
        )
        self.wrapped, self.prepared_optimizer = accelerator.prepare(model, self.optimizer)
        self._validation: list[Clips] = []

    def restore(self, progress: Progress, state: dict[str, Tensor], optimizer: dict[str, Any]) -> None:
        self.progress = progress
        self.model.load_state_dict(state)
        self.optimizer.load_state_dict(optimizer)

    def save(self) -> None:
        """Write the checkpoint (main process); no process goes on before, for a launcher ends all once one has left."""
        if self.accelerator.is_main_process:
            state = {name: value.detach().cpu() for name, value in self.model.state_dict().items()}
            path = self.folder / "checkpoint.pt"
            save_checkpoint(path, self.recipe.dump(), self.progress, state, self.optimizer.state_dict())
        self.accelerator.wait_for_everyone()

    def step(self) -> None:
        """One optimizer update."""
        self.wrapped.train()
        step = self.progress.step
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * warmup_cosine(step, self.config.steps, self.config.warmup)
        audio, targets = self._tensors(self.composer.batch(step, self.items))
        losses = self.wrapped(audio, targets)
        total = torch.stack(list(losses.values())).sum()
        if not math.isfinite(total.item()):
            raise UserError(f"the loss is not finite at step {step}", where="pretraining", fix="lower train.lr")
        self.prepared_optimizer.zero_grad()
        self.accelerator.backward(total)
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.prepared_optimizer.step()
        self.progress.step += 1
        for name, value in losses.items():
            self.progress.losses[name] = self.progress.losses.get(name, 0.0) + value.item()

    def validate(self) -> str:
        """Losses on clips that are never trained on, written to the history and returned as a line for the user."""
        self.model.eval()
        if not self._validation:
            self._validation = [
                self.composer.batch(HELD_OUT + index, range(self.config.batch_size)) for index in range(VALIDATION_BATCHES)
            ]
        sums: dict[str, float] = {}
        with torch.no_grad():
            for clips in self._validation:
                for name, value in self.model(*self._tensors(clips)).items():
                    sums[name] = sums.get(name, 0.0) + value.item() / len(self._validation)
        since = self.progress.step - (self.progress.history[-1]["step"] if self.progress.history else 0)
        means = {name: value / since for name, value in self.progress.losses.items()}
        self.progress.losses = {}
        row = {"step": self.progress.step, "train": means, "held_out": sums}
        self.progress.history.append(row)
        with replace_file(self.folder / "history.jsonl") as partial:
            partial.write_text("".join(json.dumps(item) + "\n" for item in self.progress.history), encoding="utf-8")
        return f"step {self.progress.step:>6}  " + "  ".join(
            f"{name} {means[name]:.3f} / {value:.3f}" for name, value in sums.items()
        )

    def _tensors(self, clips: Clips) -> tuple[Tensor, Targets]:
        names, device = [field.name for field in fields(clips)], self.accelerator.device
        values = {name: torch.from_numpy(getattr(clips, name)).to(device) for name in names}
        return values.pop("audio"), values
