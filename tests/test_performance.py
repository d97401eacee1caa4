"""What a note does while it sounds, and the keys and the wheel that play it."""

from dataclasses import replace
from itertools import pairwise

import pytest
from rendered import TIMES, glide

from etude.adapters.sound.performance import Bend, Performance, PlayedNote, Stroke, keystrokes, repeated, vibrato


def test_movement_is_the_stroke_at_that_time_and_the_bend():
    strokes = (Stroke(0.0, 0.1), Stroke(0.1, 0.25, 2.0), Stroke(0.25, 0.3, 1.0))
    times, above = (0.0, 0.05, 0.1, 0.2, 0.25, 0.29), (0, 0, 2, 2, 1, 1)
    struck, bent = Performance(strokes), Performance(strokes, Bend(lambda time: -3 * time, ()))
    for time, expected in zip(times, above, strict=True):
        assert struck.movement(time) == expected
        assert bent.movement(time) == pytest.approx(expected - 3 * time)


def test_a_note_rings_on_at_the_pitch_it_ended_with():
    for performance in (glide(2), Performance((Stroke(0.0, 0.7),), Bend(vibrato(0.1, 6.0, 0.5), TIMES))):
        last = performance.movement(performance.seconds - 1e-9)
        assert performance.movement(performance.seconds + 0.3) == pytest.approx(last, abs=1e-6)
    trill = Performance(repeated(2, 0.1, above=2.0))
    assert [trill.movement(time) for time in (0.05, 0.15, 0.25)] == [0.0, 2.0, 2.0]


def test_repeated_strokes_follow_one_another_and_every_second_one_is_higher():
    strokes = repeated(5, 0.1, above=3.0)
    assert strokes[0].start == 0
    assert all(a.stop == b.start for a, b in pairwise(strokes))
    assert [stroke.above for stroke in strokes] == [0, 3, 0, 3, 0]
    assert {stroke.above for stroke in repeated(4, 0.1)} == {0}


def test_the_wheel_is_where_the_curve_is_whenever_it_moves():
    """In 14 bits over 12 semitones to either side, from just before the key goes down until it goes up."""
    times = (0.05, 0.1, 0.3, 0.6, 0.9)
    performance = Performance((Stroke(0.0, 0.5), Stroke(0.5, 0.8, 2.0)), Bend(lambda time: 4 * time, times))
    first, second = keystrokes([PlayedNote(performance, 60.25, onset=1.0)])
    assert [time for time, _ in first.wheel] == pytest.approx([1.0 - 2e-4, 1.05, 1.1, 1.3])
    assert [time for time, _ in second.wheel] == pytest.approx([1.5 - 2e-4, 1.6])
    for stroke, curve in ((first, (0.0, 0.05, 0.1, 0.3)), (second, (0.5, 0.6))):
        semitones = [position * 12 / 8192 for _, position in stroke.wheel]
        assert semitones == pytest.approx([0.25 + 4 * time for time in curve], abs=12 / 8192)
    assert [stroke.key for stroke in (first, second)] == [60, 62]
    assert [(stroke.on, stroke.off) for stroke in (first, second)] == [(1.0, 1.5), (1.5, 1.8)]
    far = Performance((Stroke(0.0, 1.0),), Bend(lambda time: 100 * time - 50, (0.9,)))
    assert [position for _, position in keystrokes([PlayedNote(far, 60)])[0].wheel] == [-8192, 8191], "as far as it goes"


def test_a_note_ahead_has_its_keys_earlier_and_nothing_else():
    note = PlayedNote(replace(glide(2), damped=True), 62, 90, onset=1.0)
    (late,), (early,) = keystrokes([note]), keystrokes([note.ahead(0.02)])
    assert early.on == pytest.approx(late.on - 0.02)
    assert (early.off, early.key, early.velocity, early.controls[1:]) == (late.off, late.key, late.velocity, late.controls[1:])
    assert set(late.wheel[1:]) < set(early.wheel)
