"""Clips and their labels against what was laid into them, motion against the pitch that is measured in them, mixup against its
formula, masks against loops; and every effect does what it is called.
"""

import sys
from dataclasses import fields

import numpy as np
import pytest
import soundfile
from numpy.random import default_rng
from scipy.signal import convolve, hilbert

from etude.adapters.errors import UserError
from etude.adapters.pretraining import clips as module
from etude.adapters.pretraining.clips import MOTION_SECONDS, PITCHES, Clips, Composer
from etude.adapters.pretraining.effects import Effects
from etude.adapters.pretraining.instruments import LOWEST, Instrument, RenderedNote
from etude.adapters.pretraining.techniques import PLAYERS, TECHNIQUES
from etude.adapters.pretraining.timbre import DESCRIPTORS, describe
from etude.adapters.recipe.pretraining import EffectsConfig, PretrainRecipe
from etude.adapters.sound.spans import trim
from etude.adapters.sound.synthesis import Preset

RATE, HOP = 8000, 320
SUNG_RATE, SUNG_FRAMES = 24_000, 120
DRUM = 2
INSTRUMENTS = tuple(Instrument(name, (Preset(0),), key) for name, key in (("a", None), ("b", None), ("d", 38)))
MOVING = ("vibrato", "upward_portamento", "downward_portamento", "trill")
EFFECTS = ("noise", "gain", "highpass", "lowpass", "delay", "pitch_shift", "reverb")
FIELDS = ("audio", "instrument", "technique", "pitch", "pitch_mask", "onset", "timbre", "timbre_mask", "motion", "motion_mask")


class Sines:
    """Stands in for SoundFonts: two instruments, one of them with techniques, and a drum; ``level`` 0 is silence."""

    level, instruments, shares = 1.0, INSTRUMENTS, np.array([0.4, 0.4, 0.2])

    def __init__(self, paths, sample_rate):
        self.sample_rate = sample_rate

    def draw(self, instrument, plain, longest, rng):
        pitch = rng.uniform(40, 90)
        times = np.arange(int(rng.uniform(0.1, longest) * self.sample_rate)) / self.sample_rate
        samples = (self.level * np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * times)).astype(np.float32)
        technique = TECHNIQUES[rng.integers(len(TECHNIQUES))] if instrument.name == "a" else None
        return RenderedNote(samples, None if instrument.key else pitch, technique, PLAYERS["plain"](longest, rng))


class Sung:
    """Stands in for SoundFonts: sines that move as the technique says, under a silence at first; and a drum."""

    techniques, instruments, shares = tuple(PLAYERS), INSTRUMENTS, Sines.shares

    def __init__(self, paths, sample_rate):
        self.drawn = []

    def draw(self, instrument, plain, longest, rng):
        technique = "plain" if instrument.key else self.techniques[rng.integers(len(self.techniques))]
        performance, pitch = PLAYERS[technique](rng.uniform(0.3, 1.0), rng), rng.uniform(60, 80)
        pitches = np.full(round(min(longest, performance.seconds) * SUNG_RATE), pitch)
        for index in range(len(pitches)):
            time = index / SUNG_RATE
            pitches[index] += sum(stroke.above for stroke in performance.strokes if stroke.start <= time < stroke.stop)
            pitches[index] += performance.bend.curve(time) if performance.bend else 0
        samples = np.sin(2 * np.pi * np.cumsum(440 * 2 ** ((pitches - 69) / 12)) / SUNG_RATE)
        samples[: int(rng.uniform(0, 0.15) * SUNG_RATE) if len(samples) > 0.25 * SUNG_RATE else 0] = 0
        self.drawn.append(RenderedNote(samples.astype(np.float32), None if instrument.key else pitch, technique, performance))
        return self.drawn[-1]


@pytest.fixture(autouse=True)
def sines(monkeypatch):
    monkeypatch.setattr(module, "SampledInstruments", Sines)


