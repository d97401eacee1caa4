"""What is particular to either engine, and what is told of one that is not there."""

import struct
import sys

import numpy as np
import pytest
from rendered import (
    FLUTE,
    HELD,
    PIANO,
    RATE,
    SOUNDFONT,
    VIOLIN,
    fluid,
    glide,
    midirenderer,
    needs_fluidsynth,
    needs_midirenderer,
    stretch,
)

from etude.adapters.errors import UserError
from etude.adapters.sound.performance import Performance, PlayedNote, Stroke
from etude.adapters.sound.synthesis import FluidSynth, Preset


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


def test_missing_libraries_are_one_line_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "midirenderer", None)
    with pytest.raises(UserError, match=r"^the synthesiser midirenderer is not installed \(pip install 'etude\[demo\]'\)$"):
        midirenderer()
    monkeypatch.setitem(sys.modules, "fluidsynth", None)
    with pytest.raises(UserError, match=r"^pyfluidsynth is not installed \(pip install 'etude\[pretrain\]'\)$"):
        fluid()
