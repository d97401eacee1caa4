"""How notes are played with each technique."""

from itertools import pairwise

import numpy as np
import pretty_midi
import pytest
from numpy.random import default_rng

from etude.adapters.pretraining.techniques import PLAYERS, TECHNIQUES, sampled_technique

HELD = (0.08, 0.4, 1.5)
TIMES = np.arange(0, 0.5, 0.001)


def performances(technique):
    """What is drawn for keys held from short to long, with the seconds asked for."""
    return [(held, PLAYERS[technique](held, default_rng(seed))) for seed in range(40) for held in HELD]


def bends(performance, times):
    return np.array([performance.bend.curve(time) for time in times])


@pytest.mark.parametrize("technique", PLAYERS)
def test_strokes_follow_one_another_from_the_onset_on(technique):
    for held, performance in performances(technique):
        assert performance.strokes[0].start == 0
        assert all(stroke.start < stroke.stop for stroke in performance.strokes)
        assert all(before.stop == stroke.start for before, stroke in pairwise(performance.strokes))
        assert performance.seconds == performance.strokes[-1].stop
        assert performance.seconds <= 0.12 if technique == "staccato" else performance.seconds >= held


@pytest.mark.parametrize(("technique", "slowest", "fastest", "above"), [("tremolo", 8, 15, {0}), ("trill", 8, 14, {1, 2})])
def test_repeated_strokes_have_a_steady_rate_and_trills_alternate(technique, slowest, fastest, above):
    heard = set()
    for _, performance in performances(technique):
        lengths = [stroke.stop - stroke.start for stroke in performance.strokes]
        assert 1 / fastest <= min(lengths) <= max(lengths) <= 1 / slowest
        assert max(lengths) == pytest.approx(min(lengths))
        assert len(lengths) >= 4
        assert all(stroke.above == 0 for stroke in performance.strokes[::2])
        heard |= (upper := {stroke.above for stroke in performance.strokes[1::2]})
        assert len(upper) == 1
    assert heard == above


def test_vibrato_swings_to_both_sides_at_a_players_rate_and_depth():
    for _, performance in performances("vibrato"):
        times = np.arange(0, 2, 0.001)
        curve = bends(performance, times)
        begin = times[np.argmax(curve != 0)]
        assert 0.05 <= begin <= 0.152
        assert 0.19 <= curve.max() <= 0.9
        assert curve.min() == pytest.approx(-curve.max(), abs=0.01)
        rising = np.count_nonzero((curve[:-1] <= 0) & (curve[1:] > 0))
        assert 4.5 * (2 - begin) - 1 <= rising <= 7.5 * (2 - begin) + 1
        assert performance.seconds >= 0.5


@pytest.mark.parametrize(("technique", "direction"), [("upward_portamento", 1), ("downward_portamento", -1)])
def test_portamento_glides_one_way_from_the_note_and_arrives(technique, direction):
    for _, performance in performances(technique):
        curve = direction * bends(performance, TIMES)
        assert curve[0] == 0
        assert np.all(np.diff(curve) >= -1e-12)
        assert 1 <= curve[-1] + 1e-9 <= 4 + 1e-6
        assert bends(performance, [performance.seconds - 0.09]) == pytest.approx(bends(performance, [9.0]))


def test_muted_notes_differ_in_how_fast_they_die():
    ranges = {"palm_mute": (0.05, 0.2), "ghost": (0.012, 0.04)}
    for technique, (fastest, slowest) in ranges.items():
        drawn = [performance.mute for _, performance in performances(technique)]
        assert all(fastest <= seconds <= slowest and 290 < cutoff < 2500 for seconds, cutoff in drawn)
    open_strings = set(PLAYERS) - set(ranges)
    assert all(performance.mute is None for technique in open_strings for _, performance in performances(technique))


def test_only_vibrato_and_portamento_bend():
    bending = {technique for technique in PLAYERS if performances(technique)[0][1].bend}
    assert bending == {"vibrato", "upward_portamento", "downward_portamento"}


def test_the_wheel_moves_every_six_milliseconds_until_the_key_goes_up():
    for technique in ("vibrato", "upward_portamento", "downward_portamento"):
        for _, performance in performances(technique):
            times = np.array(performance.bend.times)
            assert (times[0], times[-1]) == (0, performance.seconds)
            assert np.diff(times)[:-1] == pytest.approx(0.006)
            assert 0 < times[-1] - times[-2] <= 0.006 + 1e-9


def test_movement_is_the_bend_of_the_only_stroke():
    for _, performance in performances("vibrato"):
        assert [performance.movement(time) for time in TIMES] == [performance.bend.curve(time) for time in TIMES]


def test_presets_that_were_recorded_with_a_technique_are_those_of_general_midi():
    words = {
        "Tremolo": "tremolo",
        "Pizzicato": "pizzicato",
        "Guitar (muted)": "palm_mute",
        "Guitar Harmonics": "harmonic",
        "Slap": "slap",
        "Muted Trumpet": "muted",
    }
    for program in range(128):
        name = pretty_midi.program_to_instrument_name(program)
        expected = next((technique for word, technique in words.items() if word in name), None)
        assert sampled_technique(0, program) == expected, name
    assert set(words.values()) <= set(TECHNIQUES)
    assert sampled_technique(8, 28) is None, "other banks hold other guitars"
    assert sampled_technique(8, 45) == "pizzicato"


def test_a_note_rings_on_at_the_pitch_it_ended_with():
    for name in ("vibrato", "upward_portamento", "trill"):
        performance = PLAYERS[name](0.7, default_rng(2))
        last = performance.movement(performance.seconds - 1e-9)
        assert performance.movement(performance.seconds + 0.3) == pytest.approx(last, abs=1e-6)