@pytest.fixture
def sung(monkeypatch):
    monkeypatch.setattr(module, "SampledInstruments", Sung)


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    """Recorded notes of two instruments; the pitch of one is not known."""
    folder = tmp_path_factory.mktemp("notes")
    lines = ["path,source,instrument,technique,midi,split,licence"]
    for name, midi in (("lute", "50"), ("viol", "")):
        soundfile.write(folder / f"{name}.wav", default_rng(0).uniform(-0.5, 0.5, RATE // 2), RATE)
        lines.append(f"{name}.wav,own,{name},x,{midi},train,CC0-1.0")
    (folder / "notes.csv").write_text("\n".join(lines) + "\n")
    return str(folder / "notes.csv")


def composer(notes=None, **options):
    """Without effects and mixup unless they are among ``options``."""
    recipe = {
        "task": "pretraining",
        "name": "toy",
        "soundfonts": ({"path": "any.sf2", "title": "any", "licence": "mit"},),
        "shape": {"sample_rate": RATE},
        "clips": {"seconds": 1.2, "parts": (0.3, 0.4, 0.3)},
        "concatenation": {"probability": 0.7, "notes": (2, 4)},
        "recordings": {"notes": notes, "share": 0.4} if notes else None,
        "mixup": None,
        "effects": None,
    }
    return Composer(PretrainRecipe.model_validate(recipe | options))


def spied(made, name):
    """Have the method ``name`` of ``made`` keep what it returns, in the list returned here."""
    kept, real = [], getattr(made, name)

    def spy(*arguments):
        kept.append(real(*arguments))
        return kept[-1]

    setattr(made, name, spy)
    return kept


def truth(laid, frames, instruments, shift=0.0):
    """Targets by going through all frames and notes: a note is in a frame that one of its samples is in."""
    found = {"instrument": np.zeros((frames, instruments)), "technique": np.zeros((frames, len(TECHNIQUES)))}
    found |= {"pitch": np.zeros((frames, PITCHES)), "pitch_mask": np.ones((frames, 1)), "onset": np.zeros((frames, 1))}
    for frame in range(frames):
        for start, note in laid:
            if frame * HOP <= start < (frame + 1) * HOP:
                found["onset"][frame] = 1
            if start >= (frame + 1) * HOP or start + len(note.samples) <= frame * HOP:
                continue
            found["instrument"][frame, note.instrument] += 1
            if note.technique is not None:
                found["technique"][frame, note.technique] += 1
            if note.pitch is not None:
                found["pitch"][frame, round(note.pitch + shift) - LOWEST] = 1
            elif note.instrument != DRUM:  # which has none
                found["pitch_mask"][frame] = 0
    for name in ("instrument", "technique"):
        found[name] /= np.maximum(found[name].sum(1, keepdims=True), 1)
    return found


def test_clips_and_labels_are_those_of_the_notes_laid(notes):
    made = composer(notes)
    assert made.instruments == ("a", "b", "d", "recorded lute", "recorded viol")
    seen = set()
    for step in range(25):
        parts = spied(made, "_part")
        batch = made.batch(step, range(1))
        made._part = type(made)._part.__get__(made)
        laid = [item for part in parts for item in part]
        audio = np.zeros(30 * HOP)
        for start, note in laid:
            audio[start : start + len(note.samples)] += note.samples
        np.testing.assert_allclose(batch.audio[0] / batch.audio[0].std(), audio / audio.std(), atol=1e-4)
        expected = truth(laid, 30, 5)
        for name, values in expected.items():
            np.testing.assert_allclose(getattr(batch, name)[0], values, atol=1e-6, err_msg=name)
        for name in ("instrument", "technique"):
            assert set(np.unique(getattr(batch, name).sum(-1).round(5))) <= {0, 1}
        seen |= {note.instrument for _, note in laid}
        seen |= {"unknown pitch"} if not expected["pitch_mask"].all() else set()
        seen |= {"chord"} if expected["pitch"].sum(1).max() > 1 else set()
    assert seen == {0, 1, 2, 3, 4, "unknown pitch", "chord"}


def test_shapes_and_types(notes):
    batch = composer(notes).batch(0, range(3))
    sizes = {"audio": (30 * HOP,), "instrument": (30, 5), "technique": (30, len(TECHNIQUES)), "pitch": (30, PITCHES)}
    sizes |= {"pitch_mask": (30, 1), "onset": (30, 1), "timbre": (30, len(DESCRIPTORS))}
    sizes |= {"timbre_mask": (30, 1), "motion": (30, 2), "motion_mask": (30, 1)}
    assert sizes.keys() == set(FIELDS)
    for name, size in sizes.items():
        values = getattr(batch, name)
        assert (values.shape, values.dtype) == ((3, *size), np.float32), name


def test_every_clip_has_a_level_of_its_own_within_six_db(notes, monkeypatch):
    made = composer(notes)
    batches = [made.batch(step, range(8)) for step in range(5)]
    levels = 20 * np.log10(np.concatenate([batch.audio.std(axis=1) for batch in batches]))
    assert -6.01 < levels.min() < -4 < 4 < levels.max() < 6.01
    assert len(set(levels.round(3))) == len(levels)
    monkeypatch.setattr(module, "LEVEL_DB", 0.0)
    for step, batch in enumerate(batches):  # nothing but the level depends on it
        steady = made.batch(step, range(8))
        assert steady.audio.std(axis=1) == pytest.approx(1, abs=1e-3)
        np.testing.assert_allclose(steady.audio * batch.audio.std(axis=1, keepdims=True), batch.audio, atol=1e-3)
        for name in set(FIELDS) - {"audio"}:
            np.testing.assert_array_equal(getattr(steady, name), getattr(batch, name), err_msg=name)


def test_silence_gives_nothing(monkeypatch):
    monkeypatch.setattr(Sines, "level", 0.0)
    batch = composer(effects={"probability": 1.0}).batch(0, range(2))
    for name in set(FIELDS) - {"pitch_mask"}:
        assert not getattr(batch, name).any(), name
    assert batch.pitch_mask.all()


def test_notes_of_a_row_are_of_one_instrument_and_do_not_overlap_and_there_is_one_without_concatenation(notes):
    for options, counts in (({"concatenation": None}, {1}), ({"concatenation": {"probability": 1, "notes": (3, 3)}}, {2, 3})):
        made = composer(notes, **options)
        parts = [made._part(default_rng(seed)) for seed in range(40)]
        assert {len(part) for part in parts} == counts
        assert {note.instrument for part in parts for _, note in part} == {0, 1, 2, 3, 4}, "recorded ones too"
        assert all((note.pitch == 50) == (note.instrument == 3) for part in parts for _, note in part), "the lute's sounds"
        for part in parts:
            assert len({note.instrument for _, note in part}) == 1
            ends = [start + len(note.samples) for start, note in part]
            assert all(end <= start for end, (start, _) in zip(ends, part[1:], strict=False))
            assert ends[-1] <= 30 * HOP


def test_an_item_depends_on_seed_step_and_its_number_alone(notes):
    options = {"notes": notes, "effects": {"probability": 0.7}}
    whole = composer(**options).batch(7, range(4))
    other = composer(**options)
    other.batch(3, range(2))
    halves = [other.batch(7, range(2, 4)), other.batch(7, range(2))]
    for name in FIELDS:
        joined = np.concatenate([getattr(half, name) for half in reversed(halves)])
        np.testing.assert_array_equal(getattr(whole, name), joined, err_msg=name)
    clips = [*whole.audio, *other.batch(8, range(4)).audio, *composer(seed=1, **options).batch(7, range(4)).audio]
    assert len({clip.tobytes() for clip in clips}) == len(clips)


def test_streams_are_of_seed_step_and_item_and_that_of_mixup_is_none_of_theirs(notes, monkeypatch):
    made, real, states = composer(notes, seed=3, mixup={"probability": 0.5, "alpha": 0.4}), Composer._clip, []
    monkeypatch.setattr(made, "_clip", lambda rng: states.append(rng.bit_generator.state) or real(made, rng))
    mixed = []
    for step in range(8):
        batch = made.batch(step, range(2, 5))
        assert states[-3:] == [default_rng((3, step, 1 + item)).bit_generator.state for item in (2, 3, 4)]
        plain = composer(notes, seed=3).batch(step, range(2, 5))
        rng = default_rng((3, step, 0))
        mixed.append(rng.random() < 0.5)
        weight = rng.beta(0.4, 0.4) if mixed[-1] else 1
        np.testing.assert_allclose(batch.audio, weight * plain.audio + (1 - weight) * plain.audio[[2, 0, 1]], atol=1e-5)
    assert len(set(mixed)) == 2


def test_mixup_is_its_formula_and_off_when_null(notes):
    weights = []
    for step in range(6):
        plain = composer(notes).batch(step, range(3))
        mixed = composer(notes, mixup={"probability": 1.0, "alpha": 0.4}).batch(step, range(3))
        partner = plain.audio[[2, 0, 1]]
        difference = (plain.audio - partner).ravel()
        weight = float((mixed.audio - partner).ravel() @ difference / (difference @ difference))
        for name in ("audio", "instrument", "technique", "pitch", "onset"):
            own = getattr(plain, name)
            np.testing.assert_allclose(getattr(mixed, name), weight * own + (1 - weight) * own[[2, 0, 1]], atol=1e-4)
        np.testing.assert_array_equal(mixed.pitch_mask, plain.pitch_mask * plain.pitch_mask[[2, 0, 1]])
        unmixed = composer(notes, mixup={"probability": 0.0}).batch(step, range(3))
        np.testing.assert_array_equal(unmixed.audio, plain.audio)
        weights.append(weight)
    assert all(-1e-3 <= weight <= 1.001 for weight in weights)
    assert len({round(weight, 3) for weight in weights}) > 3


def test_effects_without_probability_change_no_clip(notes):
    plain, off = composer(notes).batch(0, range(2)), composer(notes, effects={"probability": 0.0}).batch(0, range(2))
    plain.audio, off.audio = (clips.audio / clips.audio.std(axis=1, keepdims=True) for clips in (plain, off))
    for name in FIELDS:  # but for the level, which is drawn after the effects
        np.testing.assert_allclose(getattr(plain, name), getattr(off, name), atol=1e-5 * (name == "audio"))


def test_a_pitch_shift_moves_the_labels(notes):
    others = ("noise", "gain", "highpass", "lowpass", "delay", "reverb")
    shifting = dict.fromkeys(others, 0.0) | {"probability": 1.0, "pitch_shift": 1.0}
    made, plain, moved = composer(notes, effects=shifting), composer(notes), 0
    kept = spied(made, "effects")
    for step in range(12):
        parts = spied(made, "_part")
        batch = made.batch(step, range(1))
        made._part = type(made)._part.__get__(made)
        laid = [item for part in parts for item in part]
        expected = truth(laid, 30, 5, shift=kept[-1][1])
        np.testing.assert_array_equal(batch.pitch[0], expected["pitch"])
        moved += not np.array_equal(batch.pitch, plain.batch(step, range(1)).pitch)
    assert moved > 3


def singing(notes=None, **options):
    """At 24 kHz, of single notes unless ``options`` say more."""
    single = {"shape": {}, "clips": {"seconds": SUNG_FRAMES * HOP / SUNG_RATE}, "concatenation": None}
    return composer(notes, **(single | options))


def singles(technique, monkeypatch, count=12):
    """Clips of one pitched note each, with what was drawn."""
    monkeypatch.setattr(Sung, "techniques", (technique,))
    made = singing()
    for step in range(count):
        batch, drawn = made.batch(step, range(1)), made.sampled.drawn[-1]
        if drawn.pitch is not None:
            yield batch, drawn


def heard(audio):
    """A function from a sample's number to the pitch around it; ``None`` at an edge or a step."""
    phase = np.unwrap(np.angle(hilbert(audio.astype(np.float64))))
    with np.errstate(divide="ignore", invalid="ignore"):
        pitches = 69 + 12 * np.log2(np.abs(np.gradient(phase)) * SUNG_RATE / (2 * np.pi) / 440)
    loud = np.abs(audio) > 0.05 * np.abs(audio).max()

    def at(centre):
        centre = int(centre)
        if not 480 <= centre < len(audio) - 480:
            return None
        around = np.flatnonzero(loud[centre - 480 : centre + 480])
        if np.diff(around, prepend=-1, append=960).max() > 12:
            return None  # it does not sound all the time
        if abs(np.median(pitches[centre - 240 : centre - 120]) - np.median(pitches[centre + 120 : centre + 240])) > 0.5:
            return None
        return float(np.median(pitches[centre - 36 : centre + 36]))

    return at


@pytest.mark.parametrize("technique", MOVING)
def test_motion_and_pitch_are_those_that_are_heard(technique, monkeypatch, sung):
    known, compared, classes = 0, 0, set()
    for batch, drawn in singles(technique, monkeypatch):
        at, motion = heard(batch.audio[0]), batch.motion[0]
        known += int(batch.motion_mask.sum())
        first = int(np.flatnonzero(batch.motion_mask[0])[0])
        for frame in np.flatnonzero(batch.motion_mask[0]):
            now, then = (at((frame + 0.5) * HOP + shift * SUNG_RATE) for shift in (0, MOTION_SECONDS))
            if now is None:
                continue
            compared += 1
            assert motion[frame, 0] == pytest.approx(now - drawn.pitch, abs=0.06), (frame, first)
            if abs(now % 1 - 0.5) > 0.07:
                (label,) = np.flatnonzero(batch.pitch[0, frame])
                assert label + LOWEST == round(now), frame
                classes.add((label + LOWEST) - round(drawn.pitch))
            if then is not None:
                assert motion[frame, 1] == pytest.approx(then - now, abs=0.08), (frame, first)
    assert compared > 0.6 * known > 100
    assert len(classes) > 1, "the labels move"


@pytest.mark.parametrize("technique", [name for name in PLAYERS if name not in MOVING])
def test_notes_that_keep_their_pitch_have_no_motion_and_it_is_known(technique, monkeypatch, sung):
    for batch, drawn in singles(technique, monkeypatch, count=5):
        assert not batch.motion.any()
        assert batch.motion_mask.sum() > 2
        assert np.flatnonzero(batch.pitch.any(axis=(0, 1))).tolist() == [round(drawn.pitch) - LOWEST]


def test_timbre_is_that_of_the_whole_trimmed_note(monkeypatch, sung):
    for batch, drawn in singles("ghost", monkeypatch, count=6):
        found = trim(drawn.samples, SUNG_RATE)
        expected = describe(found.samples[found.onset : found.offset], SUNG_RATE)
        for frame, known in zip(batch.timbre[0], batch.timbre_mask[0, :, 0], strict=True):
            assert frame == pytest.approx(expected * known, abs=1e-5)


def test_only_where_one_note_sounds_is_it_known(notes, sung):
    made = singing(notes, clips={"seconds": 1.6, "parts": (0.4, 0.4, 0.2)}, concatenation={"probability": 0.6, "notes": (2, 3)})
    real, laid, seen = made._part, [], set()

    def part(rng):
        laid.append(real(rng))
        return laid[-1]

    made._part = part
    for step in range(25):
        laid.clear()
        batch = made.batch(step, range(1))
        rows = [item for row in laid for item in row]
        for frame in range(SUNG_FRAMES):
            inside = [
                (start, note) for start, note in rows if start < (frame + 1) * HOP and start + len(note.samples) > frame * HOP
            ]
            timbre, motion = np.zeros(8), np.zeros(2)
            single = len(inside) == 1
            rendered = single and inside[0][1].instrument < DRUM
            if single:
                timbre = inside[0][1].timbre
            if rendered:
                start, note = inside[0]
                now, then = (
                    sum(stroke.above for stroke in note.performance.strokes if stroke.start <= time < stroke.stop)
                    + (note.performance.bend.curve(time) if note.performance.bend else 0)
                    for shift in (0, 0.04)
                    for sounding in [(frame * HOP + HOP / 2 - start + note.trimmed) / SUNG_RATE + shift]
                    for time in [min(sounding, note.performance.seconds - 1e-9)]  # then it rings on
                )
                motion = np.array([now, then - now])
            assert batch.timbre_mask[0, frame, 0] == single
            assert batch.motion_mask[0, frame, 0] == rendered
            np.testing.assert_allclose(batch.timbre[0, frame], timbre, atol=1e-6)
            np.testing.assert_allclose(batch.motion[0, frame], motion, atol=1e-5)
            seen.add((len(inside) if not single else inside[0][1].instrument, single))
    assert {(0, False), (2, False), (0, True), (DRUM, True), (DRUM + 1, True)} <= seen


def test_what_is_known_of_a_note_stays_so_where_the_other_clip_is_silent():
    rng, batch, frames = default_rng(0), 3, 40
    sizes = {"instrument": 2, "technique": 2, "pitch": 3, "pitch_mask": 1, "onset": 1, "timbre": 8, "motion": 2}
    values = {name: rng.random((batch, frames, size)).astype(np.float32) for name, size in sizes.items()}
    values["audio"] = rng.random((batch, 5)).astype(np.float32)
    sounds = rng.random((batch, frames, 1)) < 0.5
    values["instrument"] *= sounds
    for name in ("timbre", "motion"):
        values[f"{name}_mask"] = (sounds & (rng.random((batch, frames, 1)) < 0.7)).astype(np.float32)
        values[name] *= values[f"{name}_mask"]
    assert values.keys() == {field.name for field in fields(Clips)}
    mixed, kinds = Clips(**values).mixed(0.3), set()
    for name in ("timbre", "motion"):
        target, mask = values[name], values[f"{name}_mask"]
        for clip in range(batch):
            for frame in range(frames):
                own, other = sounds[clip, frame, 0], sounds[clip - 1, frame, 0]
                source = clip if own else clip - 1
                known = own != other and mask[source, frame, 0]
                kinds.add((own, other, bool(known)))
                assert getattr(mixed, f"{name}_mask")[clip, frame, 0] == float(known)
                expected = target[source, frame] if known else 0 * target[source, frame]
                np.testing.assert_array_equal(getattr(mixed, name)[clip, frame], expected)
    assert len(kinds) == 6


@pytest.fixture(scope="module")
def sound():
    """A second of decaying tones, none of them at its end."""
    times = np.arange(RATE) / RATE
    tones = sum(np.sin(2 * np.pi * frequency * times) for frequency in (110, 880, 3400))
    return (0.1 * tones * np.exp(-3 * times)).astype(np.float32)


def effects(seed, samples, **chances):
    """``samples`` through the effects named, all others off; and the shift in semitones."""
    settings = dict.fromkeys(EFFECTS, 0.0) | {"probability": 1.0} | chances
    return Effects(EffectsConfig.model_validate(settings), RATE)(samples, default_rng(seed))


def share_above(samples, low, high=RATE):
    spectrum, frequencies = np.abs(np.fft.rfft(samples)) ** 2, np.fft.rfftfreq(len(samples), 1 / RATE)
    return spectrum[(frequencies >= low) & (frequencies < high)].sum() / spectrum.sum()


def peak_of(samples):
    """Strongest frequency in Hz between 700 and 1000."""
    spectrum, frequencies = np.abs(np.fft.rfft(samples, 1 << 17)), np.fft.rfftfreq(1 << 17, 1 / RATE)
    inside = (frequencies > 700) & (frequencies < 1000)
    return frequencies[inside][np.argmax(spectrum[inside])]


@pytest.mark.parametrize("name", EFFECTS)
def test_every_effect_has_a_switch(sound, name):
    for seed in range(3):
        changed, shift = effects(seed, sound, **{name: 1.0})
        assert changed.shape == sound.shape
        assert changed.dtype == np.float32
        assert not np.array_equal(changed, sound)
        assert (shift != 0) == (name == "pitch_shift")
        again, _ = effects(seed, sound, **{name: 1.0})
        np.testing.assert_array_equal(changed, again)


def test_without_probability_nothing_changes(sound):
    on = dict.fromkeys(EFFECTS, 1.0)
    for samples, shift in (effects(0, sound), effects(0, sound, **on, **{"probability": 0.0})):
        assert samples is sound
        assert shift == 0


@pytest.mark.parametrize("seed", range(4))
def test_effects_do_what_they_are_called(sound, seed):
    noisy = effects(seed, sound, noise=1.0, noise_db=(20.0, 30.0))[0] - sound
    assert 19 < 10 * np.log10(np.square(sound).sum() / np.square(noisy).sum()) < 31
    ratio = effects(seed, sound, gain=1.0)[0][1:] / sound[1:]
    assert np.ptp(ratio) < 1e-3
    assert -12.1 < 20 * np.log10(ratio.mean()) < 6.1
    assert share_above(effects(seed, sound, highpass=1.0)[0], 0, 50) < share_above(sound, 0, 50)
    assert share_above(effects(seed, sound, lowpass=1.0)[0], 3000) < 0.9 * share_above(sound, 3000)
    moved, shift = effects(seed, sound, pitch_shift=1.0)
    assert 0 < abs(shift) <= 1
    assert 12 * np.log2(peak_of(moved) / peak_of(sound)) == pytest.approx(shift, abs=0.1)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["delay", "reverb"])
def test_delay_and_reverb_are_convolutions(sound, name, seed):
    impulse = np.zeros_like(sound)
    impulse[0] = 1
    response, _ = effects(seed, impulse, **{name: 1.0})
    changed, _ = effects(seed, sound, **{name: 1.0})
    np.testing.assert_allclose(changed, convolve(sound, response)[: len(sound)], atol=1e-5)
    if name == "delay":
        (echoes,) = np.nonzero(np.abs(response) > 1e-5)
        assert 2 <= len(echoes) <= 4
        assert np.ptp(np.diff(echoes)) == 0
        assert 0.04 <= echoes[1] / RATE <= 0.25
        falls = 20 * np.log10(response[echoes][:-1] / response[echoes][1:])
        assert falls == pytest.approx(falls[0], abs=0.1)
        assert 5.9 < falls[0] < 20.1
    else:
        tail = response[1:]
        assert -26 < 10 * np.log10(np.square(tail).sum()) < -2.5
        energy = np.square(tail)[: RATE // 10]
        assert energy[: len(energy) // 2].sum() > energy[len(energy) // 2 :].sum()


def test_a_missing_library_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "audiomentations", None)
    with pytest.raises(UserError, match=r"^audiomentations is not installed \(pip install 'etude\[pretrain\]'\)$"):
        Effects(EffectsConfig(), RATE)
