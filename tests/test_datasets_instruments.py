"""NSynth and IRMAS, on small trees laid out as the releases are."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pydantic import ValidationError
from sklearn.model_selection import train_test_split

from etude.adapters.annotations import Annotation
from etude.adapters.annotations.tags import Tag
from etude.adapters.datasets import nsynth as nsynth_module
from etude.adapters.datasets.irmas import CLASSES, Irmas, validation_songs
from etude.adapters.datasets.nsynth import Nsynth
from etude.adapters.sound.audio import AudioInfo


def told(dataset):
    return [str(problem) for problem in dataset.check()[1]]


def wav(path, frames=1600, rate=16000, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, (frames, channels)), rate)


# NSynth


def nsynth_tree(root, counts):
    """``counts``: folder -> instrument -> number of notes; names and fields as in the release."""
    wav(root / "one.wav")
    content = (root / "one.wav").read_bytes()
    for folder, instruments in counts.items():
        examples = {}
        (root / folder / "audio").mkdir(parents=True)
        for instrument, count in instruments.items():
            family = instrument.rsplit("_", 2)[0]
            for number in range(count):
                name = f"{instrument}-{number:03d}-075"
                examples[name] = {
                    "note_str": name,
                    "instrument_str": instrument,
                    "instrument_family_str": family,
                    "pitch": number,
                    "sample_rate": 16000,
                    "qualities": [0, 1],
                    "qualities_str": ["dark"],
                }
                (root / folder / "audio" / f"{name}.wav").write_bytes(content)
        (root / folder / "examples.json").write_text(json.dumps(examples))
    return root


@pytest.fixture
def released(tmp_path):
    counts = {
        "nsynth-train": {"bass_synthetic_033": 40, "organ_electronic_007": 30},
        "nsynth-valid": {"bass_electronic_018": 20},
        "nsynth-test": {"synth_lead_acoustic_005": 10},
    }
    return nsynth_tree(tmp_path / "nsynth", counts)


def nsynth(root, **fields):
    return Nsynth(Nsynth.Config(name="nsynth", root=str(root), **fields))


def test_nsynth_by_notes_knows_every_instrument(released):
    data = nsynth(released)
    assert told(data) == []
    assert data.classes == {
        "tags": ("bass_electronic_018", "bass_synthetic_033", "organ_electronic_007", "synth_lead_acoustic_005")
    }
    tracks = data.check()[0]
    assert len(tracks) == 100
    assert tracks[0].id == "nsynth-train/bass_synthetic_033-000-075"
    assert tracks[0].annotation == Annotation(tags=[Tag("bass_synthetic_033")])
    assert {track.info for track in tracks} == {AudioInfo(1600, 16000, 1)}
    assert data.licence == "CC-BY-4.0"
    splits = {track.id: track.split for track in tracks}
    assert {track.id: track.split for track in nsynth(released).check()[0]} == splits
    assert {track.id: track.split for track in nsynth(released, seed=1).check()[0]} != splits


def test_nsynth_by_notes_keeps_90_5_5_and_a_note_in_its_split(tmp_path):
    root = nsynth_tree(tmp_path / "a", {name: {"bass_synthetic_033": 100} for name in nsynth_module.FOLDERS})
    names = [f"bass_synthetic_{i:03d}-{p:03d}-050" for i in range(50) for p in range(100)]
    data = nsynth(root)
    counts = Counter(data._split("nsynth-train", name) for name in names)
    assert counts["train"] / 5000 == pytest.approx(0.9, abs=0.015)
    assert counts["validation"] / 5000 == pytest.approx(0.05, abs=0.01)
    assert counts["test"] / 5000 == pytest.approx(0.05, abs=0.01)
    before = {track.id: track.split for track in data.check()[0]}
    more = nsynth_tree(tmp_path / "b", {name: {"bass_synthetic_033": 120} for name in nsynth_module.FOLDERS})
    after = {track.id: track.split for track in nsynth(more).check()[0]}
    assert before.items() < after.items()


def test_nsynth_as_published_is_for_families(released):
    data = nsynth(released, label="family", split="published")
    assert data.classes == {"tags": ("bass", "organ", "synth_lead")}
    assert Counter(track.split for track in data.check()[0]) == {"train": 70, "validation": 20, "test": 10}
    with pytest.raises(ValidationError, match="the published splits share no instrument: choose 'split: notes'"):
        nsynth(released, split="published")


def test_nsynth_headers_are_read_once_per_size(released, monkeypatch):
    probed = []
    probe = nsynth_module.probe
    monkeypatch.setattr(nsynth_module, "probe", lambda path: probed.append(path) or probe(path))
    assert told(nsynth(released)) == []
    assert len(probed) == 1


def test_nsynth_problems(released):
    audio = released / "nsynth-train" / "audio"
    names = sorted(path.name for path in audio.iterdir())
    (audio / names[3]).unlink()
    (audio / names[5]).unlink()
    (audio / names[7]).write_bytes((audio / names[7]).read_bytes()[:1000])
    (audio / names[9]).write_bytes(b"")
    wav(audio / "mine.wav")
    (released / "nsynth-test/examples.json").write_text("{")
    data = nsynth(released)
    problems = told(data)
    assert f"{audio}: 2 of 70 recordings are missing, first {names[3]} (unpack the data set again)" in problems
    assert any(
        line.startswith(f"{audio / names[7]}: has 0.03 s at 16000 Hz in 1 channel, where others have 0.10 s")
        for line in problems
    )
    assert any(line.startswith(f"{audio / names[9]}: ") for line in problems)
    assert f"{released / 'nsynth-test/examples.json'}: is not a JSON file (unpack the data set again)" in problems
    assert len(problems) == 4
    assert "1 recordings are not listed in examples.json, first mine.wav" in str(data.notices[0])
    (released / "nsynth-test/examples.json").write_text('{"a": {"instrument": 3}}')
    assert any("is no list of notes with the field 'instrument_str'" in line for line in told(nsynth(released)))
    (released / "nsynth-test/examples.json").unlink()
    assert any("examples.json: cannot be read: No such file" in line for line in told(nsynth(released)))
    assert "no such folder" in told(nsynth(released / "nowhere"))[0]


# IRMAS


def irmas_tree(root, songs=4):
    """``songs`` songs with two clips each in every class, and a testing part with the inner folder and one without."""
    number = 0
    for label in CLASSES:
        for _ in range(songs):
            number += 1
            for clip in (1, 2):
                style = f"{number:03d}__[{label}][nod][cla]" if number % 2 else f"[{label}][pop_roc]"
                wav(root / "IRMAS-TrainingData" / label / f"{style}{number:04d}__{clip}.wav", rate=44100, channels=2)
    for folder, name, text in (
        ("IRMAS-TestingData-Part1/Part1", "(02) dont kill the whale-15", "voi\t\ngel\t\n"),
        ("IRMAS-TestingData-Part2", "ab.cd-1", "pia\r\n\r\n"),
    ):
        wav(root / folder / f"{name}.wav", rate=44100, channels=2)
        (root / folder / f"{name}.txt").write_bytes(text.encode())
    return root


def irmas(root, **fields):
    return Irmas(Irmas.Config(name="irmas", root=str(root), **fields))


def test_irmas_tracks(tmp_path):
    data = irmas(irmas_tree(tmp_path))
    assert told(data) == []
    assert (data.classes, data.licence) == ({"tags": CLASSES}, "CC-BY-NC-SA-3.0")
    assert {Path(t.id).name: tuple(tag.name for tag in t.annotation.tags) for t in data.tracks("test")} == {
        "(02) dont kill the whale-15.wav": ("gel", "voi"),
        "ab.cd-1.wav": ("pia",),
    }
    training = [*data.tracks("train"), *data.tracks("validation")]
    assert len(training) == 88
    assert all(track.annotation == Annotation(tags=[Tag(track.audio.parent.name)]) for track in training)
    assert [notice.where for notice in data.notices] == [str(tmp_path / "IRMAS-TestingData-Part3")]


def test_irmas_splits_by_song(tmp_path):
    data = irmas(irmas_tree(tmp_path))
    songs = {split: {t.audio.name.split("__")[-2][-4:] for t in data.tracks(split)} for split in ("train", "validation")}
    assert not songs["train"] & songs["validation"]
    assert len(songs["validation"]) == 7  # of 44, rounded up
    other = irmas(tmp_path, seed=1)
    assert {t.id for t in other.tracks("validation")} != {t.id for t in data.tracks("validation")}


@pytest.mark.parametrize("count", [7, 100, 2043])
def test_irmas_split_is_scikit_learns(count):
    songs = [f"{number:04d}" for number in range(1, count + 1)]
    train, held_out = train_test_split(songs, test_size=0.15, random_state=730)
    assert validation_songs(set(songs), 730) == set(held_out)
    assert set(train) | set(held_out) == set(songs)


def test_irmas_problems(tmp_path):
    root = irmas_tree(tmp_path)
    part = root / "IRMAS-TestingData-Part2"
    (part / "ab.cd-1.txt").write_text("pia\nvoice\n")
    wav(part / "lone.wav")
    wav(part / "silent.wav")
    (part / "silent.txt").write_text("\n")
    wav(root / "IRMAS-TrainingData/cel/cello.wav")
    next((root / "IRMAS-TrainingData/flu").glob("*.wav")).write_bytes(b"")
    for path in (root / "IRMAS-TrainingData/voi").iterdir():
        path.unlink()
    problems = told(irmas(root))
    for text in (
        f"{part / 'ab.cd-1.txt'}:2: unknown instrument 'voice' (did you mean 'voi",
        f"{part / 'lone.txt'}: cannot be read: No such file or directory",
        f"{part / 'silent.txt'}: names no instrument",
        f"{root / 'IRMAS-TrainingData/cel/cello.wav'}: names no song by a number before '__'",
        f"{root / 'IRMAS-TrainingData/voi'}: no .wav file in it",
        f"{root / 'IRMAS-TrainingData/flu'}/",
    ):
        assert sum(line.startswith(text) for line in problems) == 1, (text, problems)
    assert len(problems) == 6
    assert "no such folder" in told(irmas(tmp_path / "nowhere"))[0]
