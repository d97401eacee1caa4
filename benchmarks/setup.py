"""What the benchmarks train on, and how they time it: synthetic recordings with labels, one recipe, etude's own loop.

Every system sees the same windows, labels, batch size, layer mix (all states) and heads; only the treatment of the
backbone differs. Everything computes in fp32 on the CPU, with as many threads as torch takes by itself.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import soundfile
from accelerate import Accelerator
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from etude.adapters.annotations import Annotation
from etude.adapters.annotations.notes import Note
from etude.adapters.datasets import Dataset, Track
from etude.adapters.formats.csv import write_records
from etude.adapters.model.adapted import AdaptedModel
from etude.adapters.model.build import build_dataset
from etude.adapters.recipe.schema import Recipe, parse_recipe
from etude.adapters.storage.feature_store import FeatureStore
from etude.adapters.training.engine import untrained_model
from etude.adapters.training.interrupt import Interruption
from etude.adapters.training.loop import Loop
from etude.adapters.training.reporter import Reporter

BATCH = 2
WINDOWS_PER_RECORDING = 15
STORE_GB = 50.0


@dataclass(frozen=True)
class Geometry:
    """A backbone, and how its windows are cut."""

    backbone: str
    weights: str | None
    """``None``: the encoder of Whisper-tiny, see :func:`whisper_tiny`."""
    rate: int
    """Sample rate of the recordings in Hz: the backbone's own, so that nobody resamples."""
    window: float
    """Seconds."""
    depths: tuple[int, ...]
    """How many of the last blocks get LoRA in the comparisons."""


GEOMETRIES = {
    "mert": Geometry("mert", "random:95M", 24000, 3.0, (3, 1)),
    "whisper-tiny": Geometry("whisper", None, 16000, 8.0, (2, 1)),
    "nano": Geometry("mert", "etude-nano", 24000, 4.0, (2, 1)),
    "tiny": Geometry("mert", "random:tiny", 24000, 3.0, (2, 1)),
}

HEADS = {"probe": "{technique: {pitch: false, onset: false}}", "mertech": "{technique: {}}"}
"""``probe``: one MLP with 512 hidden units and dropout .2, as MARBLE's; ``mertech``: technique x pitch, onset, refinement."""

RECIPE = """
name: benchmark
data: {{name: manifest, root: "{root}", licence: CC0-1.0}}
backbone: {{name: {backbone}, weights: "{weights}", window: {window}}}
method: {method}
mix: {{layers: all}}
heads: {heads}
train: {{batch_size: {batch}, epochs: 1000, precision: fp32}}
"""


class Workload:
    """``windows`` windows of labelled audio in ``folder``, and what trains on them.

    ``blocks`` is everywhere the number of last blocks with LoRA (rank 8 on queries and values); 0 trains the heads only.
    """

    def __init__(self, geometry: str, folder: Path, windows: int, heads: str = "probe") -> None:
        self.geometry, self.folder, self.heads = GEOMETRIES[geometry], folder, heads
        self.weights = self.geometry.weights or str(whisper_tiny(folder))
        write_dataset(folder / "data", self.geometry, windows)

    def recipe(self, blocks: int, *overrides: str) -> Recipe:
        """The recipe, with ``overrides`` as on the command line."""
        lora = f"{{name: lora, rank: 8, alpha: 8, sites: [attn.q, attn.v], blocks: last {blocks}}}"
        text = RECIPE.format(
            root=self.folder / "data",
            backbone=self.geometry.backbone,
            weights=self.weights,
            window=self.geometry.window,
            method=lora if blocks else "{name: heads_only}",
            heads=HEADS[self.heads],
            batch=BATCH,
        )
        return parse_recipe(text, overrides)

    @cached_property
    def title(self) -> str:
        """Backbone, batch and mix in words."""
        shape = self.geometry
        batch = f"batches of {BATCH} x {shape.window:g} s"
        return f"{shape.backbone} {Path(self.weights).name}, {batch}, all states mixed, {self.heads} heads"

    @cached_property
    def dataset(self) -> Dataset:
        """The recordings and their labels."""
        return build_dataset(self.recipe(0))

    @cached_property
    def tracks(self) -> list[Track]:
        """All of them train."""
        return self.dataset.tracks("train")

    def model(self, recipe: Recipe) -> AdaptedModel:
        """Untrained; the weights of backbone, mix and heads are the same at every call."""
        return untrained_model(recipe, self.dataset, self.tracks)

    def loop(
        self, recipe: Recipe, store: Path | None, model: AdaptedModel | None = None, tracks: list[Track] | None = None
    ) -> Loop:
        """Etude's training loop, without validation data.

        Its frozen states lie in the folder ``store``, or are computed at every step when that is ``None``. ``model`` saves
        building one; ``tracks`` are those to train on, if not all.
        """
        accelerator, folder = cpu_accelerator(), self.folder / "run"
        folder.mkdir(exist_ok=True)
        loop = Loop(
            recipe,
            model or self.model(recipe),
            {"train": self.tracks if tracks is None else tracks, "validation": []},
            accelerator,
            Reporter(folder, enabled=False),
            Interruption(accelerator),
            folder,
            None if store is None else FeatureStore(store, STORE_GB),
        )
        loop.wrapped.train()
        return loop


