"""What the audio of a data set tells beside its labels."""

import json
import re
from dataclasses import asdict

import numpy as np
import pytest
import soundfile

from etude.adapters.annotations import Annotation
from etude.adapters.annotations.notes import Note
from etude.adapters.annotations.tags import Tag
from etude.adapters.datasets import Track
from etude.adapters.datasets._parts.hearing import hear
from etude.adapters.datasets._parts.survey import Spread, survey
from etude.adapters.errors import UserError
from etude.adapters.sound.audio import probe

RATE = 16000


@pytest.fixture
def made(tmp_path):
    """Write samples ``[samples]`` or ``[samples, channels]`` with spans of notes -> a track."""
    tracks = []

    def make(samples, *spans, rate=RATE, subtype="PCM_16", suffix="wav", **layers):
        path = tmp_path / f"{len(tracks)}.{suffix}"
        soundfile.write(path, samples, rate, subtype=subtype)
        notes = [Note(begin, end, 60, "a") for begin, end in spans]
        tracks.append(Track(path.name, path, probe(path), "train", Annotation(notes=notes, **layers)))
        return tracks[-1]

    return make


def noise(seconds=2.0, channels=1, seed=0, size=0.1, rate=RATE):
    return np.random.default_rng(seed).normal(0, size, (round(seconds * rate), channels)).astype(np.float32)


def told(*tracks):
    """The notices, without the folder, milliseconds rounded to 5."""
    found = survey(tracks)
    assert found.problems == []
    return [
        re.sub(r"(\d+) ms", lambda ms: f"{5 * round(int(ms[1]) / 5)} ms", str(notice)).replace(f"{tracks[0].audio.parent}/", "")
        for notice in found.notices
    ]


def test_ordinary_recordings_are_let_be(made):
    assert told(made(noise(), (0.2, 0.5)), made(noise(channels=2, seed=1)), made(noise(seed=2), rate=44100)) == []
    assert told() == []


def test_notes_in_digital_silence(made):
    samples = noise()
    samples[8000:16000] = 0
    silent = made(samples, (0.1, 0.4), (0.5, 0.8), (0.42, 1.0), (0.3, 0.7), (0.55, 1.2))
    fix = " (shift or remove them, or export the recording again)"
    assert told(silent) == [f"0.wav: 2 of 5 events lie in digital silence, first at 0.42 s{fix}"]
    assert told(made(noise(seed=1)), silent, silent) == [
        f"0.wav: 2 of 5 events lie in digital silence, first at 0.42 s; 1 more like it{fix}"
    ]


@pytest.mark.parametrize(("size", "silent"), [(2e-5, True), (1e-4, False)])
def test_silence_is_below_90_decibels(made, size, silent):
    samples = noise()
    samples[8000:16000] = np.where(np.arange(8000) % 2, size, -size)[:, None]
    assert bool(told(made(samples, (0.6, 0.9), subtype="FLOAT"))) is silent


def test_a_recording_of_nothing(made):
    assert told(made(np.zeros(RATE), (0.1, 0.4), tags=[Tag("oboe")])) == [
        "0.wav: is digital silence (remove it, or export it again)"
    ]


def test_channels_that_cancel(made):
    left = noise()
    assert told(made(np.hstack([left, -left]))) == [
        "0.wav: its channels cancel each other when they are mixed down (-76 dB) (invert one of them, or keep only one)"
    ]
    assert told(made(np.hstack([left, -0.95 * left]))) != []
    for other in (left, 0 * left, noise(seed=1), -0.5 * left):
        assert told(made(np.hstack([left, other]))) == []
    assert told(made(noise(channels=8))) == []


def test_clipping_is_more_than_a_peak_at_full_scale(made):
    t = np.arange(2 * RATE) / RATE
    assert told(made(np.sin(2 * np.pi * 27.5 * np.arange(96000) / 48000), rate=48000)) == []
    for peak in (np.sin(2 * np.pi * 41 * t), np.where(t == 1, 1.0, 0.5 * np.sin(2 * np.pi * 200 * t))):
        assert told(made(peak)) == []
    hot = np.clip(np.where(t > 0.5, 1.2, 0.5) * np.sin(2 * np.pi * 200 * t), -1, 1)
    (line,) = told(made(np.stack([0.1 * hot, hot], axis=1)))
    assert line.startswith("3.wav: is clipped 600 times, first at 0.50 s (export it at a lower level")
    assert len(hear(made(hot, suffix="flac").audio, probe(made(hot, suffix="flac").audio)).clipped) == 600


def test_levels_far_from_the_others(made):
    usual = [made(noise(seed=seed)) for seed in range(4)]
    assert told(*usual, made(0.11 * noise(seed=8)), made(noise(seed=8, size=0.2))) == []
    quiet = made(0.09 * noise(seed=9))
    assert told(*usual, quiet) == [
        "6.wav: its level of -41 dBFS (RMS) is 21 dB below the median (check it, or bring it to the level of the others)"
    ]
    assert "(RMS) is 21 dB above the median" in told(quiet, quiet, quiet, usual[0])[0]
    assert told(*usual, made(np.zeros(RATE))) == ["7.wav: is digital silence (remove it, or export it again)"]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("rate", "seconds"), [(RATE, 0.013), (8000, 25.0), (44100, 12.345)])
