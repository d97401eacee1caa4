"""Playing-technique events from frame probabilities, and the rolls that events and annotations are drawn into.

Frame ``k`` stands for the time ``k / rate`` seconds; a time ``t`` belongs to frame ``round(t * rate)``. Probabilities are
``[frames, classes]`` of one whole recording, columns in the order of ``labels``; *active* means strictly above the threshold.
Events carry their technique and, as confidence, the mean probability of that class over their frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from etude.adapters.annotations.notes import Note
from etude.adapters.errors import UserError, nearest
from etude.adapters.heads._parts.reach import UNKNOWN

Decoder = Literal["rising_edges", "onset_confirmed", "fusion"]
Probabilities = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Spans:
    """Events in frames: first frame, first frame after the event, class index; each ``[events]``, ordered by start."""

    starts: NDArray[np.intp]
    stops: NDArray[np.intp]
    classes: NDArray[np.intp]


def decode_spans(
    technique: Probabilities, onset: Probabilities | None, thresholds: Sequence[float], onset_threshold: float, decoder: Decoder
) -> Spans:
    """Events by ``decoder``, with thresholds as :func:`~etude.adapters.heads._parts.tuning.tune_thresholds` returns them.

    Raises ``ValueError`` when the decoder needs an ``onset`` and gets none.
    """
    if decoder == "rising_edges":
        return rising_edge_spans(technique, thresholds)
    if onset is None:
        raise ValueError(f"the decoder '{decoder}' needs onset probabilities")
    spans_of = onset_confirmed_spans if decoder == "onset_confirmed" else fusion_spans
    return spans_of(technique, onset, thresholds, onset_threshold)


def rising_edge_spans(technique: Probabilities, thresholds: Sequence[float]) -> Spans:
    """Every run of active frames of a class is an event (MERTech "before post-processing")."""
    active = _active(technique, thresholds)
    starts, classes = np.nonzero(_rises(active))
    return Spans(starts, _run_stops(active, starts, classes), classes)


def onset_confirmed_spans(
    technique: Probabilities, onset: Probabilities, thresholds: Sequence[float], onset_threshold: float
) -> Spans:
    """Events that a detected onset confirms (MERTech "after post-processing", Li et al., ICASSP 2024).

    An onset starts where ``onset`` (``[frames]`` or ``[frames, 1]``) becomes active. Every class active in exactly that frame
    opens an event; it ends at the first frame where both the class and the onset are inactive. A later onset opens a further
    event without closing an earlier one.
    """
    active = _active(technique, thresholds)
    onset_active = _active(onset, onset_threshold).reshape(-1, 1)
    starts, classes = np.nonzero(active & _rises(onset_active))
    return Spans(starts, _run_stops(active | onset_active, starts, classes), classes)


def fusion_spans(technique: Probabilities, onset: Probabilities, thresholds: Sequence[float], onset_threshold: float) -> Spans:
    """At most one event per detected onset: the class with the largest summed probability up to the next onset.

    The decision rule is that of "Playing Technique Detection by Fusing Note Onset Information in Guzheng Performance". Its
    isolated notes have no silences, so the ends are a choice made here: the event ends after the last active frame of its
    class before the next onset (short dips do not end it), and an onset whose winning class is nowhere active before the
    next onset gives no event. ``onset`` is ``[frames]`` or ``[frames, 1]``.
    """
    starts = np.flatnonzero(_rises(_active(onset, onset_threshold).reshape(-1, 1)))
    if len(starts) == 0:
        return Spans(starts, starts, starts)
    winners = np.add.reduceat(technique, starts, axis=0, dtype=np.float64).argmax(axis=1)
    owners = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(technique)))
    frames = np.arange(starts[0], len(technique))
    active = _active(technique, thresholds)[frames, winners[owners]]
    last = np.maximum.reduceat(np.where(active, frames, -1), starts - starts[0])
    sounding = last >= 0
    return Spans(starts[sounding], last[sounding] + 1, winners[sounding])


def frame_span(note: Note, rate: float) -> tuple[int, int]:
    """First frame of a note and first frame after it; a note shorter than a frame still has one."""
    start = round(note.onset * rate)
    return start, max(start + 1, round(note.offset * rate))


def render(notes: Iterable[Note], labels: Sequence[str], frames: int, rate: float) -> NDArray[np.bool_]:
    """Draw notes into a roll ``[frames, classes]``: reference rolls, and frame estimates "after post-processing".

    Notes without a technique are left out, as is what lies beyond the last frame. Raises :class:`UserError` for a
    technique that is not in ``labels``.
    """
    notes = list(notes)
    roll = np.zeros((frames, len(labels)), np.bool_)
    for note, label in zip(notes, class_indices(notes, labels), strict=True):
        if label >= 0:
            start, stop = frame_span(note, rate)
            roll[start:stop, label] = True
    return roll


def class_indices(notes: Iterable[Note], labels: Sequence[str]) -> NDArray[np.intp]:
    """The class of each note ``[notes]``, -1 where the technique is not annotated, or unknown.

    Raises :class:`UserError` for a technique that is not in ``labels``.
    """
    index: dict[str | None, int] = {None: -1, UNKNOWN: -1, **{label: i for i, label in enumerate(labels)}}
    try:
        return np.array([index[note.technique] for note in notes], np.intp)
    except KeyError as error:
        name = str(error.args[0])
        raise UserError(f"the technique {name!r} is not a class of this adapter", fix=nearest(name, labels)) from None


def _active(probabilities: Probabilities, thresholds: Sequence[float] | float) -> NDArray[np.bool_]:
    # A float64 array keeps NumPy from rounding the threshold to the precision of the probabilities.
    return np.greater(probabilities, np.asarray(thresholds, np.float64))


def _rises(active: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Frames that are active after an inactive one (or first), along axis 0."""
    rises = active.copy()
    rises[1:] &= ~active[:-1]
    return rises


