"""The data set `notes`: isolated recorded notes with their instrument or technique as tag."""

import csv
import os
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pydantic import ValidationError

from etude.adapters.annotations.tags import Tag
from etude.adapters.datasets.notes import Notes
from etude.adapters.errors import UserError
from etude.adapters.sound import spans as spans

COLUMNS = "path,source,instrument,technique,midi,dynamic,split,licence"
SHARED = Path(os.environ.get("ETUDE_SHARED", Path(__file__).parents[2] / "shared"))
RATE = 8000


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ETUDE_CACHE", str(tmp_path / "cache"))


def note(path, lead=0.25, seconds=0.5, tail=0.25, seed=0):
    """Silence, noise, silence."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, int(seconds * RATE))
    soundfile.write(path, np.concatenate([np.zeros(int(lead * RATE)), noise, np.zeros(int(tail * RATE))]), RATE)


def collection(folder, rows):
    """A CSV in ``folder`` of rows (instrument, technique, split), with a file each."""
    lines = [COLUMNS]
    for number, (instrument, technique, split) in enumerate(rows):
        note(folder / f"n{number}.wav", seed=number)
        lines.append(f"n{number}.wav,s,{instrument},{technique},60,,{split},CC0-1.0")
    (folder / "notes.csv").write_text("\n".join(lines) + "\n")
    return folder / "notes.csv"


def rows(*instruments, technique="plain"):
    return [(name, technique, split) for name in instruments for split in ("train", "train", "val", "test")]


def notes(table, **fields):
    return Notes(Notes.Config(name="notes", notes=str(table), **fields))


def told(dataset):
    return [str(problem) for problem in dataset.check()[1]]


def edit(table, line, column, value):
    with table.open(newline="") as file:
        cells = list(csv.reader(file))
    cells[line - 1][cells[0].index(column)] = value
    table.write_text("\n".join(map(",".join, cells)) + "\n")


def test_each_file_is_a_track_with_one_note_where_it_sounds(tmp_path):
    data = notes(collection(tmp_path, rows("oboe", "flute")))
    assert told(data) == []
    assert (data.classes, data.licence) == ({"tags": ("flute", "oboe"), "notes": ("plain",)}, "CC0-1.0")
    track = data.tracks("train")[0]
    assert (track.id, track.annotation.tags.records) == ("n0.wav", (Tag("oboe"),))
    (found,) = track.annotation.notes
    assert (found.pitch, found.technique, found.instrument) == (60, "plain", "oboe")
    assert (found.onset, found.offset) == pytest.approx((0.25, 0.75), abs=0.006)
    assert track.info.duration == 1.0
    assert {split: len(data.tracks(split)) for split in ("train", "validation", "test")} == {
        "train": 4,
        "validation": 2,
        "test": 2,
    }


def test_techniques_as_classes_and_what_may_be_empty(tmp_path):
    table = collection(tmp_path, [("", technique, split) for _, _, split in rows("x") for technique in ("trill", "arco")])
    data = notes(table, label="technique")
    assert told(data) == []
    assert data.classes["tags"] == data.classes["notes"] == ("arco", "trill")
    assert data.tracks("train")[0].annotation.tags.records == (Tag("trill"),)
    assert data.tracks("train")[0].annotation.notes[0].instrument is None
    edit(table, 2, "technique", "")
    assert f"{table}:2: names no technique (fill it in, or remove the row)" in told(notes(table, label="technique"))
    assert any(":2: names no instrument" in line for line in told(notes(table)))


def test_classes_give_the_order_and_filters_the_choice(tmp_path):
    table = collection(tmp_path, rows("oboe", "flute", "horn"))
    assert notes(table, classes=["oboe", "horn", "flute"]).classes["tags"] == ("oboe", "horn", "flute")
    data = notes(table, instruments=["horn", "oboe"], splits=["train", "validation"])
    assert data.classes["tags"] == ("horn", "oboe")
    assert Counter(track.split for track in data.check()[0]) == {"train": 4, "validation": 2}
    assert notes(table, splits=["test"]).classes["tags"] == ("flute", "horn", "oboe")
    assert told(notes(table, splits=["test"])) == []
    with pytest.raises(ValidationError, match="'oboe' is named twice"):
        notes(table, classes=["oboe", "oboe"])


def test_every_problem_at_once_each_on_one_line(tmp_path):
    table = collection(tmp_path, [*rows("oboe", "flute"), ("tuba", "plain", "train"), ("obo", "plain", "train")])
    (tmp_path / "n0.wav").write_bytes(b"")
    soundfile.write(tmp_path / "n1.wav", np.zeros(800), RATE)
    (tmp_path / "n2.wav").write_bytes(b"RIFF....this is no audio")
    (tmp_path / "n3.wav").unlink()
    edit(table, 6, "midi", "C4")
    edit(table, 7, "split", "tain")
    problems = told(notes(table, classes=["oboe", "flute", "tuba"]))
    for text in (
        f"{tmp_path / 'n0.wav'}: ",
        f"{tmp_path / 'n1.wav'}: is silent (remove its row)",
        f"{tmp_path / 'n2.wav'}: cannot be read as audio",
        f"{table}:5: no such audio file: {tmp_path / 'n3.wav'}",
        f"{table}:6: midi is 'C4', not a number",
        f"{table}:7: unknown split 'tain' (did you mean 'train'?)",
        f"{table}:11: the instrument 'obo' is not among the classes (did you mean 'oboe'?)",
        f"{table}: the instrument 'tuba' has 1 training note, 2 are needed",
        f"{table}: the instrument 'tuba' has no validation note",
    ):
        assert sum(line.startswith(text) for line in problems) == 1, (text, problems)
    assert not any("\n" in line for line in problems)
    with pytest.raises(UserError) as caught:
        notes(table).tracks("train")
    assert len(caught.value.problems) > 5


def test_a_table_that_cannot_be_used(tmp_path):
    table = collection(tmp_path, rows("oboe", "flute"))
    text = table.read_text()
    table.write_text(text.replace(",instrument,", ",instrment,"))
    assert told(notes(table)) == [f"{table}:1: lacks the column 'instrument' (did you mean 'instrment'?)"]
    assert told(notes(tmp_path / "nope.csv")) == [
        f"{tmp_path / 'nope.csv'}: cannot be read: No such file or directory (check the path)"
    ]
    table.write_text(COLUMNS + "\n")
    assert told(notes(table)) == [f"{table}: no note is left to read (widen the choice)"]
    table.write_text(text)
    assert told(notes(table, instruments=["obo"])) == [f"{table}: no note of the instrument 'obo' (did you mean 'oboe'?)"]


def test_files_are_decoded_once(tmp_path, monkeypatch):
    table = collection(tmp_path, rows("oboe", "flute"))
    first = notes(table).check()
    decoded = []
    sound = spans.sound
    monkeypatch.setattr(spans, "sound", lambda path, rate: decoded.append(path) or sound(path, rate))
    assert notes(table).check() == first
    edit(table, 2, "technique", "other")  # labels are not what spans depend on
    assert notes(table).check()[1] == []
    assert decoded == []
    note(tmp_path / "n0.wav", lead=0.5, tail=0.0)
    (track, *_), problems = notes(table).check()
    assert (problems, track.annotation.notes[0].onset) == ([], pytest.approx(0.5, abs=0.006))
    assert len(decoded) == 8


@pytest.mark.skipif(not (SHARED / "data" / "notes.csv").is_file(), reason="needs the recorded notes")
def test_real_recordings(tmp_path):
    table = SHARED / "data" / "notes.csv"
    fields = {"instruments": ["banjo", "oboe"], "splits": ["train", "validation"]}
    data = notes(table, **fields)
    assert told(data) == []
    assert {track.audio.suffix for track in data.check()[0]} == {".mp3"}
    assert all(track.annotation.notes[0].offset <= track.info.duration for track in data.check()[0])
    started = time.perf_counter()
    assert notes(table, **fields).check() == data.check()
    assert time.perf_counter() - started < 2
