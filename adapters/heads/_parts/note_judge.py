"""Judging whole notes: the technique of each found note from the frames between its borders, by a :class:`Panel`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etude.adapters.heads import Example
from etude.adapters.heads._parts.panel import Panel, Segment

JITTER = 3
"""Frames by which the borders of a training note are moved at most: found ones are never quite the annotated ones."""
MOST = 20_000
"""Notes in all views that are learned from; more would say nothing new."""
Spans = tuple[NDArray[np.intp], NDArray[np.intp]]


def fit_notes(panel: Panel, examples: Iterable[Example], rate: float) -> None:
    """Let ``panel`` learn from the annotated notes of training windows: targets ``note`` and ``note_class``."""
    segments: list[Segment] = []
    classes, recordings, groups = [], [], []
    for example in examples:
        features = panel.features(example.context).float().cpu().numpy()
        numbers, labels = (example.targets[name][..., 0].cpu().numpy().astype(int) for name in ("note", "note_class"))
        for row, own in enumerate(features):
            for first, last in _jittered(numbers[row], labels[row], (example.view, len(segments), row)):
                segment = panel.segment(own[first:last], rate)
                if segment is not None:
                    segments.append(segment)
                    classes.append(int(labels[row][(first + last) // 2]) - 1)
                    recordings.append(example.recordings[row])
                    groups.append(example.groups[row])
        if len(segments) >= MOST:
            break
    if segments:
        panel.fit(segments, np.array(classes), recordings, groups)


def _jittered(numbers: NDArray[np.intp], labels: NDArray[np.intp], seed: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First frame, and first after the last one, of each note with a class, as annotated and moved a little.

    What is left of a note behind one that has interrupted it is no note: it has no beginning.
    """
    generator = np.random.default_rng(seed)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], numbers, [0]])))
    for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if numbers[first] == 0 or labels[first] == 0 or numbers[first] in numbers[:first]:
            continue
        yield first, last
        moved = generator.integers(-JITTER, JITTER + 1, 2).tolist()
        low, high = max(0, first + moved[0]), min(len(numbers), last + moved[1])
        if high - low >= 2 and low <= (low + high) // 2 < high and numbers[(low + high) // 2] == numbers[first]:
            yield low, high


def judge_notes(
    panel: Panel, features: NDArray[np.floating[Any]], spans: Spans, rate: float
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Which of the notes between ``spans`` (first frames, and first ones after, ``[notes]``) sound at all, and the
    probabilities of the classes for each of those, ``[sounding, classes]``."""
    found = [panel.segment(features[first:last], rate, panel.kinds) for first, last in zip(*spans, strict=True)]
    kept = np.array([index for index, segment in enumerate(found) if segment is not None], np.intp)
    if not len(kept) or not panel.experts:
        return kept[:0], np.zeros((0, panel.classes))
    return kept, np.exp(panel.log_probabilities([segment for segment in found if segment is not None]))
