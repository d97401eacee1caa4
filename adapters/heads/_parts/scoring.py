"""Frame and event scores of playing techniques, pooled over a whole set of recordings (not averaged over recordings).

Frame scores count (frame, class) cells; their micro precision and recall are those of ``mir_eval.multipitch`` with the class
as pitch. Event scores use ``mir_eval.transcription``: an estimated event is correct when it is matched one-to-one with a
reference event of the same class whose onset is within the tolerance (seconds); offsets are ignored (MERTech, Li et al.,
ICASSP 2024).

``micro`` pools all classes, ``macro`` is the mean of the F1 of the classes that occur in the reference: one false alarm of
another class would otherwise cost as much as all that is wrong with a class of hundreds. ``absent`` counts those false alarms.
Where nothing is to be found and nothing is found, 0 / 0 counts as 0, as in mir_eval and scikit-learn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import mir_eval
import numpy as np
from numpy.typing import NDArray

from etude.adapters.annotations import Layer
from etude.adapters.annotations.notes import Note
from etude.adapters.heads._parts.decoding import class_indices

Counts = NDArray[np.int64]
ONSET_TOLERANCE = 0.05


def frame_scores(
    reference_rolls: Sequence[NDArray[np.bool_]],
    estimate_rolls: Sequence[NDArray[np.bool_]],
    masks: Sequence[NDArray[np.bool_]],
    labels: Sequence[str],
) -> dict[str, Any]:
    """Compare rolls ``[frames, classes]``, one per recording, where the mask ``[frames, classes]`` is true.

    Returns ``frame_micro_precision``, ``frame_micro_recall``, ``frame_micro_f1``, ``frame_macro_f1``, ``per_class``:
    ``{label: {"frame": {"precision", "recall", "f1", "tp", "ref", "est"}}}``, the last three counted in frames, and ``absent``:
    ``{label: est}`` of the classes that are found though the reference has none of them.
    """
    matched, reference, estimated = np.zeros((3, len(labels)), np.int64)
    for reference_roll, estimate_roll, mask in zip(reference_rolls, estimate_rolls, masks, strict=True):
        matched += (reference_roll & estimate_roll & mask).sum(axis=0)
        reference += (reference_roll & mask).sum(axis=0)
        estimated += (estimate_roll & mask).sum(axis=0)
    return summary("frame", labels, matched, reference, estimated)


def event_scores(
    references: Sequence[Layer],
    estimates: Sequence[Layer],
    labels: Sequence[str],
    onset_tolerance: float = ONSET_TOLERANCE,
) -> dict[str, Any]:
    """Compare events, one layer per recording; reference events have their annotated times, not those of a roll.

    Events whose onset lies where the reference does not know about their class (:func:`judged_at`) are not counted. The result
    is that of :func:`frame_scores` with ``event`` for ``frame`` and counts in events. Raises :class:`UserError` for a technique
    that is not in ``labels``.
    """
    matched, reference, estimated = np.zeros((3, len(labels)), np.int64)
    for truth, guess in zip(references, estimates, strict=True):
        true_intervals, true_classes = _judged_events(truth, truth, labels)
        intervals, classes = _judged_events(truth, guess, labels)
        reference += np.bincount(true_classes, minlength=len(labels))
        estimated += np.bincount(classes, minlength=len(labels))
        if len(classes) and len(true_classes):
            # Matching each recording by itself and adding counts is the pooled score: no match can cross recordings.
            pairs = mir_eval.transcription.match_notes(
                true_intervals,
                _fake_pitches(true_classes),
                intervals,
                _fake_pitches(classes),
                onset_tolerance=onset_tolerance,
                pitch_tolerance=1.0,
                offset_ratio=None,
            )
            matched += np.bincount([true_classes[i] for i, _ in pairs], minlength=len(labels))
    return summary("event", labels, matched, reference, estimated)


def merge_scores(*scores: Mapping[str, Any]) -> dict[str, Any]:
    """One dictionary with the numbers of all, the last one's ``absent``, and their ``per_class`` tables joined by label."""
    merged: dict[str, Any] = {name: value for part in scores for name, value in part.items() if name != "per_class"}
    per_class: dict[str, Any] = {}
    for part in scores:
        for label, table in part["per_class"].items():
            per_class.setdefault(label, {}).update(table)
    return {**merged, "per_class": per_class}


