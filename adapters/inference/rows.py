"""Whole recordings through :class:`Branches`: cut into windows, packed into batches, stitched together again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from etude.adapters.backbones import Backbone
from etude.adapters.heads import Activations
from etude.adapters.model.branches import Branches
from etude.adapters.model.loaded import LoadedAdapter
from etude.adapters.sound.audio import AudioInfo, probe, read_window
from etude.adapters.sound.windows import Window, plan, stitch
from etude.adapters.states.activations import audio_batch, frames_of, hop_samples, overlap_frames

Pieces = dict[str, dict[str, list[NDArray[np.float16]]]]
"""Head -> output -> one ``[frames, classes]`` per window."""


@dataclass(frozen=True)
class Recording:
    """A recording and the adapters that read it in the same windows."""

    path: Path
    info: AudioInfo
    frames: int
    windows: list[Window]
    adapters: dict[str, LoadedAdapter] = field(default_factory=dict)

    @property
    def depth(self) -> int:
        """How far the clean trunk has to be computed for it."""
        return max(max(adapter.trunk_layers) for adapter in self.adapters.values())


def plan_recordings(backbone: Backbone, jobs: Iterable[tuple[Path, LoadedAdapter]]) -> list[Recording]:
    """Recordings for pairs of path and adapter, each path once per overlap. Raises :class:`UserError` for unreadable audio."""
    recordings: dict[tuple[Path, int], Recording] = {}
    for path, adapter in jobs:
        overlap = overlap_frames(backbone, adapter.recipe.train.overlap)
        if (path, overlap) not in recordings:
            info = probe(path)
            frames = frames_of(backbone, info)
            recordings[path, overlap] = Recording(path, info, frames, plan(frames, backbone.frames_per_window, overlap))
        recordings[path, overlap].adapters[adapter.name] = adapter
    return list(recordings.values())


def recording_activations(
    branches: Branches, device: torch.device, recordings: Iterable[Recording]
) -> Iterator[tuple[Recording, LoadedAdapter, dict[str, Activations]]]:
    """Activations by head of every recording under each of its adapters, as soon as its last window is computed.

    Recordings come by the depth of trunk they need. Raises :class:`UserError` for audio that cannot be decoded.
    """
    for _, group in groupby(sorted(recordings, key=lambda item: item.depth), key=lambda item: item.depth):
        # Only windows that need the same depth share a batch: no clean block is computed that nobody reads.
        rows = [(recording, window) for recording in group for window in recording.windows]
        batches = [rows[first : first + branches.rows] for first in range(0, len(rows), branches.rows)]
        pieces: dict[tuple[int, str], Pieces] = {}
        for batch, audio, lengths in _read_ahead(branches.backbone, batches):
            wanted = [(row, adapter) for row, (recording, _) in enumerate(batch) for adapter in recording.adapters.values()]
            for windows, adapter, logits in branches(audio.to(device), lengths.to(device), wanted):
                for name, head in adapter.heads_by_name.items():
                    for output, values in head.activations(logits[name]).items():
                        for row, value in zip(windows, values.half().cpu().numpy(), strict=True):
                            own = pieces.setdefault((id(batch[row][0]), adapter.name), {})
                            own.setdefault(name, {}).setdefault(output, []).append(value)
            for recording, window in batch:
                if window is recording.windows[-1]:
                    for adapter in recording.adapters.values():
                        yield recording, adapter, _stitched(pieces.pop((id(recording), adapter.name)), recording)


def _read_ahead(
    backbone: Backbone, batches: Sequence[Sequence[tuple[Recording, Window]]]
) -> Iterator[tuple[Sequence[tuple[Recording, Window]], Tensor, Tensor]]:
    """Batches with their waveforms ``[windows, window_samples]`` and lengths, decoded while the one before is computed."""

    def read(batch: Sequence[tuple[Recording, Window]]) -> list[NDArray[np.float32]]:
        hop, count, rate = hop_samples(backbone), backbone.window_samples, backbone.sample_rate
        return [read_window(recording.path, window.start * hop, count, rate, recording.info) for recording, window in batch]

    with ThreadPoolExecutor(1) as reader:
        ahead = [reader.submit(read, batch) for batch in batches[:1]]
        for batch, following in zip(batches, [*batches[1:], None], strict=True):
            waveforms = ahead.pop().result()
            if following is not None:
                ahead.append(reader.submit(read, following))
            # Made into tensors here: torch would start a second set of threads in the reader.
            yield batch, *audio_batch(backbone, waveforms)


def _stitched(pieces: Pieces, recording: Recording) -> dict[str, Activations]:
    return {
        name: {
            output: stitch(zip(recording.windows, parts, strict=True), recording.frames) for output, parts in outputs.items()
        }
        for name, outputs in pieces.items()
    }
