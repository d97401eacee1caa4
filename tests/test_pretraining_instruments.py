"""Notes of sampled instruments: those of the SoundFont that pretty_midi ships."""

from pathlib import Path

import numpy as np
import pretty_midi
import pytest
from numpy.random import default_rng

from etude.adapters.pretraining.instruments import DRUM_KEYS, PROGRAMS, SampledInstruments, _instruments
from etude.adapters.pretraining.techniques import PLAYERS
from etude.adapters.sound.synthesis import FluidSynth, Preset

try:
    import fluidsynth
except (ImportError, OSError):
    fluidsynth = None


RATE = 24_000
SOUNDFONT = Path(pretty_midi.__file__).parent / "TimGM6mb.sf2"


@pytest.fixture(scope="module")
def sampled():
    if fluidsynth is None:
        pytest.skip("FluidSynth is not installed")
    return SampledInstruments([str(SOUNDFONT)], RATE)


def test_instruments_are_the_presets_of_the_file_and_the_drum_keys(sampled):
    in_file = {(preset.bank, preset.program): name for preset, name in FluidSynth([str(SOUNDFONT)], RATE).presets().items()}
    expected = [f"{bank}:{program} {name}" for (bank, program), name in sorted(in_file.items()) if bank < 128 and program < 119]
    assert len(expected) > 100
    drums = [f"drum {key}" for key in DRUM_KEYS]
    assert [instrument.name for instrument in sampled.instruments] == [*expected, *drums]
    kits = {(128, program) for bank, program in in_file if bank == 128}
    assert {(preset.bank, preset.program) for preset in sampled.instruments[-1].presets} == kits
    assert sampled.shares.sum() == pytest.approx(1)
    assert sampled.shares[0] > sampled.shares[-1] > 0
    assert all(program in PROGRAMS for preset in sampled.instruments[:-47] for program in [preset.presets[0].program])


def test_presets_that_are_another_ones_with_a_wheel_are_no_instruments():
    """Kits of any number have the drum keys, and an instrument is named by the first SoundFont that has it."""
    violin, again, other = Preset(40), Preset(40, soundfont=1), Preset(40, bank=8)
    wheel, drums, brushes, phone = Preset(40, bank=17), Preset(0, bank=128), Preset(127, 128, 1), Preset(124)
    names = {violin: "Violin", other: "Slow Violin", wheel: "Violin Expr.", drums: "Kit", phone: "Telephone"}
    found = _instruments({**names, again: "Fiddle", brushes: "Brushes"})
    assert [(one.name, one.presets, one.key) for one in found] == [
        ("0:40 Violin", (violin, again), None),
        ("8:40 Slow Violin", (other,), None),
        *((f"drum {key}", (drums, brushes), key) for key in range(35, 82)),
    ]
    assert _instruments({phone: "Telephone", wheel: "Violin Expr."}) == ()


def test_the_same_preset_of_two_soundfonts_is_one_instrument(sampled):
    twice = SampledInstruments([str(SOUNDFONT)] * 2, RATE)
    assert [one.name for one in twice.instruments] == [one.name for one in sampled.instruments]
    assert all(len({preset.soundfont for preset in one.presets}) == 2 for one in twice.instruments)


def test_draws_depend_on_their_generator_alone_and_say_what_they_are(sampled):
    by_name = {instrument.name: instrument for instrument in sampled.instruments}
    pizzicato = next(instrument for instrument in sampled.instruments if instrument.name.startswith("0:45 "))
    for seed in range(6):
        one, again = (sampled.draw(sampled.instruments[0], 0.5, 0.5, default_rng(seed)) for _ in range(2))
        assert (one.pitch, one.technique, len(one.samples)) == (again.pitch, again.technique, len(again.samples))
        assert len(one.samples) <= RATE // 2
        drum = sampled.draw(by_name["drum 38"], 0.5, 0.5, default_rng(seed))
        assert (drum.pitch, drum.technique) == (None, None)
        assert np.abs(drum.samples).max() > 0.01
        assert sampled.draw(pizzicato, 0.0, 0.5, default_rng(seed)).technique == "pizzicato"
        assert sampled.draw(sampled.instruments[0], 1.0, 0.5, default_rng(seed)).technique == "plain"
    techniques = {sampled.draw(sampled.instruments[0], 0.0, 0.2, default_rng(seed)).technique for seed in range(60)}
    assert techniques == set(PLAYERS) - {"plain"}


def test_a_draw_comes_with_the_performance_that_was_rendered(sampled, monkeypatch):
    played, real = [], FluidSynth.render
    monkeypatch.setattr(FluidSynth, "render", lambda *arguments: played.append(arguments) or real(*arguments))
    for instrument in (sampled.instruments[0], sampled.instruments[-1]):
        for seed in range(8):
            drawn = sampled.draw(instrument, 0.3, 0.5, default_rng(seed))
            _, preset, (note,), _ = played[-1]
            assert preset in instrument.presets
            assert drawn.performance is note.performance
            if instrument.key is None:
                assert drawn.pitch == note.pitch
            else:
                assert note.pitch == instrument.key
                assert drawn.performance.bend is drawn.performance.mute is None


def test_a_note_ends_in_time(sampled):
    """When it is as long as allowed, or .4 s after its key went up."""
    for seed in range(20):
        drawn = sampled.draw(sampled.instruments[0], 0.5, 1.3, default_rng(seed))
        assert len(drawn.samples) == round(min(1.3, drawn.performance.seconds + 0.4) * RATE)
    flute = next(instrument for instrument in sampled.instruments if instrument.name.startswith("0:73 "))
    notes = (sampled.draw(flute, 0.0, 2.0, default_rng(seed)) for seed in range(200))
    short = next(note for note in notes if note.technique == "staccato")
    level = np.abs(short.samples)
    assert level[round((short.performance.seconds + 0.35) * RATE) :].max() < 0.1 * level.max()
