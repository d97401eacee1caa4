"""Annotated notes drawn into frames: what the technique head is trained to say."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from etude.adapters.annotations import Layer
from etude.adapters.heads import FrameGrid
from etude.adapters.heads._parts.decoding import frame_span

Rolls = dict[str, NDArray[np.float32]]


def note_rolls(layer: Layer, grid: FrameGrid, labels: Sequence[str], lowest: int, pitches: int, *, soft: bool = False) -> Rolls:
    """``technique``, ``pitch``, ``onset`` rolls ``[frames, classes]`` and their masks (``..._mask``, ``[frames, 1]``).

    Pitches are whole MIDI numbers from ``lowest`` on. Where classes are unjudged, ``technique_mask`` is ``[frames, classes]``.
    With ``soft``, all three rolls hold the confidence of an event in place of 1, the largest where several meet: what may not
    be there may have no onset and no pitch either. An event without a confidence is certain.
    """
    rolls = {
        "technique": np.zeros((grid.frames, len(labels)), np.float32),
        "pitch": np.zeros((grid.frames, pitches), np.float32),
        "onset": np.zeros((grid.frames, 1), np.float32),
    }
    masks = {f"{name}_mask": np.zeros((grid.frames, 1), np.float32) for name in rolls}
    for mask in masks.values():
        mask[: grid.real] = 1.0
        for begin, end in layer.unknown((grid.start + grid.frames) / grid.rate):
            mask[max(0, math.floor(begin * grid.rate) - grid.start) : max(0, math.ceil(end * grid.rate) - grid.start)] = 0.0
    for note in layer:
        begin, end = frame_span(note, grid.rate)
        start, stop = max(0, begin - grid.start), min(grid.frames, end - grid.start)
        if stop <= start:
            continue
        value = note.confidence if soft and note.confidence is not None else 1.0
        if note.technique is None:
            masks["technique_mask"][start:stop] = 0.0
        else:
            _raise(rolls["technique"][start:stop, labels.index(note.technique)], value)
        index = None if note.pitch is None else round(note.pitch) - lowest
        if index is None or not 0 <= index < pitches:
            masks["pitch_mask"][start:stop] = 0.0
        else:
            _raise(rolls["pitch"][start:stop, index], value)
        if begin >= grid.start:
            _raise(rolls["onset"][start], value)
    if layer.unjudged:
        judged = np.array([label not in layer.unjudged for label in labels], np.float32)
        masks["technique_mask"] = masks["technique_mask"] * judged
    return {**rolls, **masks}


def activity_rolls(layer: Layer, grid: FrameGrid, labels: Sequence[str], *, soft: bool = False) -> Rolls:
    """``activity``, whether any note sounds, with its mask; ``note``, which one that begins here sounds (counted from 1, the
    latest of several; 0 for none), and ``note_class``, its class from 1 on; each ``[frames, 1]``."""
    found = {name: np.zeros((grid.frames, 1), np.float32) for name in ("activity", "activity_mask", "note", "note_class")}
    found["activity_mask"][: grid.real] = 1.0
    for begin, end in layer.unknown((grid.start + grid.frames) / grid.rate):
        first, last = math.floor(begin * grid.rate) - grid.start, math.ceil(end * grid.rate) - grid.start
        found["activity_mask"][max(0, first) : max(0, last)] = 0.0
    for number, note in enumerate(sorted(layer, key=lambda note: note.onset), 1):
        begin, end = frame_span(note, grid.rate)
        start, stop = max(0, begin - grid.start), min(grid.frames, end - grid.start)
        if stop <= start:
            continue
        value = note.confidence if soft and note.confidence is not None else 1.0
        _raise(found["activity"][start:stop], value)
        whole = begin >= grid.start and value >= 0.5
        found["note"][start:stop] = number if whole else 0
        found["note_class"][start:stop] = labels.index(note.technique) + 1 if whole and note.technique is not None else 0
    return found


def _raise(cells: NDArray[np.float32], value: float) -> None:
    np.maximum(cells, value, out=cells)
