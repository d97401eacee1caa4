"""Heads that are shown more than one window: consecutive windows are joined, averaged to the head's rate, and cut to its span.

A span is made of whole windows. What is joined is what each window keeps of its overlaps, in training, evaluation and
prediction alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from etude.adapters.backbones import Backbone
from etude.adapters.heads import Context, FrameGrid, Head
from etude.adapters.sound.windows import Window

MIX = None
"""Stands for the layer mix among the indices of states."""


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive windows of one recording of ``frames`` frames."""

    windows: tuple[Window, ...]
    frames: int

    @property
    def start(self) -> int:
        """The first frame that its windows keep."""
        return self.windows[0].start + self.windows[0].keep_from

    @property
    def stop(self) -> int:
        """The frame after the last one."""
        return self.windows[-1].start + self.windows[-1].keep_to


def windows_per_span(head: Head, backbone: Backbone, overlap: int) -> int | None:
    """Windows, ``overlap`` frames in common, that the head's span takes; ``None`` for all of a recording."""
    if head.span == "window":
        return 1
    if head.span == "recording":
        return None
    frames, window = head.span * backbone.frame_rate, backbone.frames_per_window
    return 1 + max(0, math.ceil((frames - window) / (window - overlap)))


def grids(head: Head, runs: Sequence[Run], frame_rate: float) -> list[FrameGrid]:
    """The frames, at the head's rate, of each run; all as long as the longest."""
    factor = head.averaged_frames(frame_rate)
    bounds = []
    for run in runs:
        # An averaged frame belongs to the run that holds all of it; the last one of a recording may be incomplete.
        last = math.ceil(run.stop / factor) if run.stop == run.frames else run.stop // factor
        bounds.append((math.ceil(run.start / factor), last))
    longest = max(last - first for first, last in bounds)
    return [FrameGrid(first, longest, frame_rate / factor, last - first) for first, last in bounds]


class Averager:
    """Frames that arrive bit by bit -> averaged frames, each of ``factor``; the first ``skip`` frames are left out."""

    def __init__(self, factor: int, skip: int = 0) -> None:
        self.factor, self._skip = factor, skip
        self._rest: Tensor | None = None

    def __call__(self, frames: Tensor, *, final: bool = False) -> Tensor:
        """The next ``[frames, hidden]`` -> those averaged frames that are complete, ``final``: and the incomplete last one."""
        skipped = min(self._skip, len(frames))
        self._skip -= skipped
        frames = frames[skipped:]
        if self.factor == 1:
            return frames
        frames = frames if self._rest is None else torch.cat([self._rest, frames])
        whole = len(frames) // self.factor * self.factor
        blocks = frames[:whole].reshape(-1, self.factor, *frames.shape[1:])
        averaged: Tensor = blocks.mean(dim=1)
        self._rest = frames[whole:]
        if final and len(self._rest):
            averaged = torch.cat([averaged, self._rest.mean(dim=0, keepdim=True)])
        return averaged


class Joiner:
    """The contexts of consecutive windows of a recording, bit by bit -> frames at the head's rate, from frame ``start`` on."""

    def __init__(self, head: Head, frame_rate: float, start: int = 0) -> None:
        factor = head.averaged_frames(frame_rate)
        self._averagers = {key: Averager(factor, -start % factor) for key in (MIX, *head.reads)}

    def __call__(self, context: Context, windows: Sequence[Window], *, final: bool) -> dict[int | None, Tensor]:
        """The context of the next ``windows``, a batch entry each -> ``[frames, hidden]`` of the mix (:data:`MIX`) and of the
        states by index; ``final``: the recording ends with them."""
        joined = {}
        for key, averager in self._averagers.items():
            values = context.mixed if key is MIX else context.states[key]
            kept = [row[window.keep_from : window.keep_to] for row, window in zip(values, windows, strict=True)]
            joined[key] = averager(torch.cat(kept), final=final)
        return joined


class RunJoiner:
    """The contexts of all windows of some runs, in order -> one context with a batch entry for each run."""

    def __init__(self, head: Head, runs: Sequence[Run], frame_rate: float) -> None:
        self._head, self._runs, self._rate = head, runs, frame_rate
        self._expected = iter([(run, window) for run in runs for window in run.windows])
        self._parts: list[list[dict[int | None, Tensor]]] = []

    def add(self, context: Context) -> None:
        """The next windows, a batch entry each."""
        for row in range(len(context.mixed)):
            run, window = next(self._expected)
            if window is run.windows[0]:
                self._joiner = Joiner(self._head, self._rate, run.start)
                self._parts.append([])
            final = window is run.windows[-1] and run.stop == run.frames
            self._parts[-1].append(self._joiner(row_of(context, row), [window], final=final))

    def context(self) -> Context:
        """All runs, padded with zeros to the longest, as :func:`grids` says."""
        frames = grids(self._head, self._runs, self._rate)[0].frames
        joined = [{key: torch.cat([part[key] for part in parts]) for key in parts[0]} for parts in self._parts]

        def stack(key: int | None) -> Tensor:
            return torch.stack([nn.functional.pad(item[key], (0, 0, 0, frames - len(item[key]))) for item in joined])

        return Context(stack(MIX), {key: stack(key) for key in joined[0] if key is not MIX})


def row_of(context: Context, row: int) -> Context:
    """One window of a context, a batch of one."""
    return Context(context.mixed[row : row + 1], {layer: values[row : row + 1] for layer, values in context.states.items()})
