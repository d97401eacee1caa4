"""Clips and their labels against what was laid into them, and mixup against its formula."""

import numpy as np
import pytest
from numpy.random import default_rng
from toy_clips import DRUM, HOP, Sines, composer, write_notes

from etude.adapters.pretraining import clips as module
from etude.adapters.pretraining.clips import PITCHES, Composer
from etude.adapters.pretraining.instruments import LOWEST
from etude.adapters.pretraining.techniques import TECHNIQUES
from etude.adapters.pretraining.timbre import DESCRIPTORS

FIELDS = ("audio", "instrument", "technique", "pitch", "pitch_mask", "onset", "timbre", "timbre_mask", "motion", "motion_mask")


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    return write_notes(tmp_path_factory.mktemp("notes"))


@pytest.fixture(autouse=True)
def sines(monkeypatch):
    monkeypatch.setattr(module, "SampledInstruments", Sines)


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
