"""Rendering by either engine from the SoundFont that pretty_midi ships: what was asked for is what sounds, and when."""

from dataclasses import replace

import numpy as np
import pytest
from rendered import (
    CHOIR,
    FLUTE,
    HELD,
    KOTO,
    PIANO,
    RATE,
    TIMES,
    VIOLIN,
    fluid,
    glide,
    level,
    midirenderer,
    needs_fluidsynth,
    needs_midirenderer,
    onsets,
    pitch_of,
    stretch,
)

from etude.adapters.errors import UserError
from etude.adapters.sound.performance import DAMPING, Bend, Performance, PlayedNote, Stroke, portamento, repeated
from etude.adapters.sound.synthesis import BLOCK, EARLIEST, FluidSynth, Preset
from etude.adapters.sound.voice import voice


@pytest.fixture(
    scope="module", params=[pytest.param(midirenderer, marks=needs_midirenderer), pytest.param(fluid, marks=needs_fluidsynth)]
)
def engine(request):
    return request.param()


@pytest.fixture(scope="module")
def render(engine):
    """A function from program, pitch and performance to samples."""

    def played(program, pitch, performance=HELD, seconds=1.4, **note):
        return engine.render(Preset(program), [PlayedNote(performance, pitch, **note)], seconds)

    return played


@pytest.mark.parametrize("program", [PIANO, VIOLIN, FLUTE])
@pytest.mark.parametrize("pitch", [60, 60.37, 66.5, 71.75])
def test_a_note_has_the_pitch_asked_for(render, program, pitch):
    assert pitch_of(stretch(render(program, pitch), 0.2, 1.0), pitch) == pytest.approx(pitch, abs=0.12)
    whole = pitch_of(stretch(render(program, round(pitch)), 0.2, 1.0), pitch)
    moved = pitch_of(stretch(render(program, pitch), 0.2, 1.0), pitch) - whole
    assert moved == pytest.approx(pitch - round(pitch), abs=0.02), "samples may be out of tune, fractions are not"


def test_a_rendering_is_as_long_as_asked_for_mono_and_its_level_follows_the_velocity(render):
    for seconds in (0.5, 1.4, 0.5123):
        samples = render(PIANO, 40, seconds=seconds)
        assert (samples.shape, samples.dtype) == ((round(seconds * RATE),), np.float32)
    assert level(render(PIANO, 60, velocity=40), 0, 1) < 0.5 * level(render(PIANO, 60, velocity=120), 0, 1)
    louder = Performance((Stroke(0.0, 1.0, louder=20),))
    np.testing.assert_allclose(render(PIANO, 60, louder, velocity=100), render(PIANO, 60, velocity=120), atol=2e-4)


def test_nothing_played_is_silence(engine):
    assert not engine.render(Preset(PIANO), [], 0.25).any()
    assert len(engine.render(Preset(PIANO), [], 0.25)) == RATE // 4


@pytest.mark.parametrize("interval", [3, -2])
def test_a_bend_moves_the_pitch(render, interval):
    samples = render(FLUTE, 70.3, glide(interval))
    assert pitch_of(stretch(samples, 0.1, 0.4), 70.3) == pytest.approx(70.3, abs=0.15)
    assert pitch_of(stretch(samples, 0.7, 1.2), 70.3 + interval) == pytest.approx(70.3 + interval, abs=0.15)
    after = pitch_of(stretch(render(FLUTE, 70.3), 0.2, 1.0), 70.3)
    assert after == pytest.approx(70.3, abs=0.15), "the next note starts without the bend of the one before"


def test_notes_at_once_bend_alone(engine):
    notes = [PlayedNote(glide(3), 62), PlayedNote(HELD, 74.5), PlayedNote(glide(-2), 86)]
    samples = engine.render(Preset(FLUTE), notes, 1.2)
    for note, end in zip(notes, (65, 74.5, 84), strict=True):
        assert pitch_of(stretch(samples, 0.1, 0.4), note.pitch) == pytest.approx(note.pitch, abs=0.15)
        assert pitch_of(stretch(samples, 0.7, 1.0), end) == pytest.approx(end, abs=0.15)


