"""Where notes begin and end, from how likely each frame has an onset, and any note at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etude.adapters.annotations import Layer
from etude.adapters.heads._parts.complete_notes import OFFSET_RATIO, OFFSET_TOLERANCE
from etude.adapters.heads._parts.scoring import ONSET_TOLERANCE, count_matches

GRID = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Thresholds that are tried."""
GAP_SECONDS = 0.04
"""A note does not end where activity drops for less than this."""

Frames = NDArray[np.intp]
Values = NDArray[np.floating[Any]]


def find_borders(
    onset: Values, activity: Values, onset_threshold: float, activity_threshold: float, rate: float
) -> tuple[Frames, Frames]:
    """Probabilities ``[frames]`` -> first frames of notes and first frames after them, ``[notes]`` each.

    A note begins where the onset rises above its threshold, and ends where activity falls below its own for good, at the latest
    where the next one begins.
    """
    rising = onset > np.float64(onset_threshold)
    rising[1:] &= ~(onset[:-1] > np.float64(onset_threshold))
    starts = np.flatnonzero(rising)
    if not len(starts):
        return starts, starts
    active = activity > np.float64(activity_threshold)
    active[starts] = True
    silent = np.flatnonzero(np.diff(np.concatenate([[1], active.astype(np.int8), [0]])) < 0)
    again = np.append(np.flatnonzero(np.diff(active.astype(np.int8)) > 0) + 1, len(active) + round(rate))
    following = again[np.searchsorted(again, silent)]
    ends = silent[following - silent >= max(1, round(GAP_SECONDS * rate))]
    stops = ends[np.searchsorted(ends, starts, side="right")]
    return starts, np.minimum(stops, np.append(starts[1:], len(active)))


def tune_borders(
    references: Sequence[Layer], onsets: Sequence[Values], activities: Sequence[Values], rate: float
) -> dict[str, Any]:
    """The threshold of onsets with the best F1 of onsets, and that of activity with the most ends right.

    Of equal ones it is the nearest to .5.
    """
    known = [[note for note in layer if layer.known_at(np.array([note.onset]))[0]] for layer in references]

    def onset_f1(threshold: float) -> float:
        hits = total = 0
        for notes, layer, onset in zip(known, references, onsets, strict=True):
            found = find_borders(onset, onset, threshold, 0.0, rate)[0] / rate
            found = found[layer.known_at(found)]
            hits += count_matches(np.array([note.onset for note in notes]), found)
            total += len(notes) + len(found)
        return 2 * hits / max(total, 1)

    best = _best(onset_f1)

    def ends_right(threshold: float) -> float:
        pairs = zip(known, onsets, activities, strict=True)
        return sum(_right(notes, *find_borders(onset, own, best, threshold, rate), rate) for notes, onset, own in pairs)

    return {"onset": best, "activity": _best(ends_right)}


def _best(score: Any) -> float:
    return max(GRID, key=lambda threshold: (score(threshold), -round(abs(threshold - 0.5), 9)))


def _right(notes: Sequence[Any], starts: Frames, stops: Frames, rate: float) -> int:
    """How many annotated notes have a found one at their onset whose end is right."""
    if not len(starts):
        return 0
    right = 0
    for note in notes:
        nearest = int(np.abs(starts / rate - note.onset).argmin())
        tolerance = max(OFFSET_TOLERANCE, OFFSET_RATIO * (note.offset - note.onset))
        near = abs(starts[nearest] / rate - note.onset) <= ONSET_TOLERANCE
        right += near and abs(stops[nearest] / rate - note.offset) <= tolerance
    return right
