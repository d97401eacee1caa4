"""Onset strength, and how late labels are by it."""

import os
from pathlib import Path

import numpy as np
import pytest

from etude.adapters.datasets._parts.lateness import NONE, around
from etude.adapters.sound.audio import probe, read_blocks
from etude.adapters.sound.onset_strength import OnsetStrength

SHARED = Path(os.environ.get("ETUDE_SHARED", Path(__file__).parents[2] / "shared"))
ATTACKS = {"click": 0.0, "pluck": 0.0, "soft": 0.1, "slow": 0.3}


def played(attack, rate=16000, count=80, seed=0):
    """Notes over noise, and the seconds at which they begin: clicks, decaying tones, or tones that swell."""
    rng = np.random.default_rng(seed)
    samples, onsets, time = rng.normal(0, 1e-3, int(rate * (0.5 * count + 1))), [], 0.3
    for _ in range(count):
        start, t = round(time * rate), np.arange(int(0.35 * rate)) / rate
        if attack == "click":
            samples[start] = 0.5
        else:
            rise = (1 - np.cos(np.pi * np.clip(t / ATTACKS[attack], 0, 1))) / 2 if ATTACKS[attack] else np.exp(-6 * t)
            pitch = 440 * 2 ** ((rng.integers(45, 80) - 69) / 12)
            tone = sum(np.sin(2 * np.pi * pitch * k * t) / k for k in range(1, 8))
            samples[start : start + len(t)] += 0.2 * tone * rise * np.clip((0.35 - t) / 0.05, 0, 1)
        onsets.append(start / rate)
        time += rng.uniform(0.38, 0.5)
    return samples.astype(np.float32), np.array(onsets)


def strength(samples, rate=16000, block=None):
    """Strength, and seconds from frame to frame."""
    onsets = OnsetStrength(rate)
    size = block * onsets.hop if block else len(samples)
    parts = [onsets.read(samples[start : start + size]) for start in range(0, len(samples), size)]
    return np.concatenate([*parts, onsets.end()]), onsets.hop / rate


def onsets_of(samples, labels, rate=16000):
    return around(labels, *strength(samples, rate))


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000, 96000])
def test_clicks_are_strongest_where_they_are(rate):
    samples = np.zeros(2 * rate, np.float32)
    times = [0.3, 0.75, 1.4]
    samples[[round(time * rate) for time in times]] = 0.5
    values, hop = strength(samples, rate)
    assert len(values) * hop == pytest.approx(2.0, abs=0.011)
    for time in times:
        near = slice(round((time - 0.05) / hop), round((time + 0.05) / hop))
        rise = values[near]
        centre = float(rise @ np.arange(near.start, near.stop)) / rise.sum() * hop
        assert centre == pytest.approx(time, abs=0.004)
    assert values[round(0.9 / hop) : round(1.3 / hop)].max() == 0


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_blocks_give_what_the_whole_gives(block):
    samples, _ = played("pluck", 44100, count=4)
    np.testing.assert_allclose(strength(samples, 44100, block)[0], strength(samples, 44100)[0], atol=1e-4)


def test_librosa_agrees_on_where_onsets_are():
    librosa = pytest.importorskip("librosa")
    samples, onsets = played("pluck", 22050)
    values, hop = strength(samples, 22050)
    other = librosa.onset.onset_strength(y=samples, sr=22050, hop_length=110, n_fft=512, lag=2)
    length = min(len(values), len(other))
    delays = range(-8, 9)
    related = [np.corrcoef(values[8 : length - 8], other[8 + d : length - 8 + d])[0, 1] for d in delays]
    assert max(related) > 0.75
    # librosa's strength of a lag of two frames comes 10 ms later
    assert delays[int(np.argmax(related))] == pytest.approx(2, abs=1)
    assert around(onsets, values, hop).lateness() == pytest.approx(around(onsets, other, hop).lateness() + 0.01, abs=0.01)


@pytest.mark.parametrize("attack", ["click", "pluck"])
@pytest.mark.parametrize("rate", [8000, 44100])
@pytest.mark.parametrize("late", [0.045, -0.045, 0.12, -0.15])
def test_shifted_labels_are_measured(attack, rate, late):
    samples, onsets = played(attack, rate)
    found = onsets_of(samples, onsets + late, rate)
    assert found.lateness() == pytest.approx(late, abs=0.005)
    assert found.shift() == found.lateness()


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("seed", [0, 1])
def test_exact_labels_are_let_be(attack, seed):
    samples, onsets = played(attack, seed=seed)
    assert onsets_of(samples, onsets).shift() is None
    assert abs(onsets_of(samples, onsets).lateness()) < {"slow": 0.04}.get(attack, 0.02)


