"""Judging whole notes: the technique of each found note from the frames between its borders, by a :class:`Panel`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from etude.adapters.heads._parts.panel import Panel

Spans = tuple[NDArray[np.intp], NDArray[np.intp]]


def judge_notes(
    panel: Panel, features: NDArray[np.floating[Any]], spans: Spans, rate: float
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Which of the notes between ``spans`` (first frames, and first ones after, ``[notes]``) sound at all, and the
    probabilities of the classes for each of those, ``[sounding, classes]``; what they lack is that of none of them."""
    found = [panel.segment(features[first:last], rate) for first, last in zip(*spans, strict=True)]
    kept = np.array([index for index, segment in enumerate(found) if segment is not None], np.intp)
    if not panel.seated:
        return kept[:0], np.zeros((0, panel.classes))
    segments = [segment for segment in found if segment is not None]
    return kept, np.exp(panel.log_probabilities(segments)) * panel.known(segments)[:, None]
