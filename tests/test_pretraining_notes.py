"""What clips of pretraining are made of: notes of sampled instruments and their techniques, recorded notes, and timbre.

Instruments are those of the SoundFont that pretty_midi ships; descriptors of timbre are compared with closed forms, librosa and
sounds whose order is known.
"""

import csv
import os
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import librosa
import numpy as np
import pretty_midi
import pytest
import soundfile
from numpy.random import default_rng
from scipy.signal import butter, periodogram, sosfilt

from etude.adapters.errors import UserError
from etude.adapters.pretraining import source_notes as module
from etude.adapters.pretraining.instruments import DRUM_KEYS, PROGRAMS, SampledInstruments, _instruments
from etude.adapters.pretraining.source_notes import SourceNote, draw, source_notes
from etude.adapters.pretraining.techniques import PLAYERS, TECHNIQUES, sampled_technique
from etude.adapters.pretraining.timbre import CENTRES, DESCRIPTORS, SCALES, describe
from etude.adapters.recipe.pretraining import RecordingsConfig, load_pretrain_recipe
from etude.adapters.sound.synthesis import FluidSynth, Preset

try:
    import fluidsynth
except (ImportError, OSError):
    fluidsynth = None

RATE = 24_000
SHARED = Path(os.environ.get("ETUDE_SHARED", Path(__file__).parents[2] / "shared"))
SOUNDFONT = Path(pretty_midi.__file__).parent / "TimGM6mb.sf2"
HELD = (0.08, 0.4, 1.5)
TIMES = np.arange(0, 0.5, 0.001)
ROWS = [
    ("a", "mine", "lute", "plucked", "40", "train"),
    ("b", "mine", "lute", "strummed", "41", "train"),
    ("c", "mine", "viol", "bowed", "", "train"),
    ("d", "theirs", "lute", "plucked", "42", "train"),
    ("e", "mine", "lute", "plucked", "43", "validation"),
    ("f", "mine", "lute", "plucked", "44", "test"),
]


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


def write_tone(path, seconds=0.4, silence=0.0, level=0.5):
    times = np.arange(round(seconds * RATE)) / RATE
    sound = level * np.sin(2 * np.pi * 220 * times) * np.exp(-3 * times)
    soundfile.write(path, np.concatenate([np.zeros(round(silence * RATE)), sound]), RATE)


def table(folder, techniques=None):
    """The CSV of ``ROWS``, with other ``techniques`` if given."""
    lines = ["path,source,instrument,technique,midi,split,licence"]
    for k, (name, source, instrument, technique, midi, split) in enumerate(ROWS):
        technique = techniques[k] if techniques else technique
        lines.append(f"{name}.flac,{source},{instrument},{technique},{midi},{split},CC0-1.0")
    (folder / "notes.csv").write_text("\n".join(lines) + "\n")
    return folder / "notes.csv"


@pytest.fixture
def notes(tmp_path):
    for name, *_ in ROWS:
        write_tone(tmp_path / f"{name}.flac")
    return table(tmp_path)


def chosen(notes, sources=("mine",), longest=1.0):
    return source_notes(RecordingsConfig(notes=str(notes), sources=sources), longest)


def complaints(notes, **options):
    with pytest.raises(UserError) as caught:
        chosen(notes, **options)
    return [str(problem) for problem in caught.value.problems]


def test_only_training_notes_of_the_chosen_sources_are_taken(notes):
    found = chosen(notes)
    assert [(one.path.stem, one.instrument, one.pitch) for one in found] == [
        ("a", "lute", 40.0),
        ("b", "lute", 41.0),
        ("c", "viol", None),
    ]
    assert [one.path.stem for one in chosen(notes, sources=None)] == ["a", "b", "c", "d"]
    with pytest.raises(ValueError, match="train"):
        RecordingsConfig(notes=str(notes), split="test")


