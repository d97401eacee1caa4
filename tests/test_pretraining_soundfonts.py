"""Notes rendered from the SoundFont that pretty_midi ships: what was asked for is what sounds."""

import struct
from pathlib import Path

import numpy as np
import pretty_midi
import pytest
from numpy.random import default_rng

from etude.adapters.errors import UserError
from etude.adapters.pretraining.soundfonts import DRUM_KEYS, PROGRAMS, Preset, SoundFonts
from etude.adapters.pretraining.techniques import PLAYERS, Performance

try:
    import fluidsynth  # noqa: F401
except (ImportError, OSError):
    pytest.skip("FluidSynth is not installed", allow_module_level=True)

RATE = 24_000
SOUNDFONT = Path(pretty_midi.__file__).parent / "TimGM6mb.sf2"
PIANO, VIOLIN, FLUTE = 0, 40, 73
HELD = Performance(((0.0, 1.0, 0.0),))


@pytest.fixture(scope="module")
def soundfonts():
    return SoundFonts([str(SOUNDFONT)], RATE)


@pytest.fixture(scope="module")
def render(soundfonts):
    """A function from program, pitch and performance to samples."""
    number = soundfonts.instruments[0].presets[0].soundfont

    def played(program, pitch, performance=HELD, longest=2.0):
        return soundfonts.render(Preset(number, 0, program), pitch, 100, performance, longest)

    return played


