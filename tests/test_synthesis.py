"""Rendering by either engine from the SoundFont that pretty_midi ships: what was asked for is what sounds, and when."""

import struct
import sys
from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import librosa
import numpy as np
import pretty_midi
import pytest

from etude.adapters.errors import UserError
from etude.adapters.sound.performance import (
    DAMPING,
    Bend,
    Performance,
    PlayedNote,
    Stroke,
    keystrokes,
    portamento,
    repeated,
    vibrato,
)
from etude.adapters.sound.synthesis import BLOCK, EARLIEST, FluidSynth, MidiRenderer, Preset, voice

try:
    import fluidsynth
except (ImportError, OSError):
    fluidsynth = None

needs_fluidsynth = pytest.mark.skipif(fluidsynth is None, reason="FluidSynth is not installed")
needs_midirenderer = pytest.mark.skipif(find_spec("midirenderer") is None, reason="midirenderer is not installed")
RATE = 24_000
SOUNDFONT = Path(pretty_midi.__file__).parent / "TimGM6mb.sf2"
PIANO, VIOLIN, CHOIR, FLUTE, KOTO = 0, 40, 52, 73, 107
HELD = Performance((Stroke(0.0, 1.0),))
TIMES = tuple(np.arange(0, 1.5, 0.005).tolist())


def midirenderer():
    return MidiRenderer(SOUNDFONT, RATE)


def fluid():
    return FluidSynth([str(SOUNDFONT)], RATE)


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


def pitch_of(samples, near):
    """MIDI pitch of the strongest partial within 2 semitones of ``near``."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 19))
    pitches = 69 + 12 * np.log2(np.maximum(np.fft.rfftfreq(1 << 19, 1 / RATE), 1) / 440)
    inside = np.abs(pitches - near) < 2
    return pitches[inside][np.argmax(spectrum[inside])]


def stretch(samples, start, stop):
    return samples[round(start * RATE) : round(stop * RATE)]


def level(samples, start, stop):
    return np.sqrt(np.mean(np.square(stretch(samples, start, stop))))


def glide(interval):
    return Performance((Stroke(0.0, 1.2),), Bend(portamento(0.4, 0.2, interval), TIMES))


def onsets(samples, count):
    """Seconds of the ``count`` steepest rises of spectral flux, in order."""
    levels = np.log1p(100 * np.abs(librosa.stft(samples / np.abs(samples).max(), n_fft=256, hop_length=24)))
    flux = np.maximum(0, levels[:, 6:] - levels[:, :-6]).sum(axis=0)  # index i is 3 ms + i ms
    found = []
    for _ in range(count):
        found.append(int(np.argmax(flux)))
        flux[max(0, found[-1] - 30) : found[-1] + 30] = 0
    return (np.sort(found) + 3) / 1000


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


@needs_midirenderer
def test_midirenderer_has_one_soundfont_and_its_first_bank():
    for preset in (Preset(PIANO, bank=8), Preset(PIANO, soundfont=1)):
        with pytest.raises(ValueError, match="one SoundFont"):
            midirenderer().render(preset, [PlayedNote(HELD, 60)], 0.5)


@needs_midirenderer
def test_midirenderer_gives_the_same_bits_whatever_was_rendered_before():
    one, again = midirenderer(), midirenderer()
    again.render(Preset(PIANO), [PlayedNote(glide(3), 40, 127)], 0.3)
    notes = [PlayedNote(glide(2), 64.2)]
    np.testing.assert_array_equal(one.render(Preset(VIOLIN), notes, 1.0), again.render(Preset(VIOLIN), notes, 1.0))


@needs_fluidsynth
def test_fluidsynth_gives_the_same_samples_but_for_the_last_bit_of_either_channel_which_it_dithers():
    synthesiser = fluid()
    synthesiser.render(Preset(VIOLIN), [PlayedNote(HELD, 60)], 0.5)  # the first note of all begins otherwise
    first = synthesiser.render(Preset(VIOLIN), [PlayedNote(HELD, 64.2)], 1.4)
    assert len(synthesiser.render(Preset(PIANO), [PlayedNote(glide(2), 40)], 0.5123)) % 64
    assert np.abs(synthesiser.render(Preset(VIOLIN), [PlayedNote(HELD, 64.2)], 1.4) - first).max() <= 2 / 32768
    assert np.abs(first).max() > 0.02


@needs_fluidsynth
@pytest.mark.parametrize("seconds", [0.3337, 0.5, 1.0])
@pytest.mark.parametrize("damped", [True, False])
def test_nothing_of_a_loud_note_is_in_the_soft_one_after_it(seconds, damped):
    soft = [PlayedNote(Performance((Stroke(0.4, 0.8),)), 70.3, 20)]
    alone, used = fluid().render(Preset(FLUTE), soft, 1.3), fluid()
    cut = Performance((Stroke(0.0, seconds - 0.01 if damped else 1.0),), glide(3).bend, damped=damped)
    loud = used.render(Preset(VIOLIN), [PlayedNote(cut, 50, 127)], seconds)
    assert np.abs(loud[-64:]).max() > 0.02, "cut off while it sounds"
    after = used.render(Preset(FLUTE), soft, 1.3)
    assert np.abs(alone).max() > 0.002
    assert np.abs(stretch(after, 0, 0.4)).max() <= 1 / 32768
    assert np.abs(after - alone).max() <= 2 / 32768


@needs_fluidsynth
def test_fluidsynth_knows_the_presets_of_its_files():
    """Bank, program and name as the ``phdr`` chunk has them, laid out as the SoundFont specification says."""
    content = SOUNDFONT.read_bytes()
    at = content.index(b"phdr")
    (size,) = struct.unpack_from("<I", content, at + 4)
    records = [content[at + 8 + k : at + 8 + k + 38] for k in range(0, size - 38, 38)]  # the last one only ends the list
    in_file = {struct.unpack_from("<HH", record, 20): record[:20].split(b"\0")[0].decode() for record in records}
    found = FluidSynth([str(SOUNDFONT)] * 2, RATE).presets()
    assert found == {Preset(*numbers, soundfont): name for numbers, name in in_file.items() for soundfont in (0, 1)}
    assert list(found) == sorted(found, key=lambda preset: (preset.soundfont, preset.bank, preset.program))
    drums = next(preset for preset in found if preset.bank == 128)
    assert np.abs(fluid().render(drums, [PlayedNote(HELD, 38)], 0.5)).max() > 0.01


@needs_fluidsynth
def test_a_damaged_soundfont_is_one_error_and_nothing_else_on_the_terminal(tmp_path, capfd):
    damaged = tmp_path / "damaged.sf2"
    damaged.write_bytes(SOUNDFONT.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"damaged\.sf2: is not a SoundFont, or not all of one"):
        FluidSynth([str(damaged)], RATE)
    assert capfd.readouterr() == ("", "")


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


def test_missing_libraries_are_one_line_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "midirenderer", None)
    with pytest.raises(UserError, match=r"^the synthesiser midirenderer is not installed \(pip install 'etude\[demo\]'\)$"):
        midirenderer()
    monkeypatch.setitem(sys.modules, "fluidsynth", None)
    with pytest.raises(UserError, match=r"^pyfluidsynth is not installed \(pip install 'etude\[pretrain\]'\)$"):
        fluid()