def judged_at(layer: Layer, times: NDArray[np.float64], labels: Sequence[str]) -> NDArray[np.bool_]:
    """Where it is known whether a class sounds, ``[n, classes]`` for times in seconds ``[n]``.

    It is not outside of the known spans, in notes without a technique, and for unjudged classes.
    """
    known = layer.known_at(times)
    for note in layer:
        if note.technique is None:
            known &= (times < note.onset) | (times >= note.offset)
    judged: NDArray[np.bool_] = known[:, None] & np.array([label not in layer.unjudged for label in labels], np.bool_)
    return judged


def count_matches(
    reference_onsets: NDArray[np.float64], estimate_onsets: NDArray[np.float64], tolerance: float = ONSET_TOLERANCE
) -> int:
    """Size of the largest one-to-one matching of the onsets (seconds, ``[n]`` and ``[m]``) of one class.

    Equal to mir_eval's bipartite matching, distances rounded to its 4 decimals, in linear time: what an onset can be matched
    with is a run of the sorted others whose ends never move back, so taking the first free partner is optimal.
    """
    references = np.sort(reference_onsets)
    estimates = np.sort(estimate_onsets)
    # A cheap bound skips most estimates; the rounded distance decides.
    bounds = np.searchsorted(estimates, references - tolerance - 1e-3).tolist()
    onsets = estimates.tolist()
    free = matches = 0
    for reference, bound in zip(references.tolist(), bounds, strict=True):
        free = max(free, bound)
        while free < len(onsets):
            distance = onsets[free] - reference
            if round(abs(distance) * 1e4) / 1e4 <= tolerance:
                matches += 1
                free += 1
                break
            if distance > 0:
                break
            free += 1
    return matches


def _judged_events(truth: Layer, notes: Iterable[Note], labels: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Intervals ``[n, 2]`` and classes ``[n]`` of the notes that count."""
    intervals = np.array([(note.onset, note.offset) for note in notes], np.float64).reshape(-1, 2)
    classes = class_indices(notes, labels)
    counted = judged_at(truth, intervals[:, 0], labels)[np.arange(len(classes)), classes] & (classes >= 0)
    return intervals[counted], classes[counted]


def _fake_pitches(classes: NDArray[np.intp]) -> NDArray[np.float64]:
    """A semitone per class, in Hz, so that mir_eval's pitch tolerance keeps the classes apart."""
    pitches: NDArray[np.float64] = mir_eval.util.midi_to_hz(21.0 + classes)
    return pitches


def summary(kind: str, labels: Sequence[str], matched: Counts, reference: Counts, estimated: Counts) -> dict[str, Any]:
    """Scores from counts by class, each ``[classes]``, named as in :func:`frame_scores`, whose kind is ``frame``."""
    counts = zip(matched.tolist(), reference.tolist(), estimated.tolist(), strict=True)
    table = {label: ratios(*row) for label, row in zip(labels, counts, strict=True)}
    micro = ratios(int(matched.sum()), int(reference.sum()), int(estimated.sum()))
    f1 = [row["f1"] for row in table.values() if row["ref"]]
    return {
        f"{kind}_micro_precision": micro["precision"],
        f"{kind}_micro_recall": micro["recall"],
        f"{kind}_micro_f1": micro["f1"],
        f"{kind}_macro_f1": sum(f1) / len(f1) if f1 else 0.0,
        "per_class": {label: {kind: row} for label, row in table.items()},
        "absent": {label: row["est"] for label, row in table.items() if row["est"] and not row["ref"]},
    }


def ratios(matched: int, reference: int, estimated: int) -> dict[str, float | int]:
    """``precision``, ``recall``, ``f1`` and the counts that they are made of: ``tp``, ``ref``, ``est``."""
    return {
        "precision": matched / estimated if estimated else 0.0,
        "recall": matched / reference if reference else 0.0,
        "f1": 2 * matched / (reference + estimated) if reference or estimated else 0.0,
        "tp": matched,
        "ref": reference,
        "est": estimated,
    }
