"""The windows of a list of tracks: what training draws from, and what the frozen states are stored by."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from etude.adapters.annotations import Annotation
from etude.adapters.backbones import Backbone
from etude.adapters.datasets import Track
from etude.adapters.errors import UserError
from etude.adapters.heads import Excerpt, FrameGrid, Head
from etude.adapters.sound.audio import read_window
from etude.adapters.sound.augment import AugmentConfig, augment
from etude.adapters.sound.windows import Window, plan
from etude.adapters.states.activations import audio_batch, frames_of, hop_samples, overlap_frames

MARGIN_SECONDS = 1.0
"""Notes this close to a window are kept with it: heads may round their times to frames as they like."""


class WindowSet:
    """All windows of ``tracks``, in order, ``overlap`` seconds in common as in prediction.

    Without an ``overlap`` they are those for training: each recording is tiled and its last window padded. With
    ``augmentation``, each window comes in several fixed views; a *row* is one view of one window, ``window * views + view``.
    """

    def __init__(
        self, tracks: Sequence[Track], backbone: Backbone, overlap: float | None, augmentation: AugmentConfig | None = None
    ) -> None:
        self.tracks = tracks
        self.backbone = backbone
        self.augment = augmentation if augmentation and augmentation.views > 1 else None
        self.views = self.augment.views if self.augment else 1
        frames = overlap_frames(backbone, overlap or 0.0)
        self.windows: list[tuple[int, Window]] = []
        self.of_track: list[range] = []
        self._annotations: list[Annotation] = []
        for index, track in enumerate(tracks):
            windows = plan(frames_of(backbone, track.info), backbone.frames_per_window, frames, shift_last=overlap is not None)
            self.of_track.append(range(len(self.windows), len(self.windows) + len(windows)))
            self.windows += [(index, window) for window in windows]
            self._annotations += _cut(track.annotation, windows, backbone)

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def rows(self) -> int:
        """Number of windows times views."""
        return len(self.windows) * self.views

    def weight(self, positions: Sequence[int]) -> float:
        """Sum of the weights of windows, which are those of their recordings."""
        return math.fsum(self.tracks[self.windows[position][0]].weight for position in positions)

    def row_ids(self) -> list[str]:
        """What each row was made from: SHA-256 of the recording's bytes, first frame of the window, view.

        Raises :class:`UserError` when a recording cannot be read.
        """
        with ThreadPoolExecutor() as pool:
            digests = list(pool.map(_sha256, [track.audio for track in self.tracks]))
        return [f"{digests[index]}:{window.start}:{view}" for index, window in self.windows for view in range(self.views)]

    def audio(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Waveforms ``[batch, window_samples]`` and their real lengths ``[batch]`` in samples."""
        return audio_batch(self.backbone, self.waveforms(rows))

    def waveforms(self, rows: Sequence[int]) -> list[NDArray[np.float32]]:
        """Decoded rows, ``[samples]`` each."""
        hop, waveforms = hop_samples(self.backbone), []
        for position, view in (divmod(row, self.views) for row in rows):
            index, window = self.windows[position]
            track = self.tracks[index]
            start, count, rate = window.start * hop, self.backbone.window_samples, self.backbone.sample_rate
            waveform = read_window(track.audio, start, count, rate, track.info)
            if self.augment and view:
                waveform = augment(waveform, rate, view, hashlib.sha256(waveform.data).hexdigest(), self.augment)
            waveforms.append(waveform)
        return waveforms

    def targets(self, positions: Sequence[int], heads: Mapping[str, Head]) -> dict[str, dict[str, Tensor]]:
        """Targets and weighted masks of windows by head and name, each ``[batch, frames, classes]``."""
        result: dict[str, dict[str, Tensor]] = {}
        for name, head in heads.items():
            rows = []
            for position in positions:
                index, window = self.windows[position]
                track = self.tracks[index]
                grid = FrameGrid(window.start, self.backbone.frames_per_window, self.backbone.frame_rate, window.real)
                found = head.targets(Excerpt(track, grid, self._annotations[position], self.backbone.sample_rate))
                rows.append({key: found[key] * (track.weight if key.endswith("_mask") else 1.0) for key in found})
            result[name] = {key: torch.stack([torch.from_numpy(row[key]) for row in rows]) for key in rows[0]}
        return result


def _cut(annotation: Annotation, windows: Sequence[Window], backbone: Backbone) -> list[Annotation]:
    """What of ``annotation`` concerns each window, in the recording's own time: a step must not read all notes of an hour."""
    notes = annotation.notes
    if not notes:  # nothing to cut: hundreds of thousands of tagged clips share a few annotations
        return [annotation] * len(windows)
    onsets = [note.onset for note in notes]
    longest = max((note.offset - note.onset for note in notes), default=0.0) + MARGIN_SECONDS
    seconds, rate = backbone.window_samples / backbone.sample_rate + MARGIN_SECONDS, backbone.frame_rate
    starts = [window.start / rate for window in windows]
    spans = [(bisect_left(onsets, start - longest), bisect_left(onsets, start + seconds)) for start in starts]
    return [replace(annotation, notes=tuple(notes[first:last])) for first, last in spans]


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(path), fix="check its permissions") from None
