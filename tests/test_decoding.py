"""Decoders against slow, literal transcriptions of their definitions."""

from __future__ import annotations

from itertools import groupby, pairwise

import numpy as np
import pytest
from decoded import decode
from numpy.typing import NDArray

from etude.adapters.annotations.notes import Note
from etude.adapters.errors import UserError
from etude.adapters.heads._parts.decoding import render

LABELS = ("vibrato", "plucks", "tremolo")
RATE = 75.0
Event = tuple[int, int, int]


def random_rolls(seed: int, frames: int = 60) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities that stay on one side of .5 for a few frames, with every density of events."""
    rng = np.random.default_rng(seed)
    hold = int(rng.integers(1, 6))
    bias = rng.random() ** 2
    rolls = [np.repeat(rng.random((frames // hold + 1, classes)) ** (2 * bias), hold, axis=0)[:frames] for classes in (3, 1)]
    return rolls[0].astype(np.float32), rolls[1][:, 0].astype(np.float32)


def rising_edges(technique, thresholds, rate, labels):
    return decode(technique, None, {"technique": thresholds, "onset": 0.5}, "rising_edges", rate, labels)


def onset_confirmed(technique, onset, thresholds, onset_threshold, rate, labels):
    return decode(technique, onset, {"technique": thresholds, "onset": onset_threshold}, "onset_confirmed", rate, labels)


def fusion(technique, onset, thresholds, onset_threshold, rate, labels):
    return decode(technique, onset, {"technique": thresholds, "onset": onset_threshold}, "fusion", rate, labels)


def in_frames(notes: list[Note]) -> list[Event]:
    return sorted((round(n.onset * RATE), round(n.offset * RATE), LABELS.index(n.technique or "")) for n in notes)


def slow_rising_edges(technique: NDArray[np.bool_]) -> list[Event]:
    events = []
    for label in range(technique.shape[1]):
        position = 0
        for active, run in groupby(technique[:, label].tolist()):
            length = len(list(run))
            if active:
                events.append((position, position + length, label))
            position += length
    return sorted(events)


def slow_onset_confirmed(technique: NDArray[np.bool_], onset: NDArray[np.bool_]) -> list[Event]:
    frames, classes = technique.shape
    events = []
    for start in range(frames):
        if not onset[start] or (start > 0 and onset[start - 1]):
            continue
        for label in range(classes):
            if not technique[start, label]:
                continue
            stop = start
            while stop < frames and (onset[stop] or technique[stop, label]):
                stop += 1
            events.append((start, stop, label))
    return sorted(events)


def slow_fusion(technique: NDArray[np.float32], active: NDArray[np.bool_], onset: NDArray[np.bool_]) -> list[Event]:
    frames = len(technique)
    starts = [t for t in range(frames) if onset[t] and (t == 0 or not onset[t - 1])]
    events = []
    for start, bound in pairwise([*starts, frames]):
        winner = int(np.argmax([technique[start:bound, label].astype(float).sum() for label in range(technique.shape[1])]))
        on = [t for t in range(start, bound) if active[t, winner]]
        if on:
            events.append((start, on[-1] + 1, winner))
    return sorted(events)


@pytest.mark.parametrize("seed", range(60))
def test_decoders_equal_their_literal_definitions(seed: int) -> None:
    technique, onset = random_rolls(seed)
    thresholds, onset_threshold = [0.3, 0.5, 0.7], 0.6
    active, started = technique > np.array(thresholds), onset > np.float64(onset_threshold)
    found = rising_edges(technique, thresholds, RATE, LABELS)
    assert in_frames(found) == slow_rising_edges(active)
    np.testing.assert_array_equal(render(found, LABELS, len(technique), RATE), active)
    found = onset_confirmed(technique, onset, thresholds, onset_threshold, RATE, LABELS)
    assert in_frames(found) == slow_onset_confirmed(active, started)
    found = fusion(technique, onset[:, None], thresholds, onset_threshold, RATE, LABELS)
    assert in_frames(found) == slow_fusion(technique, active, started)
    for note in found:
        start, stop, label = in_frames([note])[0]
        assert note.confidence == pytest.approx(technique[start:stop, label].mean(), rel=1e-5)


def test_a_later_onset_does_not_close_an_earlier_event() -> None:
    # frame      0   1   2   3   4   5   6   7
    plucks = [0.0, 0.9, 0.8, 0.7, 0.9, 0.2, 0.2, 0.9]
    onset_ = [0.0, 0.9, 0.1, 0.9, 0.1, 0.9, 0.1, 0.1]
    technique = np.zeros((8, 3))
    technique[:, 1] = plucks
    onset = np.array(onset_)
    # Onsets start in frames 1, 3 and 5; plucks is off in 5, but the onset there keeps both events open until frame 6.
    # The activation in frame 7 has no onset and disappears.
    found = onset_confirmed(technique, onset, [0.5] * 3, 0.5, RATE, LABELS)
    assert in_frames(found) == [(1, 6, 1), (3, 6, 1)]
    assert found[1].onset == 3 / RATE
    assert found[0].confidence == pytest.approx((0.9 + 0.8 + 0.7 + 0.9 + 0.2) / 5)
    expected = np.zeros((8, 3), bool)
    expected[1:6, 1] = True
    np.testing.assert_array_equal(render(found, LABELS, 8, RATE), expected)


def test_an_onset_in_the_first_frame_counts_and_a_silent_one_gives_nothing() -> None:
    technique = np.array([[0.9, 0.1, 0.1], [0.9, 0.1, 0.1], [0.1, 0.2, 0.1], [0.1, 0.2, 0.1]])
    onset = np.array([0.9, 0.1, 0.9, 0.1])
    # The silent onset in frame 2 opens nothing; by the published rule it still keeps the event before it open for its frame.
    for decoder, stop in ((onset_confirmed, 3), (fusion, 2)):
        assert in_frames(decoder(technique, onset, [0.5] * 3, 0.5, RATE, LABELS)) == [(0, stop, 0)]
        assert decoder(technique, np.zeros(4), [0.5] * 3, 0.5, RATE, LABELS) == []


def test_pitch_is_the_argmax_of_the_probabilities_summed_over_the_event() -> None:
    technique = np.zeros((6, 3))
    technique[1:5, 2] = 0.8
    onset = np.array([0, 0.9, 0, 0, 0, 0])
    pitch = np.zeros((6, 4))
    pitch[0, 0] = pitch[5, 0] = 5.0  # outside the event
    pitch[1, 1] = 0.9  # the largest single frame
    pitch[1:5, 3] = 0.4  # the largest sum: 1.6
    for decoder in ("rising_edges", "onset_confirmed", "fusion"):
        thresholds = {"technique": [0.5] * 3, "onset": 0.5}
        (note,) = decode(technique, onset, thresholds, decoder, RATE, LABELS, pitch=pitch, lowest_pitch=36)
        assert (note.pitch, note.technique, note.confidence) == (39.0, "tremolo", pytest.approx(0.8))
        assert decode(technique, onset, thresholds, decoder, RATE, LABELS)[0].pitch is None
    with pytest.raises(ValueError, match="needs onset"):
        decode(technique, None, thresholds, "fusion", RATE, LABELS)


def test_thresholds_are_not_rounded_to_the_precision_of_the_probabilities() -> None:
    half = np.full((2, 3), 0.7, np.float16)  # 0.7002 in half precision: above 0.7
    assert len(rising_edges(half, [0.7] * 3, RATE, LABELS)) == 3
    assert len(onset_confirmed(half, half[:, 0], [0.7] * 3, 0.7, RATE, LABELS)) == 3


def test_render_rounds_to_frames_and_gives_every_note_one() -> None:
    notes = [
        Note(0.0, 0.001, technique="vibrato"),  # shorter than a frame
        Note(1.6 / RATE, 3.4 / RATE, technique="plucks"),  # frames 2 and (exclusive) 3
        Note(6.0 / RATE, 99.0, technique="tremolo"),  # outlasts the roll
        Note(1.0 / RATE, 5.0 / RATE),  # technique not annotated
    ]
    expected = np.zeros((8, 3), bool)
    expected[0, 0] = expected[2, 1] = True
    expected[6:, 2] = True
    np.testing.assert_array_equal(render(notes, LABELS, 8, RATE), expected)


def test_render_names_the_nearest_class() -> None:
    with pytest.raises(UserError, match=r"'vibrat' is not a class.*did you mean 'vibrato'"):
        render([Note(0, 1, technique="vibrat")], LABELS, 8, RATE)


def test_a_confidence_is_never_above_1_by_rounding():
    means = []
    for seed in range(20):
        technique = np.concatenate([np.random.default_rng(seed).random(5), np.ones(7)])[:, None]
        sums = np.append(0, technique.cumsum())
        means.append((sums[12] - sums[5]) / 7)
        (note,) = decode(technique, None, {"technique": [0.999], "onset": 0.5}, "rising_edges", 10.0, ["a"])
        assert note.confidence == min(1.0, means[-1])
    assert max(means) > 1, "the sums that this is about"
