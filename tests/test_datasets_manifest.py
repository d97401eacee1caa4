"""Data sets of a manifest, and what `check` finds in any data set."""

import numpy as np
import pytest
import soundfile
from made_datasets import audio, whats
from pydantic import ValidationError

from etude.adapters.datasets._parts.survey import survey
from etude.adapters.datasets.manifest import ManifestDataset
from etude.adapters.datasets.note_phrases import NotePhrases
from etude.adapters.errors import UserError

HEADER = "onset_time,offset_time,technique,pitch\n"


def labelled(folder, rows, header="audio,events,split"):
    """A data set in which row ``k`` is (split, events text); files are named after the row."""
    lines = [header]
    for number, (split, text) in enumerate(rows):
        audio(folder / f"{number}.wav", seed=number)
        (folder / f"{number}.csv").write_text(HEADER + text)
        lines.append(f"{number}.wav,{number}.csv,{split}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")


def manifest(root, **options):
    return ManifestDataset(ManifestDataset.Config(name="manifest", root=str(root), **options))


def test_a_manifest_gives_its_tracks(tmp_path):
    labelled(tmp_path, [("train", "0,.5,b,60\n.5,1,a,\n"), ("val", "0,1,b,61\n"), ("Test", ""), ("validation", "0,1,a,3\n")])
    data = manifest(tmp_path)
    assert [track.id for track in data.tracks("train")] == ["0.wav"]
    assert [track.id for track in data.tracks("validation")] == ["1.wav", "3.wav"]
    (test,) = data.tracks("test")
    assert test.annotation.notes.records == ()
    assert test.info.duration == 1.0
    assert data.classes["notes"] == ("a", "b")
    assert data.licence == "unknown"
    assert data.notices == []
    assert survey(data.check()[0]).problems == []


def test_the_licence_is_the_union_over_the_rows(tmp_path):
    labelled(tmp_path, [("train", "0,1,a,\n")] * 4)
    lines = (tmp_path / "manifest.csv").read_text().splitlines()
    tail = [",licence", ",CC0-1.0", ",CC-BY-4.0", ",", ",CC0-1.0"]
    (tmp_path / "manifest.csv").write_text("\n".join(a + b for a, b in zip(lines, tail, strict=True)))
    data = manifest(tmp_path, licence="MIT")
    data.check()
    assert data.licence == "CC-BY-4.0 AND CC0-1.0 AND MIT"


def test_recordings_weigh_what_their_row_says_times_the_data_set(tmp_path):
    labelled(tmp_path, [("train", "0,1,a,\n")] * 3)
    lines = (tmp_path / "manifest.csv").read_text().splitlines()
    tail = [",weight", ",0.25", ", 4 ", ","]
    (tmp_path / "manifest.csv").write_text("\n".join(a + b for a, b in zip(lines, tail, strict=True)))
    assert [track.weight for track in manifest(tmp_path).tracks("train")] == [0.25, 4, 1]
    assert [track.weight for track in manifest(tmp_path, weight=2).tracks("train")] == [0.5, 8, 2]
    with pytest.raises(ValidationError, match="greater than 0"):
        manifest(tmp_path, weight=0)


def test_confidences_are_read_and_are_targets_with_soft_labels_only(tmp_path):
    labelled(tmp_path, [("train", "0,.5,a,\n")])
    (tmp_path / "0.csv").write_text("onset_time,offset_time,technique,confidence\n0,.5,a,.25\n.5,1,a,\n")
    for options, soft in (({}, False), ({"soft_labels": True}, True)):
        (track,) = manifest(tmp_path, **options).tracks("train")
        assert track.soft is soft
        assert [note.confidence for note in track.annotation.notes] == [0.25, None]


