"""Decision thresholds of the technique decoders, chosen on validation data for the best event macro F1.

Given the onset threshold, the events of a class depend on its own threshold alone, for all three decoders. So one decoding
per grid point, with the same threshold for every class, serves all classes at once, each class takes its own best threshold,
and the result is the optimum over the whole grid ``onset x class 1 x class 2 x ...``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etude.adapters.annotations import Layer
from etude.adapters.heads._parts.decoding import Decoder, Probabilities, Spans, class_indices, decode_spans, render
from etude.adapters.heads._parts.scoring import count_matches, judged_at

TECHNIQUE_GRID = tuple(round(0.05 * step, 2) for step in range(1, 20))
ONSET_GRID = tuple(round(0.1 * step, 1) for step in range(1, 10))
DEFAULT = 0.5

Score = tuple[float, float, float]
"""Event F1, frame F1, minus the distance from .5: compared in this order, so that the later ones break ties."""


def tune_thresholds(
    references: Sequence[Layer],
    technique_rolls: Sequence[Probabilities],
    onset_rolls: Sequence[Probabilities] | None,
    decoder: Decoder,
    labels: Sequence[str],
    rate: float,
    *,
    technique_grid: Sequence[float] = TECHNIQUE_GRID,
    onset_grid: Sequence[float] = ONSET_GRID,
) -> dict[str, Any]:
    """Return ``{"technique": [threshold per class], "onset": threshold}``.

    ``technique_rolls`` are probabilities ``[frames, classes]`` and ``onset_rolls`` ``[frames]`` or ``[frames, 1]``, one per
    recording. The macro F1 is over the classes that occur in the references; the others keep .5, and so does the onset with
    ``rising_edges``. Ties go to the better frame F1, then to the threshold nearest .5. Raises ``ValueError`` when the decoder
    needs onsets and gets none, :class:`UserError` for a technique that is not in ``labels``.
    """
    onsets = list(onset_rolls) if onset_rolls is not None and decoder != "rising_edges" else [None] * len(technique_rolls)
    truth = _Truth(references, [len(roll) for roll in technique_rolls], labels, rate)
    best: tuple[Score, dict[str, Any]] | None = None
    for onset_threshold in (DEFAULT,) if decoder == "rising_edges" else onset_grid:
        scores: list[list[Score]] = []
        for threshold in technique_grid:
            shared = [threshold] * len(labels)
            spans = [
                decode_spans(technique, onset, shared, onset_threshold, decoder)
                for technique, onset in zip(technique_rolls, onsets, strict=True)
            ]
            closeness = -round(abs(threshold - DEFAULT), 9)
            scores.append([(event, frame, closeness) for event, frame in truth.f1(spans)])
        technique = [DEFAULT] * len(labels)
        won: list[Score] = []
        for label in truth.present:
            column = [row[label] for row in scores]
            won.append(max(column))
            technique[label] = technique_grid[column.index(won[-1])]
        event, frame = (sum(score[i] for score in won) / max(len(won), 1) for i in (0, 1))
        total = (event, frame, -round(abs(onset_threshold - DEFAULT), 9))
        if best is None or total > best[0]:
            best = total, {"technique": technique, "onset": onset_threshold}
    assert best is not None, "empty grid"
    return best[1]


class _Truth:
    """The references of all recordings, one after the other on a single time line, prepared for scoring many decodings."""

    def __init__(self, references: Sequence[Layer], frames: Sequence[int], labels: Sequence[str], rate: float) -> None:
        self.classes = len(labels)
        self.first_frames = np.cumsum([0, *frames])[:-1]
        times, known, rolls = [], [], []
        onsets, classes = [np.zeros(0)], [np.zeros(0, np.intp)]
        begin = 0.0
        for layer, count in zip(references, frames, strict=True):
            own = np.arange(count) / rate
            times.append(own + begin)
            known.append(judged_at(layer, own, labels))
            rolls.append(render(layer, labels, count, rate))
            annotated, named = np.array([note.onset for note in layer], np.float64), class_indices(layer, labels)
            counted = judged_at(layer, annotated, labels)[np.arange(len(named)), named] & (named >= 0)
            onsets.append(annotated[counted] + begin)
            classes.append(named[counted])
            # A silent second between recordings keeps matches inside them.
            begin += max(count / rate, *(note.offset for note in layer), 0.0) + 1.0
        self.times, self.known = np.concatenate(times), np.concatenate(known).T
        self.roll = np.concatenate(rolls).T & self.known
        self.onsets = _by_class(np.concatenate(onsets), np.concatenate(classes), self.classes)
        self.present = [label for label, found in enumerate(self.onsets) if len(found)]

    def f1(self, spans: Sequence[Spans]) -> list[tuple[float, float]]:
        """Event F1 and frame F1 of every class; 0 where there is neither a reference nor an estimate."""
        starts = np.concatenate([part.starts + first for part, first in zip(spans, self.first_frames, strict=True)])
        stops = np.concatenate([part.stops + first for part, first in zip(spans, self.first_frames, strict=True)])
        classes = np.concatenate([part.classes for part in spans])
        known = self.known[classes, starts]
        estimates = _by_class(self.times[starts[known]], classes[known], self.classes)
        covered = self._roll(starts, stops, classes) & self.known
        overlap = np.count_nonzero(covered & self.roll, axis=1)
        frames = np.count_nonzero(covered, axis=1) + np.count_nonzero(self.roll, axis=1)
        scores = []
        for label, (truth, estimate) in enumerate(zip(self.onsets, estimates, strict=True)):
            event = 2 * count_matches(truth, estimate) / max(len(truth) + len(estimate), 1)
            scores.append((event, float(2 * overlap[label] / max(frames[label], 1))))
        return scores

    def _roll(self, starts: NDArray[np.intp], stops: NDArray[np.intp], classes: NDArray[np.intp]) -> NDArray[np.bool_]:
        """The frames the events cover, ``[classes, frames]``."""
        width = self.known.shape[1] + 1
        size = self.classes * width
        steps = np.bincount(classes * width + starts, minlength=size) - np.bincount(classes * width + stops, minlength=size)
        covered: NDArray[np.bool_] = np.cumsum(steps).reshape(self.classes, width)[:, :-1] > 0
        return covered


def _by_class(onsets: NDArray[np.float64], classes: NDArray[np.intp], count: int) -> list[NDArray[np.float64]]:
    return [onsets[classes == label] for label in range(count)]