def test_level_and_mixdown_are_those_of_the_whole(made, rate, seconds, channels):
    samples = noise(seconds, channels, rate=rate)
    track = made(samples, rate=rate, subtype="FLOAT")
    heard = hear(track.audio, track.info)
    assert heard.level == pytest.approx(10 * np.log10(np.mean(samples.astype(np.float64) ** 2)), abs=1e-3)
    mixed = np.mean(samples.mean(axis=1).astype(np.float64) ** 2) / np.mean(samples.astype(np.float64) ** 2)
    assert heard.mixdown == pytest.approx(10 * np.log10(mixed), abs=1e-3)
    assert abs(len(heard.strength) * heard.hop - seconds) < 0.03
    assert not heard.silent.any()


def plucks(labels, late=0.0, seed=0):
    samples = noise(labels * 0.5 + 1, seed=seed, size=1e-3)[:, 0]
    rng, spans = np.random.default_rng(seed), []
    for index in range(labels):
        time = 0.3 + 0.5 * index + rng.uniform(0, 0.1)
        t = np.arange(6000) / RATE
        samples[round(time * RATE) :][:6000] += 0.3 * np.exp(-9 * t) * np.sin(2 * np.pi * rng.uniform(100, 900) * t)
        spans.append((time + late, time + late + 0.2))
    return samples, *spans


def test_labels_that_are_late_as_a_whole(made):
    late = [made(*plucks(20, 0.045, seed)) for seed in range(3)]
    exact = [made(*plucks(20, 0.0, seed)) for seed in range(3, 6)]
    (line,) = told(*late, exact[0])
    assert line == (
        "labels are 45 ms late on average (80 labels, 3 of 4 recordings that tell by themselves) (shift them by -45 ms)"
    )
    assert told(*exact) == []
    early = [made(*plucks(4, -0.06, seed)) for seed in range(8)]
    (line,) = told(*early)
    assert line == "labels are 60 ms early on average (32 labels) (shift them by +60 ms)"


def test_labels_of_one_recording_that_are_late(made):
    exact = [made(*plucks(20, 0.0, seed)) for seed in range(3)]
    fix = " (shift the labels, or export the recording again)"
    assert told(*exact, made(*plucks(20, 0.1, 7))) == [f"3.wav: labels are 100 ms late on average{fix}"]
    late = [made(*plucks(20, 0.1, seed)) for seed in range(3)]
    assert told(*exact, *late) == [f"4.wav: labels are 100 ms late on average; 2 more like it{fix}"]
    lines = told(*late, *late, *late, made(*plucks(20, -0.08, 7)))
    assert lines[0].startswith("labels are 100 ms late") and lines[1] == f"7.wav: labels are 80 ms early on average{fix}"  # noqa: PT018


def test_annotators_who_disagree_are_told_by_recording(made):
    tracks = [made(*plucks(20, late, seed)) for seed, late in enumerate([0.1, 0.1, 0.1, -0.1, -0.1])]
    (line,) = told(*tracks)
    assert line.startswith("0.wav: labels are 100 ms late on average; 4 more like it (")


def test_statistics(made):
    tracks = [
        made(noise(1.0), (0.1, 0.2), (0.2, 0.5), tags=[Tag("oboe")]),
        made(noise(3.0, channels=2), (0, 1.0)),
        made(np.zeros(2 * RATE)),
    ]
    found = survey(tracks).statistics
    assert found.seconds == Spread(3, 1.0, 2.0, 3.0)
    assert found.level.count == 2
    assert found.level.median == pytest.approx(-20, abs=0.2)
    assert (found.sample_rates, found.channels) == ({RATE: 3}, {1: 2, 2: 1})
    assert found.lasting == {"notes": {"a": Spread(3, pytest.approx(0.1), pytest.approx(0.3), 1.0)}}
    assert found.lateness is None
    assert json.loads(json.dumps(asdict(survey([]).statistics)))["seconds"] is None


def test_unreadable_recordings_are_problems_and_the_others_are_heard(made):
    tracks = [made(noise(seed=seed), suffix="flac") for seed in range(3)]
    content = tracks[1].audio.read_bytes()
    tracks[1].audio.write_bytes(content[: len(content) // 2])
    advanced = []
    found = survey(tracks, advanced.append)
    (problem,) = found.problems
    assert problem.where == str(tracks[1].audio)
    assert found.statistics.seconds.count == 2
    assert sum(advanced) == 3
    with pytest.raises(UserError):
        hear(tracks[1].audio, tracks[1].info)


def test_an_hour_is_never_held(made, monkeypatch):
    """The largest array that is asked of the decoder stays that of ten seconds."""
    track = made(noise(61.0, channels=2))
    largest = []
    read = soundfile.SoundFile.read
    monkeypatch.setattr(
        soundfile.SoundFile, "read", lambda self, frames, **more: largest.append(frames) or read(self, frames, **more)
    )
    assert told(track) == []
    assert max(largest) <= 10.1 * RATE
    assert sum(largest) == 61 * RATE