def _run_stops(active: NDArray[np.bool_], starts: NDArray[np.intp], classes: NDArray[np.intp]) -> NDArray[np.intp]:
    """First inactive frame after each start (the number of frames if there is none)."""
    frames = len(active)
    # All classes in one row, each closed by an inactive frame, so that one search serves every event.
    row = np.pad(active.T, ((0, 0), (0, 1))).ravel()
    falls = np.flatnonzero(row[:-1] & ~row[1:]) + 1
    shift = classes * (frames + 1)
    stops: NDArray[np.intp] = falls[np.searchsorted(falls, starts + shift, side="right")] - shift
    return stops


def mean_probabilities(spans: Spans, technique: Probabilities) -> NDArray[np.float64]:
    """The mean probability of each event's class over its frames, ``[events]``."""
    sums = _running_sum(technique)
    # Rounding may carry a mean of ones above 1.
    means: NDArray[np.float64] = np.minimum(
        (sums[spans.stops, spans.classes] - sums[spans.starts, spans.classes]) / (spans.stops - spans.starts), 1.0
    )
    return means


def likeliest_pitches(spans: Spans, pitch: Probabilities, lowest: int) -> list[float | None]:
    """The pitch of each event with the largest summed probability ``[frames, pitches]`` over its frames.

    The first column is the MIDI number ``lowest``.
    """
    sums = _running_sum(pitch)
    return [float(lowest + (sums[b] - sums[a]).argmax()) for a, b in zip(spans.starts, spans.stops, strict=True)]


def as_notes(
    spans: Spans,
    confidences: NDArray[np.floating[Any]],
    rate: float,
    labels: Sequence[str],
    pitches: Sequence[float | None] | None = None,
) -> list[Note]:
    """Events in seconds."""
    rows = zip(
        spans.starts.tolist(),
        spans.stops.tolist(),
        spans.classes.tolist(),
        pitches or [None] * len(spans.starts),
        confidences.tolist(),
        strict=True,
    )
    return [
        Note(start / rate, stop / rate, midi, labels[label], confidence=confidence)
        for start, stop, label, midi, confidence in rows
    ]


def _running_sum(values: Probabilities) -> NDArray[np.float64]:
    """Sums of the frames before each frame, ``[frames + 1, ...]``: the sum over any event is one difference."""
    sums = np.zeros((len(values) + 1, values.shape[1]))
    np.cumsum(values, axis=0, out=sums[1:])
    return sums
