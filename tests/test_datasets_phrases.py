"""Phrases of recorded notes: made as asked, once, and labelled where they sound."""

import csv
import os
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from made_datasets import whats
from pydantic import ValidationError

from etude.adapters.datasets import note_phrases
from etude.adapters.datasets._parts.phrases import Phrase, write_phrases
from etude.adapters.datasets._parts.survey import survey
from etude.adapters.datasets.note_phrases import NotePhrases
from etude.adapters.sound.audio import read_window
from etude.adapters.sound.spans import sound

RATE = 24000
SHARED = Path(os.environ.get("ETUDE_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ETUDE_CACHE", str(tmp_path / "cache"))


COLUMNS = ["path", "source", "instrument", "technique", "midi", "duration_s", "split", "licence"]
LEAD = 0.123


def click(pitch, seconds=2.0):
    """A click after ``LEAD`` seconds of faint noise, then a tone of slow decay whose frequency tells the pitch."""
    time = np.arange(int(seconds * RATE)) / RATE
    tone = 0.3 * np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * time) * np.exp(-2 * time)
    tone[0] = 0.5
    hiss = np.random.default_rng(int(pitch)).normal(0, 1e-4, int(LEAD * RATE))
    return np.concatenate([hiss, tone]).astype(np.float32)


def notes_csv(folder, pitches=None, techniques=("bow", "pluck")):
    """Notes whose pitch tells the split: 60-63 train, 70-73 validation, 80-83 test."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for split, first in {"train": 60, "validation": 70, "test": 80}.items():
        for technique in techniques:
            for pitch in range(first, first + 4):
                name = f"{technique}-{pitch}.wav"
                soundfile.write(folder / name, click(pitch), RATE)
                licence = "CC0-1.0" if technique == "bow" else "CC-BY-4.0"
                rows.append([name, "mine", "cello", technique, pitch, 2.123, split, licence])
    return write_csv(folder / "notes.csv", rows)


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return path


def phrases(path, **options):
    options = {"phrases": {"train": 4, "validation": 2, "test": 2}} | options
    return NotePhrases(NotePhrases.Config(name="note_phrases", notes=str(path), **options))


def folder_bytes(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_phrases_are_made_as_asked(tmp_path):
    data = phrases(notes_csv(tmp_path), phrase_seconds=6.0)
    tracks, problems = data.check()
    assert problems == []
    assert Counter(track.split for track in tracks) == {"train": 4, "validation": 2, "test": 2}
    assert {(track.info.duration, track.info.sample_rate, track.info.channels) for track in tracks} == {(6.0, RATE, 1)}
    assert all(5 <= len(track.annotation.notes) <= 20 for track in tracks)
    assert data.classes["notes"] == ("bow", "pluck")
    assert data.licence == "CC-BY-4.0 AND CC0-1.0"
    assert survey(tracks).problems == []


def test_equal_configurations_give_equal_bytes_and_other_seeds_do_not(tmp_path, monkeypatch):
    table = notes_csv(tmp_path / "notes")
    made = []
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        monkeypatch.setenv("ETUDE_CACHE", str(tmp_path / name))
        assert phrases(table, seed=seed).check()[1] == []
        (folder,) = (tmp_path / name / "note_phrases").iterdir()
        made.append(folder_bytes(folder))
    assert made[0] == made[1]
    assert made[0].keys() == made[2].keys()
    assert made[0]["train/0000.flac"] != made[2]["train/0000.flac"]


def test_phrases_are_rendered_once_and_again_when_the_notes_change(tmp_path, monkeypatch):
    table = notes_csv(tmp_path / "notes")
    cache = tmp_path / "cache" / "note_phrases"
    phrases(table).check()
    monkeypatch.setattr(note_phrases, "write_phrases", None)
    assert phrases(table).check()[1] == []
    monkeypatch.undo()
    monkeypatch.setenv("ETUDE_CACHE", str(tmp_path / "cache"))
    soundfile.write(tmp_path / "notes" / "bow-60.wav", click(60, 1.0), RATE)
    phrases(table).check()
    table.write_text(table.read_text().replace("CC0-1.0", "MIT"))
    assert phrases(table).tracks("train")
    phrases(table, gap=(0.1, 0.2)).check()
    assert len(list(cache.iterdir())) == 4


def test_more_training_phrases_leave_the_other_splits_as_they_were(tmp_path):
    table = notes_csv(tmp_path / "notes")
    few = phrases(table).tracks("test")
    many = phrases(table, phrases={"train": 6, "validation": 2, "test": 2}).tracks("test")
    assert [track.audio.read_bytes() for track in few] == [track.audio.read_bytes() for track in many]


def test_onsets_and_offsets_are_where_the_labels_say(tmp_path):
    data = phrases(notes_csv(tmp_path), gap=(0.05, 0.3), overlap_probability=0.0, gain_db=(0.0, 0.0))
    for track in data.check()[0]:
        samples, _ = soundfile.read(track.audio)
        for note in track.annotation.notes:
            start = round(note.onset * RATE)
            around = np.abs(samples[max(0, start - 700) : start + 700])
            peak = max(0, start - 700) + int(around.argmax())
            assert abs(peak / RATE - note.onset) < 0.010
            end = round(note.offset * RATE)
            assert np.abs(samples[end : end + 200]).max(initial=0) < 1e-3
            assert np.abs(samples[end - 1200 : end - 360]).max() > 0.01


def test_notes_last_and_overlap_as_configured(tmp_path):
    table = notes_csv(tmp_path)
    limits = {"note_seconds": (0.3, 0.5), "gap": (0.1, 0.2), "overlap": (0.05, 0.1)}
    apart = phrases(table, overlap_probability=0.0, **limits)
    joined = phrases(table, overlap_probability=1.0, **limits)
    for data, low, high in ((apart, 0.1, 0.2), (joined, -0.1, -0.05)):
        for track in data.check()[0]:
            notes = track.annotation.notes
            assert all(0.3 - 1e-3 < note.offset - note.onset < 0.5 + 1e-3 for note in notes[:-1])
            steps = [b.onset - a.offset for a, b in pairwise(notes)]
            assert min(steps) > low - 1e-3
            assert max(steps) < high + 1e-3


def test_techniques_are_balanced_and_notes_used_equally(tmp_path):
    table = notes_csv(tmp_path)
    lines = table.read_text().splitlines()
    # One pluck is left per split: without balance, few events would be plucks.
    kept = [line for line in lines if "pluck" not in line or line.split(",")[4][1] == "0"]
    table.write_text("\n".join(kept))
    used = Counter()
    for track in phrases(table, phrases={"train": 20, "validation": 1, "test": 1}).tracks("train"):
        used.update((note.technique, note.pitch) for note in track.annotation.notes)
    bow = [count for (technique, _), count in used.items() if technique == "bow"]
    assert len(bow) == 4
    assert max(bow) - min(bow) <= 1
    assert 0.4 < used["pluck", 60.0] / sum(used.values()) < 0.6


def test_a_phrase_holds_notes_of_its_split_only(tmp_path, monkeypatch):
    loaded = []
    monkeypatch.setattr(note_phrases, "sound", lambda path, rate: (loaded.append(path), sound(path, rate))[1])
    data = phrases(notes_csv(tmp_path))
    for track in data.check()[0]:
        first = {"train": 60, "validation": 70, "test": 80}[track.split]
        assert {note.pitch for note in track.annotation.notes} <= set(range(first, first + 4))
        samples = read_window(track.audio, 0, 10**9, RATE)
        for note in track.annotation.notes:  # the audio itself, not only the label
            alone = [n for n in track.annotation.notes if n is not note and n.onset < note.offset and n.offset > note.onset]
            if not alone:
                part = samples[round(note.onset * RATE) + 300 : round(note.offset * RATE) - 360]
                spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), 1 << 16))
                heard = 69 + 12 * np.log2(spectrum.argmax() * RATE / (1 << 16) / 440)
                assert abs(heard - note.pitch) < 0.3
    order = [{"6": 0, "7": 1, "8": 2}[path.stem.split("-")[1][0]] for path in loaded]
    assert order == sorted(order), "the splits are rendered one after the other, each from its own notes"


def test_loud_overlaps_do_not_clip(tmp_path):
    loud = (
        Phrase("train", np.float32([0.0, 3.0, -1.5]), (), "CC0-1.0"),
        Phrase("train", np.float32([0.5, 0.25]), (), "CC0-1.0"),
    )
    write_phrases(tmp_path, iter(loud), RATE)
    np.testing.assert_allclose(soundfile.read(tmp_path / "train/0000.flac")[0], [0, 0.95, -0.475], atol=1e-4)
    np.testing.assert_allclose(soundfile.read(tmp_path / "train/0001.flac")[0], [0.5, 0.25], atol=1e-4)


def test_an_unknown_pitch_stays_unknown(tmp_path):
    table = notes_csv(tmp_path)
    lines = [line.split(",") for line in table.read_text().splitlines()]
    table.write_text("\n".join(",".join([*line[:4], "", *line[5:]] if k else line) for k, line in enumerate(lines)))
    assert {note.pitch for track in phrases(table).tracks("test") for note in track.annotation.notes} == {None}


def test_a_sound_begins_and_ends_at_minus_34_db(tmp_path):
    rate, hop = 24000, 120
    levels = np.repeat(10 ** (np.array([-60, -36, -32, -3, 0, -20, -36, -33, -35, -60]) / 20), hop)
    soundfile.write(tmp_path / "a.wav", np.where(np.arange(len(levels)) % 2, levels, -levels) * 0.2, rate, subtype="FLOAT")
    found = sound(tmp_path / "a.wav", rate)
    assert (found.onset, found.offset) == (2 * hop, 8 * hop)
    assert np.abs(found.samples).max() == 1.0


def test_all_problems_of_the_notes_are_reported_at_once(tmp_path):
    table = notes_csv(tmp_path)
    with table.open("a") as file:
        file.write("gone.wav,mine,cello,bow,200,1,trian,CC0-1.0\nbow-60.wav,mine,cello,,x,1,train,\n")
    tracks, problems = phrases(table, sources=("mine", "yours"), techniques=None).check()
    assert tracks == []
    text = whats(problems)
    assert "no note of the source 'yours'" in text
    assert "notes.csv:26: unknown split 'trian' (did you mean 'train'?)" in text
    assert "notes.csv:26: pitch 200 is not a MIDI number" in text
    assert "notes.csv:26: no such audio file" in text
    assert "notes.csv:27: names no technique" in text
    assert "notes.csv:27: midi is 'x', not a number" in text
    assert len(problems) == 6
    assert not (tmp_path / "cache").exists()


def test_a_technique_that_a_split_lacks_is_a_problem(tmp_path):
    table = notes_csv(tmp_path)
    table.write_text("\n".join(line for line in table.read_text().splitlines() if "pluck-8" not in line))
    _, (problem,) = phrases(table).check()
    assert problem.what == "no note of the technique 'pluck' in the split 'test'"
    assert phrases(table, techniques=("bow",)).tracks("test")
    assert phrases(table, phrases={"train": 1}).tracks("train")


@pytest.mark.parametrize("fault", ["silent", "NaN"])
def test_a_note_that_cannot_be_used_is_a_problem_and_leaves_no_cache(tmp_path, fault):
    table = notes_csv(tmp_path)
    soundfile.write(
        tmp_path / "bow-60.wav", np.full(5000, 0.0 if fault == "silent" else np.nan, np.float32), RATE, subtype="FLOAT"
    )
    _, (problem,) = phrases(table).check()
    assert fault in problem.what
    assert problem.where.endswith("bow-60.wav")
    assert list((tmp_path / "cache" / "note_phrases").iterdir()) == []


@pytest.mark.parametrize(
    "wrong", [{"gap": (0.4, 0.1)}, {"note_seconds": (0.0, 1.0)}, {"overlap_probability": 1.5}, {"seeds": 1}]
)
def test_a_wrong_configuration_is_refused(tmp_path, wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        phrases(tmp_path / "notes.csv", **wrong)


@pytest.mark.skipif(not (SHARED / "data" / "notes.csv").is_file(), reason="the recorded notes are not here")
@pytest.mark.parametrize("sources", [("rickenbacker4001",), ("sneakybass", "meatbass")])
def test_real_notes_do_not_leak_between_splits(monkeypatch, sources):
    table = SHARED / "data" / "notes.csv"
    with table.open() as file:
        split_of = {table.parent / row["path"]: row["split"] for row in csv.DictReader(file)}
    used = defaultdict(set)

    def spy(path, rate):
        used[split_of[path]].add(path)
        return sound(path, rate)

    monkeypatch.setattr(note_phrases, "sound", spy)
    data = phrases(table, sources=sources, phrases={"train": 2, "validation": 2, "test": 2})
    notes, problems = data.sources()
    assert problems == []
    assert {note.path: note.split for note in notes} == {path: split_of[path] for path in {note.path for note in notes}}

    for phrase in data._phrases(notes):
        assert set(used) == {phrase.split}
        assert len(phrase.notes) >= 5
        used.clear()
