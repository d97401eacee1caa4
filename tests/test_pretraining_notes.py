"""Recorded notes that clips of pretraining are made of: which are taken, and how they are drawn."""

import csv
import os
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.random import default_rng

from etude.adapters.errors import UserError
from etude.adapters.pretraining import source_notes as module
from etude.adapters.pretraining.source_notes import SourceNote, draw, source_notes
from etude.adapters.recipe.pretraining import RecordingsConfig, load_pretrain_recipe

RATE = 24_000
SHARED = Path(os.environ.get("ETUDE_SHARED", Path(__file__).parents[2] / "shared"))
ROWS = [
    ("a", "mine", "lute", "plucked", "40", "train"),
    ("b", "mine", "lute", "strummed", "41", "train"),
    ("c", "mine", "viol", "bowed", "", "train"),
    ("d", "theirs", "lute", "plucked", "42", "train"),
    ("e", "mine", "lute", "plucked", "43", "validation"),
    ("f", "mine", "lute", "plucked", "44", "test"),
]


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
