"""Fixed windows over a recording, the same in training and in prediction, and how their outputs become one again.

A backbone sees windows of one length, so a recording is cut into overlapping windows. Frames near a window's border know
little of what lies beyond it; of every overlap each of the two windows therefore gives the half nearer to its own centre.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Window:
    """One window, in frames. ``keep_from`` and ``keep_to`` count from ``start``."""

    start: int
    real: int
    """Frames that hold audio; what follows is padding."""
    keep_from: int
    keep_to: int


def plan(frames: int, window: int, overlap: int, *, shift_last: bool = True) -> list[Window]:
    """Cut a recording of ``frames`` frames into windows of ``window`` frames whose kept parts tile it exactly.

    Starts lie ``window - overlap`` apart. The last window is moved back until audio fills it, since audio is a better context
    than padding; with ``shift_last=False`` (training: no frame is seen twice) it stays and is padded. A recording shorter
    than one window gives one padded window, an empty one none.

    Raises :class:`ValueError` unless ``0 <= overlap < window``.
    """
    if not 0 <= overlap < window:
        raise ValueError(f"the overlap of {overlap} frames must be at least 0 and below the window of {window} frames")
    if frames <= 0:
        return []
    step = window - overlap
    starts = list(range(0, max(1, frames - overlap), step))
    if shift_last and frames > window:
        starts[-1] = frames - window
    borders = [0, *((left + window + right) // 2 for left, right in pairwise(starts)), frames]
    return [
        Window(start, min(window, frames - start), first - start, last - start)
        for start, (first, last) in zip(starts, pairwise(borders), strict=True)
    ]


def stitch(pieces: Iterable[tuple[Window, NDArray[Number]]], frames: int) -> NDArray[Number]:
    """Join per-window outputs ``[window, classes]`` into one ``[frames, classes]``, each frame from the window that keeps it.

    Raises :class:`ValueError` when the kept parts do not tile ``[0, frames)`` in order, so that no frame is left undefined.
    """
    kept = []
    reached = 0
    for window, values in pieces:
        if window.start + window.keep_from != reached or len(values) < window.keep_to:
            raise ValueError(f"the window at frame {window.start} does not continue at frame {reached}")
        kept.append(values[window.keep_from : window.keep_to])
        reached = window.start + window.keep_to
    if reached != frames or not kept:
        raise ValueError(f"the windows end at frame {reached} of {frames}")
    return np.concatenate(kept)
