"""What a :class:`Panel` learns from: the annotated notes, or the clips, of the training windows in all their views."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import numpy as np

from etude.adapters.heads import Example
from etude.adapters.heads._parts.panel import KINDS, Panel, Segment

JITTER = 3
"""Frames by which the borders of a training note are moved at most: found ones are never quite the annotated ones."""
SHORTEST, LONGEST = 0.25, 1.2
"""Seconds that a clip is cut to, as well: the next recording's notes may be shorter."""
MOST = 5_000
"""Segments that are learned from, drawn from all where there are more: they would take long, and say little that is new."""
HALF = 0.5
"""What a soft tag must exceed to be taken for one."""
Place = tuple[int, int, int, int]
"""Row of the example, first frame, first frame after the last one, class."""
Places = Callable[[Example, int], Iterable[Place]]
"""An example and a seed -> what of it is learned from."""


def fit_notes(panel: Panel, examples: Iterable[Example], rate: float) -> None:
    """Let ``panel`` learn from the notes of training windows: targets ``note`` and ``note_class``."""
    _fit(panel, examples, rate, _notes)


def fit_clips(panel: Panel, examples: Iterable[Example], rate: float) -> None:
    """Let ``panel`` learn from the clips of training windows, each whole and cut: targets ``tags`` and ``tags_mask``."""
    _fit(panel, examples, rate, lambda example, seed: _clips(example, np.random.default_rng(seed), rate))


def _fit(panel: Panel, examples: Iterable[Example], rate: float, places: Places) -> None:
    kept: list[tuple[Segment, int, str, str]] = []
    share, generator = 1.0, np.random.default_rng(0)
    for number, example in enumerate(examples):
        features = panel.features(example.context).float().cpu().numpy()
        for row, first, last, label in places(example, number):
            if share < 1 and generator.random() >= share:
                continue
            if (segment := panel.segment(features[row, first:last], rate, KINDS)) is not None:
                kept.append((segment, label, example.recordings[row], example.groups[row]))
            if len(kept) > MOST:  # half of them, and half of what is still to come: all are as likely to stay
                kept = [kept[place] for place in np.sort(generator.permutation(len(kept))[: MOST // 2])]
                share /= 2
    if kept:
        segments, classes, recordings, groups = zip(*kept, strict=True)
        panel.fit(segments, np.array(classes), recordings, groups)


def _notes(example: Example, seed: int) -> Iterator[Place]:
    """Each note with a class as it is annotated, and with its borders moved a little.

    What is left of a note behind one that has interrupted it is no note: it has no beginning.
    """
    generator = np.random.default_rng(seed)
    numbers, labels = (example.targets[name][..., 0].cpu().numpy().astype(int) for name in ("note", "note_class"))
    for row, own in enumerate(numbers):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], own, [0]]))).tolist()
        for first, last in pairwise(edges):
            label = int(labels[row, first]) - 1
            if own[first] == 0 or label < 0 or own[first] in own[:first]:
                continue
            yield row, first, last, label
            moved = generator.integers(-JITTER, JITTER + 1, 2).tolist()
            low, high = max(0, first + moved[0]), min(len(own), last + moved[1])
            if high - low >= 2:
                yield row, low, high, label


def _clips(example: Example, generator: np.random.Generator, rate: float) -> Iterator[Place]:
    """Each clip of which every class is labelled, and its beginning up to a random length."""
    mask, truth = example.targets["tags_mask"].cpu().numpy(), example.targets["tags"][:, 0].cpu().numpy()
    for row, labelled in enumerate(mask > 0):
        if not labelled.any(axis=0).all() or truth[row].max() < HALF:
            continue
        label, last = int(truth[row].argmax()), int(np.flatnonzero(labelled.any(axis=1))[-1]) + 1
        yield row, 0, last, label
        cut = round(float(generator.uniform(SHORTEST, LONGEST)) * rate)
        if cut < last:
            yield row, 0, cut, label