def cpu_accelerator() -> Accelerator:
    """Fp32 on the CPU."""
    return Accelerator(cpu=True, mixed_precision="no")


def fill(loop: Loop) -> None:
    """Compute the frozen states that the store lacks."""
    loop.fill_states(loop.train_states, "training")


def step(loop: Loop) -> None:
    """One optimizer step, epoch after epoch."""
    progress = loop.progress
    if progress.step == loop.steps_per_epoch:
        progress.epoch, progress.step = progress.epoch + 1, 0
    loop.step(loop.order(progress.epoch))
    progress.step += 1


def epoch(loop: Loop) -> None:
    """All steps of an epoch."""
    for _ in range(loop.steps_per_epoch):
        step(loop)


def seconds_of(call: Callable[[], object]) -> float:
    """Wall time of one call in seconds."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def interleaved(systems: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 2) -> dict[str, float]:
    """Median seconds of one call of each system. They take turns, so that a slow minute of the machine hits all alike."""
    seconds = [{name: seconds_of(call) for name, call in systems.items()} for _ in range(warmup + rounds)]
    return {name: statistics.median(turn[name] for turn in seconds[warmup:]) for name in systems}


def peak_mb() -> float:
    """This process's largest resident memory in MB since it began, or since :func:`forget_peak` (Linux)."""
    # Not getrusage: its maximum is inherited from the process that started this one.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


def forget_peak() -> None:
    """Let :func:`peak_mb` begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


def write_dataset(root: Path, geometry: Geometry, windows: int) -> None:
    """A manifest data set of FLAC recordings with ``windows`` windows in all."""
    root.mkdir(parents=True)
    generator, rows = np.random.default_rng(0), ["audio,events,split"]
    for index, first in enumerate(range(0, windows, WINDOWS_PER_RECORDING)):
        seconds = min(WINDOWS_PER_RECORDING, windows - first) * geometry.window
        audio, notes = phrase(generator, seconds, geometry.rate)
        soundfile.write(root / f"{index}.flac", audio, geometry.rate)
        write_records(root / f"{index}.csv", Annotation(notes=notes))
        rows.append(f"{index}.flac,{index}.csv,train")
    (root / "manifest.csv").write_text("\n".join(rows) + "\n")


def phrase(generator: np.random.Generator, seconds: float, rate: int) -> tuple[np.ndarray, list[Note]]:
    """Notes of two techniques, steady tones and tones under noise: audio ``[samples]`` at ``rate`` Hz, and its labels."""
    audio, notes, time = generator.normal(0, 1e-4, round(seconds * rate)).astype(np.float32), [], 0.1
    while time < seconds - 0.5:
        length, pitch, noisy = generator.uniform(0.25, 0.45), int(generator.integers(40, 76)), bool(generator.integers(2))
        start, stop = int(time * rate), int((time + length) * rate)
        t = np.arange(stop - start, dtype=np.float32) / rate
        wave = np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * t) * np.exp(-3 * t)
        audio[start:stop] += 0.3 * wave + (generator.normal(0, 0.1, len(t)) if noisy else 0.0)
        notes.append(Note(time, time + length, pitch, "buzz" if noisy else "tone"))
        time += length + generator.uniform(0.03, 0.2)
    return audio, notes


def whisper_tiny(folder: Path) -> Path:
    """The encoder of Whisper-tiny (4 blocks, 8-s window) in ``$ETUDE_SHARED/weights``, or random weights of its shape."""
    shared = Path(os.environ.get("ETUDE_SHARED", Path(__file__).parents[2] / "shared")) / "weights" / "whisper-tiny-encoder"
    if shared.is_dir():
        return shared
    shape = {"num_mel_bins": 80, "d_model": 384, "encoder_layers": 4, "encoder_attention_heads": 6, "encoder_ffn_dim": 1536}
    WhisperEncoder(WhisperConfig(**shape, max_source_positions=400)).save_pretrained(folder / "whisper-tiny-random")
    return folder / "whisper-tiny-random"
