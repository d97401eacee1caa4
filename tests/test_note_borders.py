"""Where notes begin and end: by hand, frame by frame, and thresholds against every one that is tried."""

import mir_eval
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etude.adapters.annotations import Layer
from etude.adapters.annotations.notes import Note
from etude.adapters.heads._parts.note_borders import GAP_SECONDS, GRID, find_borders, tune_borders

RATE = 50.0
GAP = 2
"""Frames."""


def roll(frames, *spans):
    values = np.zeros(frames)
    for first, last in spans:
        values[first:last] = 0.9
    return values


def borders(onset, activity, rate=RATE):
    starts, stops = find_borders(onset, activity, 0.5, 0.5, rate)
    return list(zip(starts.tolist(), stops.tolist(), strict=True))


CASES = {
    "two notes": ([(2, 4), (12, 13)], [(2, 9), (12, 18)], [(2, 9), (12, 18)]),
    "a gap that is too short": ([(2, 3)], [(2, 6), (7, 12)], [(2, 12)]),
    "a gap that is not": ([(2, 3)], [(2, 6), (8, 12)], [(2, 6)]),
    "several short gaps": ([(2, 3)], [(2, 6), (7, 8), (9, 11)], [(2, 11)]),
    "repeated without a gap": ([(2, 3), (7, 8)], [(2, 12)], [(2, 7), (7, 12)]),
    "repeated in a short gap": ([(2, 3), (7, 8)], [(2, 6), (7, 12)], [(2, 7), (7, 12)]),
    "activity never falls": ([(2, 3), (10, 12)], [(0, 20)], [(2, 10), (10, 20)]),
    "activity falls in the last frame": ([(2, 3)], [(0, 19)], [(2, 19)]),
    "an onset without activity": ([(5, 7)], [], [(5, 6)]),
    "activity that begins late": ([(5, 6)], [(7, 12)], [(5, 12)]),
    "activity without an onset": ([], [(3, 9)], []),
    "activity before the onset": ([(6, 7)], [(3, 9)], [(6, 9)]),
    "an onset in the first frame": ([(0, 1)], [(0, 5)], [(0, 5)]),
    "an onset in the last frame": ([(19, 20)], [], [(19, 20)]),
    "nothing": ([], [], []),
}


@pytest.mark.parametrize("case", CASES)
def test_borders_by_hand(case):
    onset, activity, expected = CASES[case]
    assert borders(roll(20, *onset), roll(20, *activity)) == expected


def test_a_recording_without_frames():
    assert borders(np.zeros(0), np.zeros(0)) == []


def test_thresholds_must_be_exceeded_in_whatever_precision():
    onset = np.array([0.0, 0.6, 0.0, 0.0], np.float16)  # a little more than .6
    assert float(onset[1]) > 0.6
    starts, _ = find_borders(onset, onset, 0.6, 0.5, RATE)
    assert starts.tolist() == [1]
    assert not len(find_borders(onset, onset, float(onset[1]), 0.5, RATE)[0])


def frame_by_frame(onset, activity, gap):
    """Each note alone: on until nothing has sounded for ``gap`` frames, or until the recording or the next note begins."""
    begins = [k for k in range(len(onset)) if onset[k] and not (k and onset[k - 1])]
    found = []
    for place, begin in enumerate(begins):
        limit = begins[place + 1] if place + 1 < len(begins) else len(onset)
        sounds = [bool(active) or k in begins for k, active in enumerate(activity)]
        end = begin + 1
        while end < limit:
            ahead = sounds[end : end + gap]
            if not any(ahead):
                break
            end += 1
        found.append((begin, end))
    return found


@given(st.data(), st.integers(0, 40), st.sampled_from([12.5, 25.0, 50.0, 75.0]))
@settings(deadline=None, max_examples=80)
def test_borders_are_those_found_frame_by_frame(data, frames, rate):
    onset, activity = (np.array(data.draw(st.lists(st.booleans(), min_size=frames, max_size=frames)), bool) for _ in range(2))
    gap = max(1, round(GAP_SECONDS * rate))
    assert borders(onset.astype(float), activity.astype(float), rate) == frame_by_frame(onset, activity, gap)


