"""Folders as people have them: recordings with annotation files, and notes in a folder for each class."""

import pytest
from made_datasets import audio, whats

from etude.adapters.datasets.folder import Folder
from etude.adapters.datasets.note_phrases import NotePhrases
from etude.adapters.datasets.notes import Notes

HEADER = "onset_time,offset_time,technique,pitch\n"


def labelled(path, technique="a", text=None):
    audio(path.with_suffix(".wav"), seed=hash(path.as_posix()) % 1000)
    path.with_suffix(".csv").write_text(text or f"{HEADER}0,.5,{technique},60\n")


def folder(root, /, **options):
    return Folder(Folder.Config(name="folder", root=str(root), **options))


def pairs(data):
    return {file.audio.name: file.events.name for file in data.files()[0]}


def test_recordings_are_read_with_the_files_beside_them(tmp_path):
    for player in ("anna", "ben", "cleo"):
        for take in (1, 2):
            labelled(tmp_path / player / f"take{take}", "ab"[take - 1])
    data = folder(tmp_path)
    tracks, problems = data.check()
    assert problems == []
    assert data.classes == {"notes": ("a", "b")}
    assert [(track.id, track.group) for track in tracks][:3] == [
        ("anna/take1.wav", "anna"),
        ("anna/take2.wav", "anna"),
        ("ben/take1.wav", "ben"),
    ]
    assert {track.group: track.split for track in tracks}.keys() == {"anna", "ben", "cleo"}
    assert {(track.group, track.split) for track in tracks} == {(t.group, t.split) for t in tracks[::2]}, "one split each"
    assert {track.split for track in tracks} == {"train", "validation", "test"}
    assert data.notices == []


def test_annotation_files_may_lie_elsewhere_and_have_longer_names(tmp_path):
    for player in ("p1", "p2"):
        audio(tmp_path / "audio" / player / "Take 1.WAV")
        path = tmp_path / "labels" / player / "take 1_notes.csv"
        path.parent.mkdir(parents=True)
        path.write_text(f"{HEADER}0,.5,{player},60\n")
    data = folder(tmp_path)
    tracks, problems = data.check()
    assert problems == []
    assert {track.group: track.annotation.notes[0].technique for track in tracks} == {"p1": "p1", "p2": "p2"}


def test_of_two_files_of_the_name_one_is_read_and_the_other_named(tmp_path):
    labelled(tmp_path / "a")
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "a_old.csv").write_text("nonsense")
    labelled(tmp_path / "ab")
    data = folder(tmp_path)
    assert pairs(data) == {"a.wav": "a.csv", "ab.wav": "ab.csv"}
    assert f"{tmp_path / 'a.csv'}: is read, and a.json is not" in whats(data.notices)


def test_what_has_no_annotation_is_told_and_left_out(tmp_path):
    for name in ("a", "b", "c"):
        labelled(tmp_path / name)
    audio(tmp_path / "d.wav")
    data = folder(tmp_path)
    assert [track.id for track in data.check()[0]] == ["a.wav", "b.wav", "c.wav"]
    assert "1 of 4 recordings have no annotation file of their name" in whats(data.notices)
    assert "nothing tells sessions or players apart" in whats(data.notices)
    assert len(data.notices) == 2


def test_names_that_only_look_different_are_a_problem(tmp_path):
    for name, technique in (("a", "Arco"), ("b", "arco"), ("c", "pizz")):
        labelled(tmp_path / name, technique)
    assert "'Arco' and 'arco' differ only in case" in whats(folder(tmp_path).check()[1])
    assert folder(tmp_path, labels={"Arco": "arco", "arco": "arco", "pizz": "pizz"}).check()[1] == []


def test_hidden_files_and_what_runs_left_are_not_looked_at(tmp_path):
    labelled(tmp_path / "a")
    labelled(tmp_path / ".trash" / "b")
    labelled(tmp_path / "mine-adapter" / "c")
    (tmp_path / "mine-adapter" / "adapter.json").write_text("{}")
    assert pairs(folder(tmp_path)) == {"a.wav": "a.csv"}


def test_folders_that_name_splits_are_taken_at_their_word(tmp_path):
    for name in ("Train/x", "Train/y", "val/z", "test/w"):
        labelled(tmp_path / name)
    assert {track.id: track.split for track in folder(tmp_path).check()[0]} == {
        "Train/x.wav": "train",
        "Train/y.wav": "train",
        "val/z.wav": "validation",
        "test/w.wav": "test",
    }


