"""The salience of pitches, and the pitch of a note."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from etude.adapters.sound.pitch_salience import BINS, LOWEST, PER_SEMITONE, note_pitch, pitch_salience

SHARED = Path(os.environ.get("ETUDE_SHARED", Path(__file__).parents[2] / "shared"))
RATE, FRAME_RATE = 24_000, 50.0
SPECTRA = {
    "sawtooth": 1 / np.arange(1, 60),
    "square": np.arange(1, 60) % 2 / np.arange(1, 60),
    "missing fundamental": np.array([0, *(1 / np.arange(2, 60))]),
    "strong second": np.array([0.05, 1, 0.5, 0.3, 0.2, 0.1]),
}


def hertz(midi):
    return 440 * 2 ** ((np.asarray(midi) - 69) / 12)


def tone(midi, spectrum, seconds=0.6, rate=RATE):
    """Partials with ``spectrum`` over a pitch, a number or one for each sample."""
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(hertz(midi), int(seconds * rate))) / rate
    pitch = hertz(np.max(midi))
    partials = [a * np.sin(k * phase + k * k) for k, a in enumerate(spectrum, 1) if k * pitch < rate / 2]
    return (0.1 * np.sum(partials, axis=0)).astype(np.float32)


def salience(samples, rate=RATE, frame_rate=FRAME_RATE):
    return pitch_salience(torch.from_numpy(samples)[None], rate, int(len(samples) / rate * frame_rate), frame_rate)[0].numpy()


def pitch_of(samples):
    found = note_pitch(salience(samples), FRAME_RATE)
    return None if found is None else found[0]


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("midi", [23, 28.3, 40, 55.5, 69, 84])
def test_tones_are_found_in_their_octave(midi, spectrum):
    assert pitch_of(tone(midi, SPECTRA[spectrum])) == pytest.approx(midi, abs=0.1)


@pytest.mark.parametrize("midi", [28, 45, 60, 76, 90, 100, 108])
def test_so_are_sines_and_the_highest_notes(midi):
    assert pitch_of(tone(midi, [1.0])) == pytest.approx(midi, abs=0.5)
    assert pitch_of(tone(midi, SPECTRA["sawtooth"])) == pytest.approx(midi, abs=0.35)


def test_frames_follow_a_sweep_of_two_octaves():
    midi = np.linspace(45, 69, 4 * RATE)
    found = LOWEST + salience(tone(midi, SPECTRA["sawtooth"], 4.0)).argmax(axis=1) / PER_SEMITONE
    truth = midi[(np.arange(len(found)) / FRAME_RATE * RATE).astype(int)]
    assert np.abs(found - truth)[5:-5].max() < 0.5


def test_yin_finds_the_same_in_a_melody():
    librosa = pytest.importorskip("librosa")
    samples = tone(np.repeat([40, 52, 47, 59, 35], RATE // 2), SPECTRA["sawtooth"], 2.5)
    found = LOWEST + salience(samples).argmax(axis=1) / PER_SEMITONE
    other = librosa.yin(samples, fmin=30, fmax=800, sr=RATE, frame_length=4096, hop_length=480)[: len(found)]
    assert (np.abs(found - librosa.hz_to_midi(other)) < 0.5).mean() > 0.85


def test_nothing_is_salient_in_silence():
    assert not salience(np.zeros(RATE, np.float32)).any()
    assert note_pitch(np.zeros((20, BINS), np.float32), FRAME_RATE) is None
    half = salience(np.concatenate([np.zeros(RATE, np.float32), tone(60, SPECTRA["sawtooth"])]))
    assert not half[:40].any()
    assert half[60].max() > 0.05


@pytest.mark.parametrize("seconds", [0.3, 0.5, 2.0])
def test_noise_and_clicks_have_no_pitch(seconds):
    rng = np.random.default_rng(0)
    for _ in range(8):
        assert pitch_of(rng.normal(0, 0.1, int(seconds * RATE)).astype(np.float32)) is None
    click = np.zeros(int(seconds * RATE), np.float32)
    click[:20] = 0.5
    assert pitch_of(click) is None


def test_level_does_not_matter_and_fits_half_precision():
    samples = tone(43, SPECTRA["sawtooth"])
    loud, soft = salience(samples * 8), salience(samples / 50)
    assert loud.max() <= 1
    assert soft.max() > 0.6 * loud.max()
    halved = note_pitch(soft.astype(np.float16), FRAME_RATE)
    assert halved is not None
    assert halved[0] == pytest.approx(43, abs=0.1)


def test_frames_are_centred_where_the_frame_rate_puts_them():
    rate, frame_rate = 22_050, 31.25 * 1.017
    midi = np.repeat([60, 67], rate * 3)
    found = salience(tone(midi, SPECTRA["sawtooth"], 6.0, rate), rate, frame_rate).argmax(axis=1) / PER_SEMITONE + LOWEST
    assert len(found) == int(6 * frame_rate)
    assert np.flatnonzero(found > 63.5)[0] == pytest.approx(3 * frame_rate, abs=1)


def test_a_batch_gives_what_each_gives_alone():
    batch = torch.from_numpy(np.stack([tone(midi, SPECTRA["square"]) for midi in (30, 50, 70)]))
    together = pitch_salience(batch, RATE, 30, FRAME_RATE)
    assert together.shape == (3, 30, BINS)
    for one, row in zip(batch, together, strict=True):
        torch.testing.assert_close(pitch_salience(one[None], RATE, 30, FRAME_RATE)[0], row, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("interval", [-3, -1, 2])
def test_a_bent_note_has_the_pitch_it_begins_with_and_vibrato_its_middle(interval):
    time = np.arange(int(0.8 * RATE)) / RATE
    bent = 62 + interval * (1 - np.cos(np.pi * np.clip((time - 0.1) / 0.2, 0, 1))) / 2
    assert pitch_of(tone(bent, SPECTRA["sawtooth"], 0.8)) == pytest.approx(62, abs=0.3)
    vibrato = 62 + 0.5 * np.sin(2 * np.pi * 6 * np.clip(time - 0.1, 0, None))
    assert pitch_of(tone(vibrato, SPECTRA["sawtooth"], 0.8)) == pytest.approx(62, abs=0.3)


@pytest.mark.skipif(not (SHARED / "data" / "notes.csv").is_file(), reason="needs the recorded notes")
@pytest.mark.parametrize(
    ("listing", "column", "value", "share"),
    [
        ("other-sources", "instrument", "double bass", 1.0),
        ("notes", "technique", "fingered", 0.97),
        ("notes", "technique", "arco", 0.97),
    ],
)
def test_recorded_notes_have_the_pitch_of_their_label(listing, column, value, share):
    import csv

    from etude.adapters.sound.spans import sound

    with (SHARED / "data" / f"{listing}.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row[column] == value][::4]
    right = []
    for row in rows:
        note = sound(SHARED / "data" / row["path"], RATE)
        found = pitch_of(note.samples[note.onset : min(note.offset, note.onset + RATE)])
        right.append(found is not None and abs(found - float(row["midi"])) <= 0.5)
    assert np.mean(right) >= share