def test_files_of_other_splits_and_sources_are_never_opened(notes, monkeypatch):
    opened, real = set(), module.read_window

    def spy(path, *arguments):
        opened.add(path.stem)
        return real(path, *arguments)

    monkeypatch.setattr(module, "read_window", spy)
    for name in "def":
        (notes.parent / f"{name}.flac").write_text("not audio at all")
    found, rng = chosen(notes), default_rng(0)
    drawn = {draw(found, RATE, 1.0, rng)[0].path.stem for _ in range(60)}
    assert drawn == opened == {"a", "b", "c"}


@pytest.mark.parametrize("techniques", [["bowed"] * 6, [""] * 6, list("uvwxyz")])
def test_techniques_change_nothing(notes, techniques):
    before = chosen(notes)
    assert chosen(table(notes.parent, techniques)) == before
    assert {field.name for field in fields(SourceNote)} == {"path", "instrument", "pitch", "source", "licence"}


def test_a_drawn_note_is_the_recording_from_its_start(notes):
    (one,) = [note for note in chosen(notes) if note.path.stem == "a"]
    whole, _ = soundfile.read(one.path, dtype="float32")
    note, samples = draw([one], RATE, 1.0, default_rng(0))
    assert note is one
    np.testing.assert_array_equal(samples, whole)
    assert len(draw([one], RATE, -0.4, default_rng(0))[1]) == round(0.1 * RATE), "half a second more than asked for"


