"""The activations of one recording, from what is read of its windows in order: the same for prediction and for evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from etude.adapters.backbones import Backbone
from etude.adapters.heads import Activations, Context, Head
from etude.adapters.model.reader import Reader
from etude.adapters.model.spans import MIX, Joiner, row_of, windows_per_span
from etude.adapters.sound.windows import Window, plan, stitch

Values = dict[str, dict[str, NDArray[np.float16]]]
"""Head -> output -> ``[windows, frames, ...]``; half precision, because whole data sets of them are kept."""


def window_activations(reader: Reader, context: Context) -> Values:
    """What the heads that are shown one window say of each."""
    return {name: _half(reader.heads_by_name[name], logits) for name, logits in reader.window_logits(context).items()}


def _half(head: Head, logits: Mapping[str, torch.Tensor]) -> dict[str, NDArray[np.float16]]:
    return {output: values.half().cpu().numpy() for output, values in head.activations(logits).items()}


class Pieces:
    """Collects what ``reader`` says of a recording of ``frames`` frames, cut into ``windows`` with an ``overlap`` in frames."""

    def __init__(self, reader: Reader, backbone: Backbone, windows: Sequence[Window], frames: int, overlap: int) -> None:
        self._windows, self._frames, self._done = windows, frames, 0
        self._parts: dict[str, dict[str, list[NDArray[np.float16]]]] = {}
        self._spans = {
            name: _Span(head, backbone, frames, overlap) for name, head in reader.heads_by_name.items() if head.span != "window"
        }

    def add(self, context: Context | None, activations: Values, rows: Sequence[int]) -> None:
        """The next windows: batch entries ``rows`` of ``context`` and of :func:`window_activations` of it.

        Heads that are shown one window need no context any more.
        """
        for name, outputs in activations.items():
            for output, values in outputs.items():
                self._parts.setdefault(name, {}).setdefault(output, []).extend(values[row] for row in rows)
        for span in self._spans.values():
            assert context is not None
            for place, row in enumerate(rows, self._done):
                span.add(row_of(context, row), self._windows[place])
        self._done += len(rows)

    def result(self) -> dict[str, Activations]:
        """Activations by head, each ``[frames, ...]`` at the head's rate, once all windows are there."""
        found: dict[str, Activations] = {
            name: {output: stitch(zip(self._windows, parts, strict=True), self._frames) for output, parts in outputs.items()}
            for name, outputs in self._parts.items()
        }
        return {**found, **{name: span.result() for name, span in self._spans.items()}}


class _Span:
    """A head that is shown more than one window: frames are kept until its span is full, then it says what it says of them."""

    def __init__(self, head: Head, backbone: Backbone, frames: int, overlap: int) -> None:
        self._head, self._joiner, self._recording = head, Joiner(head, backbone.frame_rate), frames
        factor, window = head.averaged_frames(backbone.frame_rate), backbone.frames_per_window
        self._total = math.ceil(frames / factor)
        count = windows_per_span(head, backbone, overlap)
        longest = self._total if count is None else math.ceil((count * (window - overlap) + overlap) / factor)
        length = min(longest, self._total)
        self._plan = plan(self._total, length, min(overlap // factor, length // 2))
        self._held: dict[int | None, list[torch.Tensor]] = {}
        self._first = self._known = 0
        self._said: dict[str, list[NDArray[np.float16]]] = {}

    def add(self, context: Context, window: Window) -> None:
        final = window.start + window.keep_to == self._recording
        joined = self._joiner(context, [window], final=final)
        for key, frames in joined.items():
            self._held.setdefault(key, []).append(frames)
        self._known += len(joined[MIX])
        while (index := len(next(iter(self._said.values()), ()))) < len(self._plan):
            piece = self._plan[index]
            if self._known < piece.start + piece.real:
                break
            self._say(piece)

    def _say(self, piece: Window) -> None:
        held = {key: torch.cat(parts) for key, parts in self._held.items()}
        first, last = piece.start - self._first, piece.start - self._first + piece.real
        shown = {key: frames[None, first:last] for key, frames in held.items()}
        logits = self._head(Context(shown[MIX], {key: frames for key, frames in shown.items() if key is not MIX}))
        for output, values in _half(self._head, logits).items():
            self._said.setdefault(output, []).append(values[0])
        # The last piece may begin earlier than those before it would let one expect.
        following = self._plan[len(self._said[output]) :][:1] or [piece]
        self._held = {key: [frames[following[0].start - self._first :]] for key, frames in held.items()}
        self._first = following[0].start

    def result(self) -> Activations:
        return {output: stitch(zip(self._plan, parts, strict=True), self._total) for output, parts in self._said.items()}