def test_a_pattern_tells_who_plays(tmp_path):
    for name in ("player1_a", "player1_b", "player2_a", "player3_a"):
        labelled(tmp_path / name)
    tracks, _ = folder(tmp_path, group=r"player(\d)").check()
    assert [track.group for track in tracks] == ["1", "1", "2", "3"]
    assert tracks[0].split == tracks[1].split
    assert "'session' is not in the path" in whats(folder(tmp_path, group="session").check()[1])
    assert "is not a regular expression" in whats(folder(tmp_path, group="(").check()[1])


def test_every_fault_of_every_file_is_told_at_once(tmp_path):
    labelled(tmp_path / "a", text=f"{HEADER}0,.5,x,60\n2,1,x,60\n")
    labelled(tmp_path / "b", text=f"{HEADER}zero,.5,x,60\n")
    (tmp_path / "c.csv").write_text(HEADER)
    (tmp_path / "c.wav").write_text("no sound")
    text = whats(folder(tmp_path).check()[1])
    assert all(part in text for part in ("a.csv:3", "b.csv:2", "c.wav"))


def test_a_folder_without_recordings_or_annotations_says_so(tmp_path):
    assert "no such folder" in whats(folder(tmp_path / "missing").check()[1])
    assert "holds no recording" in whats(folder(tmp_path).check()[1])
    audio(tmp_path / "x" / "a.wav")
    assert "holds no recording with an annotation file of its name" in whats(folder(tmp_path).check()[1])


NAMES = {
    "bass_Bb2_mf.wav": 46,
    "As3.wav": 58,
    "c4-1.wav": 60,
    "pizz midi_40.wav": 40,
    "G#-1 take.wav": 8,
}


def note_folder(root, names, seconds=0.3):
    for index, name in enumerate(names):
        audio(root / name, seconds, seed=index)


@pytest.mark.parametrize("name", NAMES)
def test_pitches_are_those_in_the_names(tmp_path, name):
    note_folder(tmp_path, [f"arco/{name}", f"pizz/{name}"])
    tracks, _ = Notes(Notes.Config(name="notes", notes=str(tmp_path), label="technique", splits=["train"])).check()
    assert {note.pitch for track in tracks for note in track.annotation.notes} == {NAMES[name]}


@pytest.mark.parametrize("name", ["take 12.wav", "A1 and B1.wav", "arco7.wav", "Cmaj7.wav", "Part4.wav"])
def test_names_that_say_no_pitch_leave_it_open(tmp_path, name):
    note_folder(tmp_path, [f"arco/{name}", f"pizz/{name}"])
    tracks, _ = Notes(Notes.Config(name="notes", notes=str(tmp_path), label="technique", splits=["train"])).check()
    assert {note.pitch for track in tracks for note in track.annotation.notes} == {None}


def test_notes_in_a_folder_for_each_technique(tmp_path):
    pitches = ("C3", "D3", "E3", "F3", "G3", "A3", "B3", "C4")
    note_folder(
        tmp_path, [f"{technique}/{pitch}_{take}.wav" for technique in ("arco", "pizz") for pitch in pitches for take in "12"]
    )
    data = Notes(Notes.Config(name="notes", notes=str(tmp_path), label="technique"))
    tracks, problems = data.check()
    assert problems == []
    assert data.classes == {"tags": ("arco", "pizz"), "notes": ("arco", "pizz")}
    split_of = {}
    for track in tracks:
        (note,) = track.annotation.notes
        assert split_of.setdefault(note.pitch, track.split) == track.split, "no pitch is in two splits"
        assert track.annotation.tags[0].name == note.technique == track.id.split("/")[0]
    assert set(split_of.values()) == {"train", "validation", "test"}
    phrases = {"phrases": {"train": 2, "validation": 1, "test": 1}, "phrase_seconds": 2.0}
    laid = NotePhrases(NotePhrases.Config(name="note_phrases", notes=str(tmp_path), **phrases))
    assert laid.check()[1] == []
    assert laid.classes["notes"] == ("arco", "pizz")


def test_notes_of_one_outer_folder_stay_together(tmp_path):
    note_folder(
        tmp_path, [f"{who}/{name}/{n}.wav" for who in ("anna", "ben", "cleo") for name in ("flute", "oboe") for n in range(3)]
    )
    tracks, problems = Notes(Notes.Config(name="notes", notes=str(tmp_path))).check()
    assert problems == []
    assert len({(track.group, track.split) for track in tracks}) == len({track.group for track in tracks}) == 3
    assert {track.annotation.notes[0].instrument for track in tracks} == {"flute", "oboe"}


def test_a_note_in_no_folder_is_a_problem(tmp_path):
    note_folder(tmp_path, ["arco/a.wav", "b.wav"])
    assert f"{tmp_path / 'b.wav'}: lies in no folder that names its class" in whats(
        Notes(Notes.Config(name="notes", notes=str(tmp_path), label="technique")).check()[1]
    )
