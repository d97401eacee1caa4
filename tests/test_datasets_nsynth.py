"""NSynth, on small trees laid out as the release is."""

import itertools
import json
import shutil
from collections import Counter

import numpy as np
import pytest
import soundfile
from pydantic import ValidationError

from etude.adapters.annotations import Annotation
from etude.adapters.annotations.tags import Tag
from etude.adapters.datasets import nsynth as nsynth_module
from etude.adapters.datasets.nsynth import Nsynth
from etude.adapters.sound.audio import AudioInfo


def told(dataset):
    return [str(problem) for problem in dataset.check()[1]]


def wav(path, frames=1600, level=0.5, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).uniform(-level, level, frames), 16000)


def nsynth_tree(root, counts):
    """``counts``: folder -> instrument -> number of notes; names and fields as in the release."""
    seed = itertools.count()
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
                wav(root / folder / "audio" / f"{name}.wav", seed=next(seed))
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
    counts = Counter(data._split(f"nsynth-train/{name}") for name in names)
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
    with pytest.raises(ValidationError, match="shares no instrument with the others: choose 'split: notes'"):
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


def test_silent_notes_are_left_out_and_counted(released):
    """Below 0.0005 on average: noise of 0.0009 is, noise of 0.0011 is not."""
    audio = released / "nsynth-train" / "audio"
    wav(audio / "organ_electronic_007-003-075.wav", level=0.0009)
    wav(audio / "organ_electronic_007-004-075.wav", level=0.0011)
    wav(audio / "organ_electronic_007-005-075.wav", level=0)
    data = nsynth(released)
    assert told(data) == []
    ids = {track.id for track in data.check()[0]}
    assert len(ids) == 98
    assert ids.isdisjoint(f"nsynth-train/organ_electronic_007-00{number}-075" for number in (3, 5))
    (notice,) = data.notices
    what = "2 notes are silent and are left out, first nsynth-train/organ_electronic_007-003-075"
    assert str(notice) == f"{released}: {what}"


def test_notes_are_listened_to_once_and_again_when_one_changes(released, monkeypatch):
    heard = []
    silent = nsynth_module._silent
    monkeypatch.setattr(nsynth_module, "_silent", lambda path, info: heard.append(path) or silent(path, info))
    for _ in range(2):
        assert len(nsynth(released).check()[0]) == 100
    assert len(heard) == 100
    wav(released / "nsynth-test/audio/synth_lead_acoustic_005-000-075.wav", level=0)
    assert len(nsynth(released).check()[0]) == 99
    assert len(heard) == 200


def test_equal_notes_are_in_one_split(released):
    """Drawn one by one, some of forty copies would be elsewhere."""
    audio = released / "nsynth-train" / "audio"
    for number in range(1, 40):
        shutil.copy(audio / "bass_synthetic_033-000-075.wav", audio / f"bass_synthetic_033-{number:03d}-075.wav")
    data = nsynth(released)
    assert data.leaks() == []
    tracks = [track for track in data.check()[0] if track.audio.name.startswith("bass_synthetic")]
    assert (len(tracks), len({track.split for track in tracks})) == (40, 1)


def test_that_validation_and_test_share_instruments_is_a_notice(tmp_path):
    shared = {"organ_electronic_007": 3, "bass_electronic_018": 2}
    counts = {
        "nsynth-train": {"reed_acoustic_001": 3},
        "nsynth-valid": shared,
        "nsynth-test": {**shared, "string_acoustic_002": 1},
    }
    root = nsynth_tree(tmp_path, counts)
    data = nsynth(root, label="family", split="published")
    data.check()
    (notice,) = data.notices
    assert str(notice).startswith(f"{root}: nsynth-valid and nsynth-test share 2 instruments, first bass_electronic_018 (")
    by_notes = nsynth(root)
    by_notes.check()
    assert by_notes.notices == []
