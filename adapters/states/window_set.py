"""The windows of a list of tracks: what training draws from, and what the frozen states are stored by."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from etude.adapters.annotations import Annotation, Span
from etude.adapters.backbones import Backbone
from etude.adapters.datasets import Track
from etude.adapters.errors import UserError
from etude.adapters.heads import Excerpt, FrameGrid, Head
from etude.adapters.model.spans import Run, grids, windows_per_span
from etude.adapters.sound.audio import read_window
from etude.adapters.sound.augment import AugmentConfig, augment
from etude.adapters.sound.windows import Window, plan
from etude.adapters.states.framing import audio_batch, frames_of, hop_samples, overlap_frames

MARGIN_SECONDS = 1.0
"""What is this close to a window is kept with it: heads may round times to frames as they like."""


class WindowSet:
    """All windows of ``tracks``, in order, ``overlap`` seconds in common as in prediction.

    Without an ``overlap`` each recording is tiled and its last window padded, so that training sees no frame twice. With
    ``augmentation``, each window comes in several fixed views; a *row* is one view of one window, ``window * views + view``.
    """

    def __init__(
        self, tracks: Sequence[Track], backbone: Backbone, overlap: float | None, augmentation: AugmentConfig | None = None
    ) -> None:
        self.tracks = tracks
        self.backbone = backbone
        self.augment = augmentation if augmentation and augmentation.views > 1 else None
        self.views = self.augment.views if self.augment else 1
        self.overlap = frames = overlap_frames(backbone, overlap or 0.0)
        """Frames in common."""
        self.windows: list[tuple[int, Window]] = []
        self.of_track: list[range] = []
        self._annotations: list[Annotation] = []
        for index, track in enumerate(tracks):
            windows = plan(frames_of(backbone, track.info), backbone.frames_per_window, frames, shift_last=overlap is not None)
            self.of_track.append(range(len(self.windows), len(self.windows) + len(windows)))
            self.windows += [(index, window) for window in windows]
            self._annotations += _cut(track.annotation, [self._seconds(window, window) for window in windows])

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def rows(self) -> int:
        """Number of windows times views."""
        return len(self.windows) * self.views

    def track(self, position: int) -> Track:
        """The recording that a window is cut from."""
        return self.tracks[self.windows[position][0]]

    def weight(self, runs: Iterable[range]) -> float:
        """Sum of the weights of ``runs``, which are those of their recordings."""
        return math.fsum(self.tracks[self.windows[run.start][0]].weight for run in runs)

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

    def _seconds(self, first: Window, last: Window) -> Span:
        """From the start of one window to the end of another."""
        rate, length = self.backbone.frame_rate, self.backbone.window_samples / self.backbone.sample_rate
        return first.start / rate, last.start / rate + length

    def run(self, positions: range) -> Run:
        """Consecutive windows of one track."""
        own = self.windows[positions.start : positions.stop]
        return Run(tuple(window for _, window in own), frames_of(self.backbone, self.tracks[own[0][0]].info))

    def targets(self, runs: Sequence[range], heads: Mapping[str, Head]) -> dict[str, dict[str, Tensor]]:
        """Targets and weighted masks by head and name, each ``[batch, frames, ...]``: a batch entry for each window of the
        ``runs`` (consecutive positions of one track), or of a head that is shown more, for each run."""
        rate = self.backbone.frame_rate
        result: dict[str, dict[str, Tensor]] = {}
        for name, head in heads.items():
            if head.span == "window":
                positions = [position for run in runs for position in run]
                windows = [self.windows[position][1] for position in positions]
                shown = [FrameGrid(window.start, self.backbone.frames_per_window, rate, window.real) for window in windows]
                cuts = [(position, position) for position in positions]
            else:
                shown = grids(head, [self.run(run) for run in runs], rate)
                cuts = [(run.start, run.stop - 1) for run in runs]
            excerpts = [self._excerpt(*cut, grid) for cut, grid in zip(cuts, shown, strict=True)]
            rows = [_weighted(head.targets(excerpt), excerpt.track.weight) for excerpt in excerpts]
            # A mask may tell classes apart in the windows of some recordings only.
            stacked = {key: np.stack(np.broadcast_arrays(*(row[key] for row in rows))) for key in rows[0]}
            result[name] = {key: torch.from_numpy(array) for key, array in stacked.items()}
        return result

    def frame_weights(self, runs: Sequence[range]) -> Tensor:
        """The weights of the recordings, 0 in padding: ``[batch, frames]`` of each window of the ``runs``."""
        own = [self.windows[position] for run in runs for position in run]
        weights = torch.zeros(len(own), self.backbone.frames_per_window)
        for row, (index, window) in zip(weights, own, strict=True):
            row[: window.real] = self.tracks[index].weight
        return weights

    def _excerpt(self, first: int, last: int, grid: FrameGrid) -> Excerpt:
        """What of a track concerns its windows at the positions ``first`` to ``last``."""
        track = self.tracks[self.windows[first][0]]
        if first == last:
            annotation = self._annotations[first]
        else:
            (annotation,) = _cut(track.annotation, [self._seconds(self.windows[first][1], self.windows[last][1])])
        return Excerpt(track, grid, annotation, self.backbone.sample_rate)


def training_runs(windows: WindowSet, heads: Iterable[Head]) -> list[range]:
    """What training draws from: single windows, or as many consecutive ones of a track as the longest span of the heads takes.

    A shorter rest at the end of a track begins earlier, and so overlaps the run before it.
    """
    counts = [windows_per_span(head, windows.backbone, windows.overlap) for head in heads]
    longest = None if None in counts else max(count for count in counts if count is not None)
    runs = []
    for own in windows.of_track:
        size = len(own) if longest is None else min(longest, len(own))
        runs += [range(min(first, own.stop - size), min(first, own.stop - size) + size) for first in own[::size]]
    return runs


def _cut(annotation: Annotation, spans: Sequence[Span]) -> list[Annotation]:
    """What of ``annotation`` concerns each span, in the recording's own time: a step must not read all notes of an hour."""
    return annotation.cut([(start - MARGIN_SECONDS, stop + MARGIN_SECONDS) for start, stop in spans])


def _weighted(targets: dict[str, NDArray[np.float32]], weight: float) -> dict[str, NDArray[np.float32]]:
    return {key: values * weight if key.endswith("_mask") else values for key, values in targets.items()}


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(path), fix="check its permissions") from None
