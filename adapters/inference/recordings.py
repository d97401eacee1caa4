"""Whole recordings through :class:`Branches`: cut into windows, packed into batches, put together again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from etude.adapters.backbones import Backbone
from etude.adapters.heads import Activations
from etude.adapters.model.branches import Branches
from etude.adapters.model.loaded import LoadedAdapter
from etude.adapters.model.pieces import Pieces, window_activations
from etude.adapters.sound.audio import AudioInfo, Source, probe, read_window
from etude.adapters.sound.windows import Window, plan
from etude.adapters.states.framing import audio_batch, frames_of, hop_samples, overlap_frames


@dataclass(frozen=True)
class Recording:
    """A recording and the adapters that read it in the same windows, ``overlap`` frames in common."""

    source: Source
    info: AudioInfo
    frames: int
    overlap: int
    windows: list[Window]
    adapters: dict[str, LoadedAdapter] = field(default_factory=dict)

    @property
    def depth(self) -> int:
        """How far the clean trunk has to be computed for it."""
        return max(max(adapter.trunk_layers) for adapter in self.adapters.values())


def plan_recordings(backbone: Backbone, jobs: Iterable[tuple[Source, LoadedAdapter]]) -> list[Recording]:
    """Recordings for pairs of source and adapter, each once per overlap. Raises :class:`UserError` for unreadable audio."""
    recordings: dict[tuple[Source, int], Recording] = {}
    for source, adapter in jobs:
        overlap = overlap_frames(backbone, adapter.recipe.overlap)
        if (source, overlap) not in recordings:
            info = probe(source)
            frames = frames_of(backbone, info)
            windows = plan(frames, backbone.frames_per_window, overlap)
            recordings[source, overlap] = Recording(source, info, frames, overlap, windows)
        recordings[source, overlap].adapters[adapter.name] = adapter
    return list(recordings.values())


@torch.inference_mode()
def recording_activations(
    branches: Branches, device: torch.device, recordings: Iterable[Recording]
) -> Iterator[tuple[Recording, LoadedAdapter, dict[str, Activations]]]:
    """Activations by head of every recording under each of its adapters, as soon as its last window is computed.

    Recordings come by the depth of trunk they need. Raises :class:`UserError` for audio that cannot be decoded.
    """
    backbone = branches.backbone
    for _, group in groupby(sorted(recordings, key=lambda item: item.depth), key=lambda item: item.depth):
        # Only windows that need the same depth share a batch: no clean block is computed that nobody reads.
        entries = [(recording, window) for recording in group for window in recording.windows]
        batches = [entries[first : first + branches.rows] for first in range(0, len(entries), branches.rows)]
        pieces: dict[tuple[int, str], Pieces] = {}
        for batch, audio, lengths in _read_ahead(backbone, batches):
            wanted = [(place, adapter) for place, (recording, _) in enumerate(batch) for adapter in recording.adapters.values()]
            for windows, adapter, context in branches(audio.to(device), lengths.to(device), wanted):
                activations = window_activations(adapter, context)
                for owner, rows in groupby(range(len(windows)), key=lambda row: id(batch[windows[row]][0])):
                    own = list(rows)
                    recording = batch[windows[own[0]]][0]
                    if (owner, adapter.name) not in pieces:
                        pieces[owner, adapter.name] = Pieces(
                            adapter, backbone, recording.windows, recording.frames, recording.overlap
                        )
                    pieces[owner, adapter.name].add(context, activations, own)
            for recording, window in batch:
                if window is recording.windows[-1]:
                    for adapter in recording.adapters.values():
                        yield recording, adapter, pieces.pop((id(recording), adapter.name)).result()


def _read_ahead(
    backbone: Backbone, batches: Sequence[Sequence[tuple[Recording, Window]]]
) -> Iterator[tuple[Sequence[tuple[Recording, Window]], Tensor, Tensor]]:
    """Batches with their waveforms ``[windows, window_samples]`` and lengths, decoded while the one before is computed."""

    def read(batch: Sequence[tuple[Recording, Window]]) -> list[NDArray[np.float32]]:
        hop, count, rate = hop_samples(backbone), backbone.window_samples, backbone.sample_rate
        return [read_window(recording.source, window.start * hop, count, rate, recording.info) for recording, window in batch]

    with ThreadPoolExecutor(1) as reader:
        ahead = [reader.submit(read, batch) for batch in batches[:1]]
        for batch, following in zip(batches, [*batches[1:], None], strict=True):
            waveforms = ahead.pop().result()
            if following is not None:
                ahead.append(reader.submit(read, following))
            # Made into tensors here: torch would start a second set of threads in the reader.
            yield batch, *audio_batch(backbone, waveforms)
