"""A recording that is still going on: what is found in it so far, whenever another window is complete."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from etude.adapters.annotations import Annotation
from etude.adapters.errors import UserError
from etude.adapters.heads import Activations
from etude.adapters.model.branches import Branches
from etude.adapters.model.loaded import LoadedAdapter
from etude.adapters.model.pieces import Pieces, Values, window_activations
from etude.adapters.sound.audio import MARGIN_SECONDS, Samples, probe, read_window
from etude.adapters.sound.windows import Window, plan
from etude.adapters.states.framing import audio_batch, frames_of, hop_samples, overlap_frames


class Stream:
    """Windows of blocks of samples, in order. Only what the next window needs is kept of the audio.

    Raises :class:`UserError` for an adapter with a head that is shown more than a window, and for blocks that are no audio.
    """

    def __init__(self, branches: Branches, device: torch.device, adapter: LoadedAdapter, rate: int) -> None:
        for name, head in adapter.heads_by_name.items():
            if head.span != "window":
                fix = "annotate the whole recording: session(recording)"
                raise UserError(f"the head '{name}' is shown more than a window and cannot follow a stream", fix=fix)
        self._branches, self._device, self._adapter, self.rate = branches, device, adapter, rate
        self._backbone = branches.backbone
        self._window = self._backbone.frames_per_window
        self._overlap = overlap_frames(self._backbone, adapter.recipe.overlap)
        self._heard = Samples(np.zeros((0, 1), np.float32), rate)
        self._values: list[Values] = []

    def annotations(self, blocks: Iterable[NDArray[np.floating]]) -> Iterator[Annotation]:
        """What is found so far, after each block that completes a window, and at the end."""
        step = self._window - self._overlap
        for block in blocks:
            self._hear(block)
            complete = len(self._values)
            while self._reaches(len(self._values) * step):
                self._say(len(self._values) * step)
            if len(self._values) > complete:
                yield self._annotation((len(self._values) - 1) * step + self._window)
        if not self._heard.end:
            raise UserError("holds no audio", where="stream", fix="give at least one sample")
        frames = frames_of(self._backbone, probe(self._heard))
        for window in plan(frames, self._window, self._overlap)[len(self._values) :]:
            self._say(window.start)
        yield self._annotation(frames)

    def _hear(self, block: NDArray[np.floating]) -> None:
        new, heard = Samples(block, self.rate), self._heard
        if heard.end and new.values.shape[1] != heard.values.shape[1]:
            what = f"a block has {new.values.shape[1]} channels, those before had {heard.values.shape[1]}"
            raise UserError(what, where="stream", fix="give all blocks the same channels")
        # The last window is moved back until audio fills it, so a whole window before the end may be read again.
        backbone = self._backbone
        kept = round((2 * backbone.window_samples / backbone.sample_rate + 4 * MARGIN_SECONDS) * self.rate)
        old = heard.values if heard.end else new.values[:0]
        values = np.concatenate([old, new.values])
        first = heard.first + max(0, len(values) - len(new.values) - kept)
        self._heard = Samples(values[first - heard.first :], self.rate, first)

    def _reaches(self, start: int) -> bool:
        """Whether the window at this frame, and what resampling reads behind it, has been heard."""
        seconds = (start + self._window) / self._backbone.frame_rate + 2 * MARGIN_SECONDS
        return self._heard.end >= seconds * self.rate

    def _say(self, start: int) -> None:
        backbone = self._backbone
        waveform = read_window(self._heard, start * hop_samples(backbone), backbone.window_samples, backbone.sample_rate)
        audio, lengths = audio_batch(backbone, [waveform])
        (part,) = self._branches(audio.to(self._device), lengths.to(self._device), [(0, self._adapter)])
        with torch.inference_mode():
            self._values.append(window_activations(self._adapter, part.context))

    def _annotation(self, frames: int) -> Annotation:
        windows = plan(frames, self._window, self._overlap)
        return self._adapter.decode(self._activations(windows, frames), self._backbone.frame_rate)

    def _activations(self, windows: list[Window], frames: int) -> dict[str, Activations]:
        pieces = Pieces(self._adapter, self._backbone, windows, frames, self._overlap)
        for values in self._values:
            pieces.add(None, values, [0])
        return pieces.result()