def test_faulty_notes_are_found_at_once_and_all_of_them(notes):
    folder = notes.parent
    write_tone(folder / "a.flac", level=0.0)
    whole = (folder / "b.flac").read_bytes()
    (folder / "b.flac").write_bytes(whole[: len(whole) // 2])
    (folder / "c.flac").write_bytes(b"")
    lines = complaints(notes)
    assert len(lines) == 3
    assert lines[0] == f"{folder / 'a.flac'}: is silent (remove its row)"
    assert f"{folder / 'b.flac'}: " in lines[1]
    assert "decode" in lines[1] or "truncated" in lines[1]
    assert lines[2].startswith(f"{folder / 'c.flac'}: cannot be read as audio")
    soundfile.write(folder / "c.flac", np.zeros(0), RATE, format="WAV")
    assert complaints(notes)[2] == f"{folder / 'c.flac'}: holds no audio (remove it or record it again)"


def test_a_note_that_starts_after_all_that_is_drawn_is_an_error(notes):
    write_tone(notes.parent / "a.flac", silence=2.0)
    assert complaints(notes, longest=1.0) == [
        f"{notes.parent / 'a.flac'}: is silent for its first 1.5 s (cut off the silence before the note)"
    ]
    assert len(chosen(notes, longest=2.0)) == 3


def test_rows_that_cannot_be_used(notes):
    assert complaints(notes, sources=("mien",)) == [f"{notes}: no note of the source 'mien' (did you mean 'mine'?)"]
    notes.write_text(notes.read_text().replace("train", "test"))
    assert complaints(notes) == [f"{notes}: no note is left to learn from (widen recordings.sources)"]
    notes.write_text(notes.read_text().replace("lute", ""))
    assert complaints(notes, sources=("theirs",)) == [f"{notes}:5: names no instrument (fill it in, or remove the row)"]
    assert "cannot be read" in complaints(notes.parent / "none.csv")[0]


@pytest.mark.skipif(not (SHARED / "data" / "notes.csv").is_file(), reason="no recorded notes")
def test_the_packaged_backbone_learns_from_training_notes_of_two_basses_only(monkeypatch):
    monkeypatch.setenv("ETUDE_SHARED", str(SHARED))
    recipe = load_pretrain_recipe("nano")
    with (SHARED / "data" / "notes.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    allowed = {
        SHARED / "data" / row["path"] for row in rows if row["split"] == "train" and row["source"] in ("meatbass", "sneakybass")
    }
    held_out = {(SHARED / "data" / row["path"]).read_bytes() for row in rows if row["split"] != "train"}
    found = source_notes(recipe.recordings, recipe.clips.seconds)
    assert {one.path for one in found} == allowed
    assert len(found) == len(allowed) > 400
    assert not any(one.path.read_bytes() in held_out for one in found), "a copy under another name"


def raw(samples, rate=RATE):
    """Descriptors by name, in their units; those that are clipped are nan, which equals nothing."""
    scaled = describe(samples.astype(np.float32), rate)
    assert (scaled.shape, scaled.dtype) == ((len(DESCRIPTORS),), np.float32)
    scaled[np.abs(scaled) >= 3] = np.nan
    return dict(zip(DESCRIPTORS, (scaled * SCALES + CENTRES).tolist(), strict=True))


def tone(seconds, *hertz, rate=RATE):
    times = np.arange(round(seconds * rate)) / rate
    return sum(np.sin(2 * np.pi * each * times) for each in hertz)


def decaying(seconds, decibels, attack=0.0, hertz=1000.0):
    """A tone that rises linearly for ``attack`` seconds and then loses ``decibels`` per second."""
    times = np.arange(round(seconds * RATE)) / RATE
    envelope = np.where(times < attack, times / max(attack, 1e-9), 10 ** (-decibels * (times - attack) / 20))
    return envelope * tone(seconds, hertz)


def noisy(noise, seconds=0.5, seed=0):
    """Two partials under white noise."""
    return tone(seconds, 440, 880) + noise * default_rng(seed).standard_normal(round(seconds * RATE))


@pytest.mark.parametrize("attack", [0.01, 0.04, 0.1, 0.35])
def test_attack_time_is_that_of_a_linear_attack(attack):
    assert 10 ** raw(decaying(0.8, 60, attack))["attack time"] == pytest.approx(attack, abs=0.006)


@pytest.mark.parametrize("decibels", [5, 20, 60, 150])
@pytest.mark.parametrize("attack", [0.0, 0.05])
@pytest.mark.parametrize("seconds", [0.15, 1.0])
def test_decay_is_that_of_an_exponential(decibels, attack, seconds):
    found = 10 ** raw(decaying(seconds, decibels, attack))["decay"]
    assert found == pytest.approx(decibels, rel=0.03, abs=1.0)


@pytest.mark.parametrize(("early", "late"), [(20, 150), (100, 0)])
def test_decay_is_over_three_tenths_of_a_second(early, late):
    times = np.arange(RATE) / RATE
    lost = np.interp(times, [0, 0.15, 0.3, 0.31, 0.33], [0, *(0.15 * np.array([early, early + late, early + late])), 50])
    found = 10 ** raw(10 ** (-lost / 20) * tone(1.0, 1000))["decay"]
    assert found == pytest.approx((early + late) / 2, rel=0.05)


@pytest.mark.parametrize("decibels", [5, 20, 60])
def test_sustain_level_is_the_integral_of_an_exponential(decibels):
    rate = decibels * np.log(10) / 10

    def mean(start, stop):
        return (np.exp(-rate * start) - np.exp(-rate * stop)) / (rate * (stop - start))

    expected = 10 * np.log10(mean(0.1, 0.3) / mean(0, 0.05))
    assert raw(decaying(0.6, decibels))["sustain level"] == pytest.approx(expected, abs=0.1)


def test_a_note_without_end_has_neither_decay_nor_a_lower_sustain():
    found = raw(tone(0.6, 1000))
    assert found["decay"] == pytest.approx(0, abs=0.01)
    assert found["sustain level"] == pytest.approx(0, abs=0.01)
    assert raw(np.append(tone(0.2, 1000), 0.1 * tone(0.2, 1000)))["sustain level"] == pytest.approx(
        10 * np.log10((0.1 + 0.1 * 0.01) / 0.2), abs=0.05
    )


@pytest.mark.parametrize("noise", [0.1, 0.2, 0.4])
@pytest.mark.parametrize("rate", [8000, RATE])
def test_spectra_are_librosas(noise, rate):
    generator = default_rng(1)
    samples = tone(0.5, 220, 440, 1320, rate=rate) + noise * generator.standard_normal(rate // 2)
    samples[: rate // 20] = tone(0.05, 880, rate=rate) + noise * generator.standard_normal(rate // 20)
    found = raw(samples, rate)
    for name, segment in (("attack", samples[: rate // 20]), ("sustain", samples[rate // 10 : 3 * rate // 10])):
        bins = 2 ** int(np.ceil(np.log2(len(segment))))
        frequencies, power = periodogram(segment, rate, np.hanning(len(segment)), bins, detrend=False)
        power = power[frequencies >= 40][:, None]
        frequencies = frequencies[frequencies >= 40]
        centroid = librosa.feature.spectral_centroid(S=power, freq=frequencies).item()
        flatness = librosa.feature.spectral_flatness(S=power, power=1.0, amin=1e-30).item()
        assert found[f"{name} centroid"] == pytest.approx(np.log2(centroid), abs=2e-3)
        assert found[f"{name} flatness"] == pytest.approx(10 * np.log10(flatness), abs=0.05)
        if name == "attack":
            roll_off = librosa.feature.spectral_rolloff(S=power, freq=frequencies, roll_percent=0.85).item()
            assert found["attack roll-off"] == pytest.approx(np.log2(roll_off), abs=2e-3)


@pytest.mark.parametrize("gain", [0.02, 0.3, -1, 4])
def test_loudness_does_not_count(gain):
    for samples in (noisy(0.3), decaying(0.5, 40, 0.02), noisy(0.01, seconds=0.03)):
        ours, louder = (describe(values.astype(np.float32), RATE) for values in (samples, gain * samples))
        assert louder == pytest.approx(ours, abs=2e-3)


def increase(name, sounds):
    values = [raw(sound)[name] for sound in sounds]
    return all(one < other - 0.1 for one, other in pairwise(values))


def test_sounds_are_in_the_right_order():
    bright = [decaying(0.5, 20, hertz=hertz) for hertz in (200, 500, 1500, 5000)]
    filtered = [sosfilt(butter(2, cutoff, fs=RATE, output="sos"), noisy(1.0)) for cutoff in (300, 1000, 5000)]
    for sounds in (bright, filtered):
        assert all(increase(name, sounds) for name in ("attack centroid", "attack roll-off", "sustain centroid"))
    rough = [noisy(noise) for noise in (0.003, 0.03, 0.1, 0.3)]
    assert increase("attack flatness", rough)
    assert increase("sustain flatness", rough)
    dying = [decaying(0.5, decibels) for decibels in (5, 30, 100, 180)]
    assert increase("decay", dying)
    assert increase("sustain level", dying[::-1])
    assert increase("attack time", [decaying(0.8, 60, attack) for attack in (0.005, 0.03, 0.1, 0.3)])


@pytest.mark.parametrize("rate", [8000, RATE, 44_100])
@pytest.mark.parametrize("seconds", [0.0002, 0.001, 0.0049, 0.005, 0.0051, 0.0499, 0.05, 0.1, 0.1001, 0.149, 0.15, 0.2999, 2.0])
def test_every_note_gives_numbers_between_minus_three_and_three(rate, seconds):
    count = max(2, round(seconds * rate))
    click, ended = np.zeros(count), default_rng(0).standard_normal(count)
    click[0], ended[count // 20 + 1 :] = 1, 0  # nothing follows
    alternating = np.where(np.arange(count) % 2, -1.0, 1.0)
    late = click[::-1]
    whispered = 1e-3 * default_rng(1).standard_normal(count)
    for samples in (click, late, ended, whispered, alternating, np.ones(count)):
        with np.errstate(divide="raise", invalid="raise", over="raise"):
            found = describe(samples.astype(np.float32), rate)
        assert np.isfinite(found).all()
        assert np.abs(found).max() <= 3