@pytest.mark.parametrize("cell", ["0", "-1", "x", "nan", "inf", "1,5"])
def test_a_weight_that_is_none_is_a_problem_of_its_row(tmp_path, cell):
    labelled(tmp_path, [("train", "0,1,a,\n")] * 2)
    header, first, second = (tmp_path / "manifest.csv").read_text().splitlines()
    (tmp_path / "manifest.csv").write_text(f'{header},weight\n{first},1\n{second},"{cell}"\n')
    _, problems = manifest(tmp_path).check()
    fix = "write one such as 0.5, or nothing"
    assert whats(problems) == f"{tmp_path}/manifest.csv:3: weight is {cell!r}, not a number above 0 ({fix})"


def test_derived_data_do_not_depend_on_name_and_weight():
    """The keys are those of phrases that people already have in their cache."""
    config = NotePhrases.Config(name="note_phrases", notes="a.csv", phrases={"train": 1})
    assert list(config.content()) == [
        *("notes", "sources", "instruments", "techniques", "phrase_seconds", "phrases", "note_seconds", "gap"),
        *("overlap_probability", "overlap", "gain_db", "seed", "sample_rate"),
    ]
    weighted = NotePhrases.Config(name="note_phrases", weight=3, notes="a.csv", phrases={"train": 1})
    assert weighted.content() == config.content()


def test_labels_give_the_classes_and_their_order(tmp_path):
    labelled(tmp_path, [("train", "0,1,zz,\n.2,1,yy,\n")])
    data = manifest(tmp_path, labels={"zz": "late", "yy": "early", "xx": "late"})
    assert data.classes["notes"] == ("late", "early")
    assert [note.technique for note in data.tracks("train")[0].annotation.notes] == ["late", "early"]
    assert manifest(tmp_path, techniques=("zz", "none", "yy")).classes["notes"] == ("zz", "none", "yy")
    assert manifest(tmp_path, labels={"zz": "a", "yy": "b"}, techniques=("b", "a")).classes["notes"] == ("b", "a")
    with pytest.raises(ValidationError, match="'zz' leads to 'a', which is not among the techniques"):
        manifest(tmp_path, labels={"zz": "a"}, techniques=("b",))


def test_every_problem_of_the_set_is_reported_at_once(tmp_path):
    labelled(tmp_path, [("train", "0,1,vibrato,60\n")] * 3 + [("train", "0,1,vibratto,60\n5,6,vibrato,60\nx,1,vibrato,\n")])
    audio(tmp_path / "sub" / "kept.wav")
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("not audio")
    with (tmp_path / "manifest.csv").open("a") as file:
        file.write("0.wav,0.csv,test\nmissing.wav,0.csv,train\nempty.wav,0.csv,train\ntext.wav,0.csv,train\n")
        file.write("sub/kept.wav,gone.csv,train\n1.csv,1.csv,train\nsub/../2.wav,2.csv,train\n,2.csv,train\n")
        file.write("sub/kept.wav,,train\n3.wav,3.csv,trian\n")
    tracks, problems = manifest(tmp_path, techniques=("vibrato",)).check()
    assert [track.id for track in tracks] == ["0.wav", "1.wav", "2.wav"]
    expected = [
        "manifest.csv:6: 0.wav is listed before (line 2, split 'train')",
        "missing.wav: no such audio file",
        "empty.wav: cannot be read as audio",
        "text.wav: cannot be read as audio",
        "gone.csv: cannot be read: No such file",
        "1.csv: cannot be read as audio",
        "manifest.csv:12: sub/../2.wav is listed before (line 4",
        "manifest.csv:13: names no recording",
        "manifest.csv:14: names no event file",
        "manifest.csv:15: unknown split 'trian' (did you mean 'train'?)",
        "manifest.csv:15: 3.wav is listed before",
        "3.csv:2: unknown technique 'vibratto' (did you mean 'vibrato'?)",
        "3.csv:3: event 5-6 s is outside the recording of 1.00 s",
        "3.csv:4: onset_time is 'x', not a number",
    ]
    for text in expected:
        assert sum(text in str(problem) for problem in problems) == 1, text
    assert len(problems) == len(expected), whats(problems)