def test_a_hand_that_is_late_now_more_now_less():
    samples, onsets = played("pluck", count=400)
    jitter = np.random.default_rng(5).normal(0, 0.02, len(onsets))
    assert onsets_of(samples, onsets + 0.06 + jitter).shift() == pytest.approx(0.06, abs=0.008)
    assert onsets_of(samples, onsets + jitter).shift() is None


def test_what_does_not_tell():
    samples, onsets = played("pluck")
    anywhere = np.random.default_rng(2).uniform(0.3, onsets[-1], len(onsets))
    assert onsets_of(samples, anywhere).lateness() is None
    assert onsets_of(samples, onsets[:9] + 0.045).lateness() is None
    assert onsets_of(samples, []).count == 0
    assert onsets_of(np.zeros(16000, np.float32), [0.2, 0.5]).count == 0
    assert NONE.lateness() is None and NONE.shift() is None  # noqa: PT018
    assert onsets_of(samples, [0.0, 0.01, 0.3, 999.0]).count == 1


def strength_at(heights, labels, frames=4000):
    """Onset strength of 5 ms that rises by ``heights`` (milliseconds from a label -> height) around every one of ``labels``."""
    values = np.random.default_rng(4).uniform(0, 0.1, frames).astype(np.float32)
    for label in labels:
        for offset, height in heights.items():
            middle = round(label / 0.005 + offset / 5)
            values[middle - 2 : middle + 3] += height * np.array([0.3, 0.7, 1.0, 0.7, 0.3], np.float32)
    return values


def test_what_is_heard_at_the_labels_as_well_is_a_rhythm():
    labels = np.arange(1, 19, 0.7)
    assert around(labels, strength_at({-100: 1.0}, labels), 0.005).shift() == pytest.approx(0.1, abs=0.005)
    assert around(labels, strength_at({-100: 1.0, 0: 0.3}, labels), 0.005).shift() == pytest.approx(0.1, abs=0.005)
    assert around(labels, strength_at({-100: 1.0, 0: 0.7}, labels), 0.005).shift() is None


def test_one_loud_onset_does_not_speak_for_others():
    labels = np.arange(1, 19, 0.7)
    assert around(labels, strength_at({-100: 9.0}, labels[:2]), 0.005).lateness() is None


def test_a_regular_pulse_is_no_shift():
    """Labels on every second beat: half of the beats are heard 150 ms from a label, and all labels on a beat."""
    samples = np.zeros(16000 * 20, np.float32)
    samples[:: round(0.15 * 16000)] = 0.5
    labels = np.arange(0.3, 19.5, 0.3)
    assert onsets_of(samples, labels).shift() is None
    assert onsets_of(samples, labels).lateness() == pytest.approx(0, abs=0.005)
    assert onsets_of(samples, labels + 0.03).shift() == pytest.approx(0.03, abs=0.005)


@pytest.mark.skipif(not (SHARED / "data" / "notes.csv").is_file(), reason="needs the recorded notes")
def test_recorded_notes_in_phrases_with_exact_labels(tmp_path, monkeypatch):
    librosa = pytest.importorskip("librosa")
    from etude.adapters.model.build import named_dataset

    monkeypatch.setenv("ETUDE_CACHE", str(tmp_path))
    monkeypatch.setenv("ETUDE_SHARED", str(SHARED))
    tracks, problems = named_dataset("double-bass", ["data.phrases={train: 24}"]).check()
    assert not problems
    own = late = other = NONE
    for track in tracks:
        (samples,) = read_blocks(track.audio, track.info.frames, probe(track.audio))
        onsets = np.array([note.onset for note in track.annotation.notes])
        values, hop = strength(samples[:, 0], track.info.sample_rate)
        own += around(onsets, values, hop)
        late += around(onsets + 0.045, values, hop)
        rise = librosa.onset.onset_strength(y=samples[:, 0], sr=track.info.sample_rate, hop_length=120, n_fft=512, lag=2)
        other += around(onsets + 0.045, rise, 0.005)
    assert own.shift() is None
    assert own.lateness() == pytest.approx(0, abs=0.008)
    assert late.shift() == pytest.approx(0.045, abs=0.008)
    assert other.shift() == pytest.approx(late.shift(), abs=0.02)