def test_strokes_sound_at_their_own_pitch(render):
    samples = render(FLUTE, 70, Performance(repeated(4, 0.3, above=2.0)))
    heard = [pitch_of(stretch(samples, 0.3 * k + 0.1, 0.3 * (k + 1)), 71) for k in range(4)]
    assert heard == pytest.approx([70, 72, 70, 72], abs=0.15)


def test_a_bend_goes_on_over_the_strokes(render):
    samples = render(FLUTE, 70, Performance(repeated(3, 0.4, above=5.0), Bend(portamento(0.3, 0.2, 2), TIMES)))
    assert pitch_of(stretch(samples, 0.1, 0.3), 70) == pytest.approx(70, abs=0.15)
    assert pitch_of(stretch(samples, 0.6, 0.8), 77) == pytest.approx(77, abs=0.15)
    assert pitch_of(stretch(samples, 0.9, 1.2), 72) == pytest.approx(72, abs=0.15)


def test_more_strokes_than_channels_are_all_heard(engine):
    notes = [PlayedNote(Performance((Stroke(0.0, 0.1),), damped=True), 60 + k % 12, onset=0.1 * k + 0.1) for k in range(40)]
    found = onsets(engine.render(Preset(PIANO), notes, 4.2), 40)
    assert np.abs(found - [note.onset for note in notes]).max() < 0.012


def test_the_order_of_notes_does_not_matter(engine):
    notes = [PlayedNote(HELD, pitch, onset=0.2 * k - 0.02) for k, pitch in enumerate((60, 64.2, 67))]
    one, other = (engine.render(Preset(VIOLIN), order, 1.5) for order in (notes, notes[::-1]))
    np.testing.assert_allclose(one, other, atol=2 / 32768)


def test_a_damped_string_is_silent_and_another_rings_on(render):
    strings = (Stroke(0.1, 0.6),)
    damped, released = (render(KOTO, 62, Performance(strings, damped=damped)) for damped in (True, False))
    for samples in (damped, released):
        assert level(samples, 0.57, 0.6) > 0.1 * level(samples, 0.1, 0.2)
    assert level(damped, 0.6 + DAMPING + 0.01, 1.4) < 1e-3 * level(damped, 0.1, 0.2)
    assert level(released, 0.6 + DAMPING + 0.01, 1.0) > 0.05 * level(released, 0.1, 0.2)
    np.testing.assert_array_equal(np.abs(render(KOTO, 62, Performance(strings)) - released) <= 2 / 32768, True)


def test_a_damped_string_does_not_sound_again_when_its_channel_is_used_again(engine):
    later = []
    for velocity in (1, 127):
        damped = Performance((Stroke(0.0, 0.02),), damped=True)
        notes = [PlayedNote(damped, 55, velocity), *(PlayedNote(damped, 67, 1, 0.02 * k) for k in range(1, 15))]
        later.append(engine.render(Preset(KOTO), [*notes, PlayedNote(HELD, 79, 100, onset=0.4)], 1.0))
    soft, loud = later
    assert np.abs(loud - soft).max() > 0.2
    assert np.abs(stretch(loud - soft, 0.4, 1.0)).max() < 0.005


def test_a_muted_note_is_shorter_and_duller(render):
    whole = render(PIANO, 55)
    muted = render(PIANO, 55, Performance(HELD.strokes, mute=(0.05, 1000.0)))
    assert len(muted) == len(whole)

    def late(samples):
        return np.square(stretch(samples, 0.3, 1.0)).sum() / np.square(samples).sum()

    assert late(muted) < 1e-3 < 0.1 < late(whole)
    brightness = [np.square(np.diff(stretch(samples, 0, 0.1))).sum() for samples in (muted, whole)]
    assert brightness[0] < 0.5 * brightness[1]