def test_tracks_are_refused_while_there_is_a_problem(tmp_path):
    labelled(tmp_path, [("train", "0,1,a,60\n"), ("validation", "0,1,a,60\n")])
    (tmp_path / "1.csv").unlink()
    with pytest.raises(UserError, match=r"1\.csv: cannot be read"):
        manifest(tmp_path).tracks("train")


def test_a_split_without_recordings_is_refused(tmp_path):
    labelled(tmp_path, [("train", "0,1,a,60\n")])
    with pytest.raises(UserError, match="no recording in the split 'test'"):
        manifest(tmp_path).tracks("test")


def test_a_technique_that_only_another_split_names_is_a_slip(tmp_path):
    labelled(tmp_path, [("train", "0,1,vibrato,60\n"), ("test", "0,1,vibrata,60\n")])
    _, (problem,) = manifest(tmp_path).check()
    assert str(problem) == f"{tmp_path}/1.csv:2: unknown technique 'vibrata' (did you mean 'vibrato'?)"


def test_a_faulty_training_file_brings_no_false_alarms(tmp_path):
    labelled(tmp_path, [("train", "0,1,a,60\nx,1,b,60\n"), ("test", "0,1,a,60\n.5,1,b,60\n")])
    _, (problem,) = manifest(tmp_path).check()
    assert problem.where.endswith("0.csv:3")


def test_without_a_training_split_the_techniques_are_those_of_the_rest(tmp_path):
    labelled(tmp_path, [("test", "0,1,b,60\n"), ("test", "0,1,a,60\n")])
    data = manifest(tmp_path)
    assert data.check()[1] == []
    assert data.classes["notes"] == ("a", "b")


def test_nothing_to_learn_is_a_problem(tmp_path):
    labelled(tmp_path, [("train", "")])
    assert "no recording has an event or a tag" in whats(manifest(tmp_path).check()[1])


def test_events_without_a_technique_are_notes_that_are_learned_as_such(tmp_path):
    labelled(tmp_path, [("train", "0,.5,,60\n"), ("test", "0,.5,,62\n")])
    data = manifest(tmp_path)
    assert data.classes == {"notes": ("note",)}
    assert [note.technique for track in data.check()[0] for note in track.annotation.notes] == ["note", "note"]
    assert "all are learned as 'note'" in whats(data.notices)
    judged = manifest(tmp_path, techniques=["note"])
    assert [note.technique for track in judged.check()[0] for note in track.annotation.notes] == ["note", "note"]
    others = manifest(tmp_path, techniques=["a", "b"])
    assert [note.technique for track in others.check()[0] for note in track.annotation.notes] == [None, None]


def test_events_may_be_told_apart_by_what_plays_them(tmp_path):
    labelled(tmp_path, [("train", "0,.5,,60\n"), ("test", "0,.5,,62\n")])
    for name, instruments in (("0.csv", "flute"), ("1.csv", "cello")):
        (tmp_path / name).write_text(f"onset_time,offset_time,technique,pitch,instrument\n0,.5,,60,{instruments}\n")
    data = manifest(tmp_path)
    (problem,) = data.check()[1]
    assert (problem.what, problem.where) == ("unknown instrument 'cello'", str(tmp_path / "1.wav"))
    both = manifest(tmp_path, label="instrument", labels={"flute": "wind", "cello": "string"})
    assert both.check()[1] == []
    assert both.classes == {"notes": ("wind", "string")}
    assert [note.technique for track in both.check()[0] for note in track.annotation.notes] == ["wind", "string"]


