"""Scores of complete notes (onset, end, pitch and technique), pooled over a whole set of recordings.

Rules and tolerances are those of ``mir_eval.transcription``: an onset is right within 50 ms, an end within the larger of 50 ms
and 20 % of the reference's duration, a pitch within 50 cents, distances of exactly that much included. Notes of reference and
estimate are matched one-to-one, as many as can be. Two questions are asked of each part of a note:

- F1 of the notes whose onset *and* that part are right, each part by a matching of its own;
- the share that is right among the notes that are matched by their onsets alone; of several such matchings, as within a chord,
  it is the one with the most that is right.

What the reference does not know does not count: notes that begin outside of the known spans and estimates of unjudged classes
are left out of everything, and a reference note without a pitch (or technique) out of all that asks for one, together with the
estimate at its onset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching, min_weight_full_bipartite_matching

from etude.adapters.annotations import Layer
from etude.adapters.heads._parts.calibration import calibration_scores
from etude.adapters.heads._parts.decoding import class_indices
from etude.adapters.heads._parts.scoring import ONSET_TOLERANCE, ratios

OFFSET_TOLERANCE, OFFSET_RATIO = 0.05, 0.2
PITCH_TOLERANCE = 0.5
"""Semitones."""
Cells = NDArray[np.bool_]
Indices = NDArray[np.intp]
Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Notes:
    """Notes of all recordings, each array ``[notes]``: seconds, MIDI numbers or NaN, indices of classes or -1, probabilities or
    NaN."""

    onsets: Numbers
    offsets: Numbers
    pitches: Numbers
    classes: Indices
    confidences: Numbers


def note_scores(
    references: Sequence[Layer], estimates: Sequence[Layer], labels: Sequence[str], *, pitched: bool
) -> dict[str, Any]:
    """Compare notes, one layer per recording; unless they are ``pitched``, nothing asks for a pitch.

    Returns ``note_PART_f1`` and, but for the onset, ``note_PART_right``, the share of the matched notes, where PART is onset,
    offset, pitch, technique and all; ``parts``: ``{"note_PART": {"precision", "recall", "f1", "tp", "ref", "est", "right"}}``,
    counted in notes; and :func:`calibration_scores` of the matched notes, which are right where their technique is. Raises
    :class:`UserError` for a technique that is not in ``labels``.
    """
    truth, found, rows, columns = _pooled(references, estimates, labels)
    durations = truth.offsets - truth.onsets
    right = {
        "onset": np.ones(len(rows), np.bool_),
        "offset": _within(
            truth.offsets[rows] - found.offsets[columns], np.maximum(OFFSET_RATIO * durations, OFFSET_TOLERANCE)[rows]
        ),
        "pitch": _within(truth.pitches[rows] - found.pitches[columns], PITCH_TOLERANCE),
        "technique": truth.classes[rows] == found.classes[columns],
    }
    judged = {part: np.ones(len(truth.onsets), np.bool_) for part in right}
    judged |= {"pitch": ~np.isnan(truth.pitches), "technique": truth.classes >= 0}
    if not pitched:
        del right["pitch"], judged["pitch"]
    right["all"] = np.logical_and.reduce([*right.values()])
    judged["all"] = np.logical_and.reduce([*judged.values()])

    matched = _best_matching(rows, columns, sum(right[part] & judged[part][rows] for part in right))
    parts: dict[str, dict[str, float | int]] = {}
    for part, correct in right.items():
        own = judged[part][rows]
        hits = _matches(rows[own & correct], columns[own & correct])
        # Whoever matches a note that is not judged is neither right nor wrong; those that are judged come first.
        apart = _matches(rows[correct | ~own], columns[correct | ~own]) - hits
        parts[f"note_{part}"] = ratios(hits, int(judged[part].sum()), len(found.onsets) - apart)
        if part != "onset":
            share = correct[matched][own[matched]]
            parts[f"note_{part}"]["right"] = float(share.mean()) if len(share) else 0.0
    flat = {f"{name}_{score}": row[score] for score in ("f1", "right") for name, row in parts.items() if score in row}
    named = matched[judged["technique"][rows[matched]]]
    return {**flat, "parts": parts, **calibration_scores(found.confidences[columns[named]], right["technique"][named])}


def _pooled(
    references: Sequence[Layer], estimates: Sequence[Layer], labels: Sequence[str]
) -> tuple[_Notes, _Notes, Indices, Indices]:
    """The notes that count of references and of estimates, and all pairs of them whose onsets agree: two arrays ``[pairs]``."""
    nothing = np.zeros(0, np.intp)
    truths, guesses, pairs = [_notes(Layer(), Layer(), labels)], [_notes(Layer(), Layer(), labels)], [(nothing, nothing)]
    first_row = first_column = 0
    for reference, estimate in zip(references, estimates, strict=True):
        truth, guess = _notes(reference, reference, labels), _notes(reference, estimate, labels)
        rows, columns = _near(truth.onsets, guess.onsets)
        pairs.append((rows + first_row, columns + first_column))
        first_row, first_column = first_row + len(truth.onsets), first_column + len(guess.onsets)
        truths.append(truth)
        guesses.append(guess)
    rows, columns = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return _joined(truths), _joined(guesses), rows, columns


def _notes(truth: Layer, layer: Layer, labels: Sequence[str]) -> _Notes:
    numbers = [(note.onset, note.offset, note.pitch, note.confidence) for note in layer]
    values, classes = np.array(numbers, np.float64).reshape(-1, 4), class_indices(layer, labels)  # None becomes NaN
    unjudged = np.array([*(label in truth.unjudged for label in labels), False])  # the last one is that of no technique, -1
    counted = truth.known_at(values[:, 0]) & ~unjudged[classes]
    onsets, offsets, pitches, confidences = values[counted].T
    return _Notes(onsets, offsets, pitches, classes[counted], confidences)


def _joined(notes: Sequence[_Notes]) -> _Notes:
    return _Notes(*(np.concatenate([getattr(part, name) for part in notes]) for name in _Notes.__slots__))


def _near(references: Numbers, estimates: Numbers) -> tuple[Indices, Indices]:
    """All pairs of onsets that agree, without a table of all pairs, which an hour of music would not leave memory for."""
    order = np.argsort(estimates)
    edges = (references - ONSET_TOLERANCE - 1e-3, references + ONSET_TOLERANCE + 1e-3)  # the rounded distance decides
    begins, ends = (np.searchsorted(estimates[order], edge) for edge in edges)
    counts = ends - begins
    rows = np.repeat(np.arange(len(references)), counts)
    columns = order[np.arange(len(rows)) + np.repeat(ends - np.cumsum(counts), counts)]
    near = _within(references[rows] - estimates[columns], ONSET_TOLERANCE)
    return rows[near], columns[near]


def _within(differences: Numbers, tolerance: Numbers | float) -> Cells:
    """Rounded to mir_eval's 4 decimals, so that a difference of exactly the tolerance is within it."""
    near: Cells = np.around(np.abs(differences), 4) <= tolerance
    return near


def _matches(rows: Indices, columns: Indices) -> int:
    """Size of the largest one-to-one matching of which all pairs are among these."""
    if not len(rows):
        return 0
    graph = csr_array((np.ones(len(rows)), (rows, columns)))
    return int((maximum_bipartite_matching(graph, perm_type="column") >= 0).sum())


def _best_matching(rows: Indices, columns: Indices, merits: NDArray[np.int64]) -> Indices:
    """The pairs ``[matched]`` of a largest one-to-one matching, of all such one with the largest sum of merits."""
    if not len(rows):
        return np.zeros(0, np.intp)
    height, width = int(rows.max()) + 1, int(columns.max()) + 1
    # Each row may also stay alone, in a column of its own; one pair more is worth more than the merits of all.
    alone = np.arange(height)
    worth = np.concatenate([merits + float(merits.sum()) + 2.0, np.ones(height)])
    graph = coo_array((worth, (np.concatenate([rows, alone]), np.concatenate([columns, width + alone])))).tocsr()
    _, chosen = min_weight_full_bipartite_matching(graph, maximize=True)
    matched: Indices = np.flatnonzero(chosen[rows] == columns)
    return matched