def pitch_of(samples, near):
    """MIDI pitch of the strongest partial within 2 semitones of ``near``."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 19))
    pitches = 69 + 12 * np.log2(np.maximum(np.fft.rfftfreq(1 << 19, 1 / RATE), 1) / 440)
    inside = np.abs(pitches - near) < 2
    return pitches[inside][np.argmax(spectrum[inside])]


def stretch(samples, start, stop):
    return samples[round(start * RATE) : round(stop * RATE)]


def presets_in_file():
    """Bank and program of every preset, read from the ``phdr`` chunk as the SoundFont specification lays it out."""
    content = SOUNDFONT.read_bytes()
    at = content.index(b"phdr")
    (size,) = struct.unpack_from("<I", content, at + 4)
    records = [content[at + 8 + k : at + 8 + k + 38] for k in range(0, size - 38, 38)]  # the last one only ends the list
    return {struct.unpack_from("<HH", record, 20)[::-1]: record[:20].split(b"\0")[0].decode() for record in records}


def test_instruments_are_the_presets_of_the_file_and_the_drum_keys(soundfonts):
    in_file = presets_in_file()
    expected = [f"{bank}:{program} {name}" for (bank, program), name in sorted(in_file.items()) if bank < 128 and program < 119]
    assert len(expected) > 100
    drums = [f"drum {key}" for key in DRUM_KEYS]
    assert [instrument.name for instrument in soundfonts.instruments] == [*expected, *drums]
    kits = {(128, program) for bank, program in in_file if bank == 128}
    assert {(preset.bank, preset.program) for preset in soundfonts.instruments[-1].presets} == kits
    assert soundfonts.shares.sum() == pytest.approx(1)
    assert soundfonts.shares[0] > soundfonts.shares[-1] > 0
    assert all(program in PROGRAMS for preset in soundfonts.instruments[:-47] for program in [preset.presets[0].program])


def test_the_same_preset_of_two_soundfonts_is_one_instrument(soundfonts):
    twice = SoundFonts([str(SOUNDFONT)] * 2, RATE)
    assert [one.name for one in twice.instruments] == [one.name for one in soundfonts.instruments]
    assert all(len({preset.soundfont for preset in one.presets}) == 2 for one in twice.instruments)


@pytest.mark.parametrize("program", [PIANO, VIOLIN, FLUTE])
@pytest.mark.parametrize("pitch", [60, 60.37, 66.5, 71.75])
def test_a_note_has_the_pitch_asked_for(render, program, pitch):
    assert pitch_of(stretch(render(program, pitch), 0.2, 1.0), pitch) == pytest.approx(pitch, abs=0.12)
    whole = pitch_of(stretch(render(program, round(pitch)), 0.2, 1.0), pitch)
    moved = pitch_of(stretch(render(program, pitch), 0.2, 1.0), pitch) - whole
    assert moved == pytest.approx(pitch - round(pitch), abs=0.02), "samples may be out of tune, fractions are not"


def test_the_same_arguments_give_the_same_samples(render):
    """But for the last bit of either channel, which the synthesiser dithers."""
    first = render(VIOLIN, 64.2)
    assert len(render(PIANO, 40, PLAYERS["upward_portamento"](1.0, default_rng(0)), longest=0.5123)) % 64
    assert np.abs(render(VIOLIN, 64.2) - first).max() <= 2 / 32768
    assert np.abs(first).max() > 0.02


@pytest.mark.parametrize("seconds", [0.3337, 0.5, 1.0])
def test_nothing_of_a_loud_note_is_in_the_soft_one_after_it(soundfonts, seconds):
    number = soundfonts.instruments[0].presets[0].soundfont
    late = Performance(((0.4, 0.8, 0.0),))

    def soft(synthesiser):
        return synthesiser.render(Preset(number, 0, FLUTE), 70.3, 20, late, 1.3)

    alone = soft(SoundFonts([str(SOUNDFONT)], RATE))
    loud = soundfonts.render(Preset(number, 0, VIOLIN), 50, 127, HELD, seconds)
    assert np.abs(loud[-64:]).max() > 0.05, "cut off while it sounds"
    after = soft(soundfonts)
    assert np.abs(alone).max() > 0.002
    assert np.abs(stretch(after, 0, 0.4)).max() <= 1 / 32768
    assert np.abs(after - alone).max() <= 2 / 32768


def test_a_note_ends_in_time(render):
    assert len(render(FLUTE, 70)) == round(1.4 * RATE), "a second and its release"
    assert len(render(FLUTE, 70, longest=0.5)) == RATE // 2
    short = render(FLUTE, 70, Performance(((0.0, 0.1, 0.0),)))
    level = np.abs(short)
    assert level[round(0.45 * RATE) :].max() < 0.1 * level.max()


def test_damping_shortens_a_note(render):
    whole = render(PIANO, 55)
    damped = render(PIANO, 55, Performance(HELD.strokes, damping=(0.05, 1000.0)))
    assert len(damped) == len(whole)

    def late(samples):
        return np.square(stretch(samples, 0.3, 1.0)).sum() / np.square(samples).sum()

    assert late(damped) < 1e-3 < 0.1 < late(whole)
    brightness = [np.square(np.diff(stretch(samples, 0, 0.1))).sum() for samples in (damped, whole)]
    assert brightness[0] < 0.5 * brightness[1]


@pytest.mark.parametrize("interval", [3, -2])
def test_a_bend_moves_the_pitch(render, interval):
    glide = Performance(((0.0, 1.2, 0.0),), lambda time: interval * min(max((time - 0.4) / 0.2, 0), 1))
    samples = render(FLUTE, 70.3, glide)
    assert pitch_of(stretch(samples, 0.1, 0.4), 70.3) == pytest.approx(70.3, abs=0.15)
    assert pitch_of(stretch(samples, 0.7, 1.2), 70.3 + interval) == pytest.approx(70.3 + interval, abs=0.15)
    after = pitch_of(stretch(render(FLUTE, 70.3), 0.2, 1.0), 70.3)
    assert after == pytest.approx(70.3, abs=0.15), "the next note starts without the bend of the one before"


def test_strokes_sound_at_their_own_pitch(render):
    samples = render(FLUTE, 70, Performance(tuple((0.3 * k, 0.3 * (k + 1), 2.0 * (k % 2)) for k in range(4))))
    heard = [pitch_of(stretch(samples, 0.3 * k + 0.1, 0.3 * (k + 1)), 71) for k in range(4)]
    assert heard == pytest.approx([70, 72, 70, 72], abs=0.15)


def test_draws_depend_on_their_generator_alone_and_say_what_they_are(soundfonts):
    by_name = {instrument.name: instrument for instrument in soundfonts.instruments}
    pizzicato = next(instrument for instrument in soundfonts.instruments if instrument.name.startswith("0:45 "))
    for seed in range(6):
        one, again = (soundfonts.draw(soundfonts.instruments[0], 0.5, 0.5, default_rng(seed)) for _ in range(2))
        assert (one.pitch, one.technique, len(one.samples)) == (again.pitch, again.technique, len(again.samples))
        assert len(one.samples) <= RATE // 2
        drum = soundfonts.draw(by_name["drum 38"], 0.5, 0.5, default_rng(seed))
        assert (drum.pitch, drum.technique) == (None, None)
        assert np.abs(drum.samples).max() > 0.01
        assert soundfonts.draw(pizzicato, 0.0, 0.5, default_rng(seed)).technique == "pizzicato"
        assert soundfonts.draw(soundfonts.instruments[0], 1.0, 0.5, default_rng(seed)).technique == "plain"
    techniques = {soundfonts.draw(soundfonts.instruments[0], 0.0, 0.2, default_rng(seed)).technique for seed in range(60)}
    assert techniques == set(PLAYERS) - {"plain"}


def test_a_draw_comes_with_the_performance_that_was_rendered(soundfonts, monkeypatch):
    played, real = [], SoundFonts.render
    monkeypatch.setattr(SoundFonts, "render", lambda *arguments: played.append(arguments) or real(*arguments))
    for instrument in (soundfonts.instruments[0], soundfonts.instruments[-1]):
        for seed in range(8):
            drawn = soundfonts.draw(instrument, 0.3, 0.5, default_rng(seed))
            assert drawn.performance is played[-1][4]
            if instrument.key is None:
                assert drawn.pitch == played[-1][2]
            else:
                assert drawn.performance.bend is drawn.performance.damping is None


def test_a_damaged_soundfont_is_one_error_and_nothing_else_on_the_terminal(tmp_path, capfd):
    damaged = tmp_path / "damaged.sf2"
    damaged.write_bytes(SOUNDFONT.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"damaged\.sf2: is not a SoundFont, or not all of one"):
        SoundFonts([str(damaged)], RATE)
    assert capfd.readouterr() == ("", "")