def test_a_manifest_may_have_tags_in_place_of_events_and_say_what_belongs_together(tmp_path):
    for name in "abcd":
        audio(tmp_path / f"{name}.wav")
    text = "audio,tags,split,group\na.wav,flute; cello,train,x\nb.wav,-,train,z\nc.wav,flute,test,y\nd.wav,,test,y\n"
    (tmp_path / "manifest.csv").write_text(text)
    data = manifest(tmp_path)
    assert (
        whats(data.check()[1]) == f"{tmp_path / 'manifest.csv'}:5: names no tag (fill in the column 'tags', or remove the row)"
    )
    (tmp_path / "manifest.csv").write_text(text.replace("d.wav,,", "d.wav,fluet,"))
    assert f"{tmp_path / 'manifest.csv'}:5: unknown tag 'fluet' (did you mean 'flute'?)" in whats(manifest(tmp_path).check()[1])
    (tmp_path / "manifest.csv").write_text(text.replace("d.wav,,", "d.wav,cello,"))
    data = manifest(tmp_path)
    tracks, problems = data.check()
    assert problems == []
    assert data.classes == {"tags": ("cello", "flute")}
    assert [[tag.name for tag in track.annotation.tags] for track in tracks] == [["cello", "flute"], [], ["flute"], ["cello"]]
    assert all("notes" not in track.annotation for track in tracks)
    assert [track.group for track in tracks] == ["x", "z", "y", "y"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (None, "cannot be read: No such file"),
        ("audio,event,split\na.wav,a.csv,train\n", "lacks the column 'events' (did you mean 'event'?)"),
        ("audio,events,split\n", "lists no recording"),
        ("audio,events,split\na\0.wav,b\0.csv,train\n", "no such audio file"),
    ],
)
def test_a_bad_manifest_is_a_problem(tmp_path, text, what):
    if text is not None:
        (tmp_path / "manifest.csv").write_text(text)
    tracks, problems = manifest(tmp_path).check()
    assert tracks == []
    assert what in whats(problems)


def test_notices_do_not_hinder(tmp_path):
    labelled(tmp_path, [("train", "0,.5,a,60\n.4,.6,a,60\n.4,.6,a,61\n.4,.6,b,60\n.6,.8,a,60\n"), ("train", "0,1,a,60\n")])
    audio(tmp_path / "extra.wav")
    data = manifest(tmp_path)
    assert len(data.tracks("train")) == 2
    assert [str(notice) for notice in data.notices] == [
        f"{tmp_path}/extra.wav: is not listed (add it, or ignore this)",
        f"{tmp_path}/0.wav: events that overlap one of the same technique and pitch: 1, first at 0.4 s (check their times)",
    ]


def test_an_event_inside_a_longer_one_is_noticed_after_a_shorter_one(tmp_path):
    labelled(tmp_path, [("train", "0,.9,a,60\n.1,.2,a,60\n.5,.6,a,60\n")])
    data = manifest(tmp_path)
    data.check()
    assert "same technique and pitch: 2, first at 0.1 s" in whats(data.notices)


def test_a_survey_finds_what_headers_do_not_tell(tmp_path):
    labelled(tmp_path, [("train", "0,1,a,60\n")] * 4 + [("test", "0,1,a,60\n")])
    samples = np.zeros(8000, np.float32)
    samples[4000] = np.nan
    soundfile.write(tmp_path / "1.wav", samples, 8000, subtype="FLOAT")
    audio(tmp_path / "2.flac", 5)
    content = (tmp_path / "2.flac").read_bytes()
    (tmp_path / "2.flac").write_bytes(content[: len(content) // 2])
    text = (tmp_path / "manifest.csv").read_text()
    (tmp_path / "manifest.csv").write_text(text.replace("2.wav", "2.flac"))
    (tmp_path / "2.wav").unlink()
    data = manifest(tmp_path)
    tracks, problems = data.check()
    assert problems == []
    nan, cut = survey(tracks).problems
    assert str(nan).startswith(f"{tmp_path}/1.wav: holds NaN or infinite samples at 0.50 s")
    assert str(cut).startswith(f"{tmp_path}/2.flac: cannot be decoded")
