"""The windows of a list of tracks: what training draws from, and what the frozen states are stored by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from etude.adapters.audio import read_window
from etude.adapters.backbones import Backbone
from etude.adapters.datasets import Track
from etude.adapters.heads import FrameGrid, Head
from etude.adapters.inference.activations import audio_batch, frames_of, hop_samples, overlap_frames
from etude.adapters.inference.windows import Window, plan


class WindowSet:
    """All windows of ``tracks``, in order, ``overlap`` seconds in common as in prediction.

    Without an ``overlap`` they are those for training: each recording is tiled and its last window padded.
    """

    def __init__(self, tracks: Sequence[Track], backbone: Backbone, overlap: float | None) -> None:
        self.tracks = tracks
        self.backbone = backbone
        frames = overlap_frames(backbone, overlap or 0.0)
        self.windows: list[tuple[int, Window]] = []
        self.of_track: list[range] = []
        for index, track in enumerate(tracks):
            windows = plan(frames_of(backbone, track.info), backbone.frames_per_window, frames, shift_last=overlap is not None)
            self.of_track.append(range(len(self.windows), len(self.windows) + len(windows)))
            self.windows += [(index, window) for window in windows]

    def __len__(self) -> int:
        return len(self.windows)

    def audio(self, positions: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Waveforms ``[batch, window_samples]`` and their real lengths ``[batch]`` in samples."""
        hop, waveforms = hop_samples(self.backbone), []
        for position in positions:
            index, window = self.windows[position]
            track = self.tracks[index]
            start, count, rate = window.start * hop, self.backbone.window_samples, self.backbone.sample_rate
            waveforms.append(read_window(track.audio, start, count, rate, track.info))
        return audio_batch(self.backbone, waveforms)

    def targets(self, positions: Sequence[int], heads: Mapping[str, Head]) -> dict[str, dict[str, Tensor]]:
        """Targets and masks by head and name, each ``[batch, frames, classes]``."""
        result: dict[str, dict[str, Tensor]] = {}
        for name, head in heads.items():
            rows = []
            for position in positions:
                index, window = self.windows[position]
                grid = FrameGrid(window.start, self.backbone.frames_per_window, self.backbone.frame_rate, window.real)
                rows.append(head.targets(self.tracks[index].annotation, grid))
            result[name] = {key: torch.stack([torch.from_numpy(row[key]) for row in rows]) for key in rows[0]}
        return result