def test_muting_one_note_leaves_the_others_alone(engine):
    open_string = PlayedNote(HELD, 55)
    muted = PlayedNote(Performance(HELD.strokes, mute=(0.05, 1000.0)), 79, onset=0.5)
    both, alone, other = (engine.render(Preset(PIANO), notes, 1.4) for notes in ([open_string, muted], [open_string], [muted]))
    np.testing.assert_allclose(both, alone + other, atol=4 / 32768)
    assert np.abs(stretch(other, 0, 0.5)).max() <= 2 / 32768
    first = engine.render(Preset(PIANO), [replace(muted, onset=0.0)], 0.5)
    assert level(other, 0.5, 0.6) == pytest.approx(level(first, 0, 0.1), rel=0.05), "it decays from its own onset on"


def test_a_latency_is_measured_and_made_up_for(engine):
    """The sound begins at the onset, for every string; energy tells it, not the amplitude by which latency is measured."""
    spots = [(0.1 + 0.4 * k, pitch) for k, pitch in enumerate((55, 57, 58, 62, 63, 67, 69, 70, 74, 75, 79, 81))]
    notes = [PlayedNote(Performance((Stroke(0.0, 0.3),), damped=True), pitch, onset=at) for at, pitch in spots]
    errors = {}
    for early in (True, False):
        played = [note.ahead(voice(engine, Preset(KOTO), note.pitch).latency) if early else note for note in notes]
        audio = engine.render(Preset(KOTO), played, 5.0)
        audio /= np.abs(audio).max() / 0.7
        late = []
        for at, _ in spots:
            around = stretch(audio, at - 0.05, at + 0.1)
            energy = np.convolve(around**2, np.ones(24) / 24, "same")
            rise = np.log(energy[24:] + 1e-5) - np.log(energy[:-24] + 1e-5)
            late.append((np.argmax(rise) + 12) / RATE - 0.05)
        errors[early] = np.abs(late)
    assert errors[True].max() < 0.002 + BLOCK * isinstance(engine, FluidSynth) / RATE, "to the block it computes at once"
    assert errors[False].min() > 0.002
    assert errors[True].mean() < 0.3 * errors[False].mean()


def test_a_key_can_go_down_before_the_rendering_begins(engine):
    note = PlayedNote(Performance((Stroke(0.0, 0.5),)), 62)
    latency = voice(engine, Preset(KOTO), 62).latency
    assert latency > 0.003
    on_time, early = (engine.render(Preset(KOTO), [each], 0.5) for each in (note, note.ahead(latency)))
    shift = round(latency * RATE)
    moved = [np.square(early[: 2000 - k] - on_time[k:2000]).sum() for k in range(2 * shift)]
    assert np.argmin(moved) == pytest.approx(shift, abs=BLOCK)
    assert len(early) == len(on_time)


def test_a_voice_rings_until_it_has_decayed(engine):
    ring = voice(engine, Preset(KOTO), 74).ring
    audio = np.abs(engine.render(Preset(KOTO), [PlayedNote(Performance((Stroke(0.0, 3.0),)), 74)], 3.0))
    end = round((voice(engine, Preset(KOTO), 74).latency + ring) * RATE)
    decibels = 20 * np.log10(audio / audio.max() + 1e-9)
    assert decibels[end - 120 :].max() > -34.2
    assert decibels[end + 120 :].max() < -34
    assert voice(engine, Preset(CHOIR), 74).ring > 2.5, "a choir does not decay"


def test_a_latency_is_no_longer_than_what_can_be_made_up_for(engine):
    assert voice(engine, Preset(FLUTE), 36).latency == EARLIEST


def test_a_pitch_without_a_sample_is_told(engine):
    with pytest.raises(UserError, match=r"^program 107 is silent at MIDI pitch 127 \(choose another program\)$"):
        voice(engine, Preset(KOTO), 127)