# Thresholds.


def recording(seed, known=((0.0, 100.0),)):
    """Notes, and noisy probabilities of their onsets and of their sounding; the tails fade."""
    rng = np.random.default_rng(seed)
    starts = np.cumsum(rng.uniform(0.3, 0.8, 12))
    notes = [Note(start, start + rng.uniform(0.1, 0.28), None, "a") for start in starts]
    frames = round((starts[-1] + 1) * RATE)
    onset, activity = rng.uniform(0, 0.45, frames), rng.uniform(0, 0.3, frames)
    for note in notes:
        first, last = round(note.onset * RATE), round(note.offset * RATE)
        onset[first] = rng.uniform(0.2, 0.9)
        tail = min(frames, last + 8) - first
        activity[first : first + tail] = np.interp(np.arange(tail), [0, last - first, tail], [0.8, 0.45, 0.1])
    return Layer(notes, known), onset, activity


def matches(layer, starts, stops, *, ends):
    """How many notes of the known spans mir_eval matches."""
    reference = np.array([(note.onset, note.offset) for note in layer if layer.known_at(np.array([note.onset]))[0]])
    found = np.stack([starts, stops], axis=1) / RATE
    if not len(found):
        return 0, len(reference), 0
    kept = layer.known_at(found[:, 0])
    same = [np.full(len(own), 440.0) for own in (reference, found)]
    pairs = mir_eval.transcription.match_notes(
        reference, same[0], found, same[1], onset_tolerance=0.05, offset_ratio=0.2 if ends else None
    )
    return sum(bool(kept[column]) for _, column in pairs), len(reference), int(kept.sum())


def test_thresholds_are_the_best_of_all_that_are_tried():
    layers, onsets, activities = zip(*(recording(seed) for seed in range(3)), strict=True)

    def f1(threshold):
        found = (find_borders(own, own, threshold, 0.0, RATE) for own in onsets)
        counts = [matches(layer, *own, ends=False) for layer, own in zip(layers, found, strict=True)]
        return 2 * sum(row[0] for row in counts) / sum(row[1] + row[2] for row in counts)

    def ends(threshold):
        rows = zip(layers, onsets, activities, strict=True)
        return sum(
            matches(layer, *find_borders(onset, own, best["onset"], threshold, RATE), ends=True)[0]
            for layer, onset, own in rows
        )

    best = tune_borders(layers, onsets, activities, RATE)
    for name, score in (("onset", f1), ("activity", ends)):
        scores = {threshold: score(threshold) for threshold in GRID}
        highest = [threshold for threshold, value in scores.items() if value == max(scores.values())]
        assert best[name] in highest
        assert abs(best[name] - 0.5) == min(abs(threshold - 0.5) for threshold in highest)
        assert min(scores.values()) < 0.8 * max(scores.values()), "the choice matters"


def test_what_nobody_knows_does_not_tune():
    """Onsets that are found where the reference does not know are no mistakes, and notes there are not missed."""
    layer = Layer([Note(1.0, 1.4, None, "a"), Note(2.0, 2.4, None, "a"), Note(6.1, 6.4, None, "a")], ((0.0, 4.0),))
    onset, activity = np.zeros(400), np.zeros(400)
    onset[[50, 100]] = 0.37, 0.88
    onset[np.arange(210, 390, 20)] = 0.6
    assert tune_borders([layer], [onset], [activity], RATE)["onset"] == 0.35
    everywhere = Layer(layer.records[:2])
    assert tune_borders([everywhere], [onset], [activity], RATE)["onset"] == 0.6
    assert tune_borders([], [], [], RATE) == {"onset": 0.5, "activity": 0.5}
