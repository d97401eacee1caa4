"""Annotation files of other programs: the same six notes in ten formats, and what is special in each."""

import csv
import json
import shutil
from pathlib import Path

import jams
import pytest

from etude.adapters.annotations.notes import Note
from etude.adapters.annotations.tags import Tag
from etude.adapters.formats import Reading, format_of, read_annotation, readable, recognise

CASES = Path(__file__).parent / "fixtures" / "annotations"
FORMATS = {
    "audacity.txt": "audacity",
    "audacity-with-frequencies.txt": "audacity",
    "elan.eaf": "elan",
    "expected.csv": "csv",
    "notes-and-tags.jams": "jams",
    "one-track-per-technique.mid": "midi",
    "praat.TextGrid": "textgrid",
    "sonic-visualiser-notes.csv": "csv",
    "sonic-visualiser.svl": "svl",
    "tony-notes.csv": "tony",
}
WITHOUT_TECHNIQUE = {"tony-notes.csv"}
"""It has no place for one."""
HALF_TONES = {"audacity-with-frequencies.txt": 0.5}
"""How near the pitches are, if not to a hundredth."""


def expected():
    with (CASES / "expected.csv").open(newline="") as file:
        return [
            (float(r["onset_time"]), float(r["offset_time"]), r["technique"], float(r["pitch"])) for r in csv.DictReader(file)
        ]


def notes_in(path, text=None, **how):
    if text is not None:
        path.write_bytes(text) if isinstance(text, bytes) else path.write_text(text, encoding="utf-8")
    read = read_annotation(path, Reading(**how))
    assert not read.problems
    return [(n.onset, n.offset, n.pitch, n.technique) for n in read.annotation.notes]


def problems_in(path, text, **how):
    path.write_bytes(text) if isinstance(text, bytes) else path.write_text(text, encoding="utf-8")
    return [str(problem).replace(str(path), "FILE") for problem in read_annotation(path, Reading(**how)).problems]


@pytest.mark.parametrize("name", FORMATS)
def test_one_annotation_in_ten_formats(name):
    read = read_annotation(CASES / name)
    assert not read.problems
    assert len(read.annotation.notes) == 6
    for note, (onset, offset, technique, pitch) in zip(read.annotation.notes, expected(), strict=True):
        assert note.onset == pytest.approx(onset, abs=0.001)
        assert note.offset == pytest.approx(offset, abs=0.001)
        assert note.pitch == pytest.approx(pitch, abs=HALF_TONES.get(name, 0.01))
        assert note.technique == (None if name in WITHOUT_TECHNIQUE else technique)


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_told_by_its_content(tmp_path, name):
    assert set(FORMATS) == {path.name for path in CASES.iterdir()}
    start = (CASES / name).read_bytes()
    assert [one for one in readable() if format_of(one).recognises(start)] == [FORMATS[name]]
    for misleading in ("a", "a.txt", "a.json", "a.mid", "a.eaf"):
        shutil.copy(CASES / name, tmp_path / misleading)
        assert type(recognise(tmp_path / misleading)) is type(format_of(FORMATS[name]))


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.TextGrid", "a.MIDI", "a.wav"])
def test_what_says_nothing_is_told_by_its_suffix_or_not_at_all(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x00\x01\x02")
    read = read_annotation(tmp_path / name)
    assert not read.annotation.notes
    assert read.problems
    known = "is no annotation in a format that is known" in read.problems[0].what
    assert known == (name == "a.wav")


# Audacity


def test_pitches_are_read_from_labels_only_if_all_have_one(tmp_path):
    path = tmp_path / "a.txt"
    assert notes_in(path, "0\t1\tharmonic 12\n1\t2\tpluck\n") == [(0, 1, None, "harmonic 12"), (1, 2, None, "pluck")]
    assert notes_in(path, "0\t1\tstring 1\n1\t2\tstring 2\n") == [(0, 1, None, "string 1"), (1, 2, None, "string 2")]
    assert notes_in(path, "0\t1\tdown bow 40.5\n1\t2\t62\n") == [(0, 1, 40.5, "down bow"), (1, 2, 62, None)]
    assert notes_in(path, "0\t1\tA4\n1\t2\tBb3\n") == [(0, 1, 69, None), (1, 2, 58, None)]
    known = {"string 40": "string 40"}
    assert notes_in(path, "0\t1\tstring 40\n", labels=known) == [(0, 1, None, "string 40")]


def test_a_band_of_frequencies_has_its_geometric_mean(tmp_path):
    text = "0\t1\ta\n\\\t220\t880\n1\t2\tb 40\n\\\t-1.0\t880\n2\t3\n"
    assert notes_in(tmp_path / "a.txt", text) == [(0, 1, 69, "a"), (1, 2, None, "b 40"), (2, 3, None, None)]


def test_what_is_no_label_is_a_problem_at_its_line(tmp_path):
    text = "0\t1\ta\nnonsense\n2\tx\tb\n3\t2\tc\n"
    assert problems_in(tmp_path / "a.txt", text) == [
        "FILE:2: has no two times: 'nonsense' (correct or remove it)",
        "FILE:3: has no two times: '2\\tx\\tb' (correct or remove it)",
        "FILE:4: event at 3 s has offset before its onset (correct its times, pitch or confidence)",
    ]


def test_tags_are_told_from_a_note_as_long_as_the_recording(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("0\t4\ttags: cello, bowed\n0\t4\tdrone\n")
    annotation = read_annotation(path).annotation
    assert annotation.tags.records == (Tag("cello, bowed"),)
    assert annotation.notes.records == (Note(0, 4, None, "drone"),)
    path.write_text("0\t4\tcello\n0\t4\toboe\n")
    assert read_annotation(path, Reading("tags")).annotation.tags.records == (Tag("cello"), Tag("oboe"))


# Tony, Sonic Visualiser


def test_values_of_tables_without_a_header_are_hz_or_midi(tmp_path):
    path = tmp_path / "notes.csv"
    assert notes_in(path, "0.5,55.0,1\n2,110,1\n3,61.7,1\n")[:2] == [(0.5, 1.5, 33, None), (2, 3, 45, None)]
    assert notes_in(path, "0.5,55,1,0.8,pluck\n2,60,1,0.8,\n") == [(0.5, 1.5, 55, "pluck"), (2, 3, 60, None)]
    assert problems_in(path, "0.5,55.5,1,0.8,pluck\n") == [
        "FILE: the values of the second column may be MIDI numbers or Hz (call the column pitch (MIDI numbers) or pitch_hz)"
    ]
    assert problems_in(path, "0.5,440,1\n1,0,1\n2,440\n") == [
        "FILE:2: has no time, pitch and duration: '1,0,1' (correct it, or remove the line)",
        "FILE:3: has no time, pitch and duration: '2,440' (correct it, or remove the line)",
    ]


def test_notes_with_tabs_are_told_from_labels_that_are_numbers(tmp_path):
    path = tmp_path / "notes.txt"
    assert notes_in(path, "0.25\t440\t0.65\n1.0\t880\t0.75\n") == [(0.25, 0.9, 69, None), (1, 1.75, 81, None)]
    assert notes_in(path, "0.25\t0.9\t62\n1.0\t1.75\t64\n") == [(0.25, 0.9, 62, None), (1, 1.75, 64, None)]


SVL = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE sonic-visualiser>
<sv><data>
<model id="1" sampleRate="1000" type="sparse" dimensions="3" dataset="0" subtype="{subtype}" units="{units}" />
<dataset id="0" dimensions="3">{points}</dataset>
</data><display><layer id="2" type="notes" name="Notes" model="1" /></display></sv>
"""


@pytest.mark.parametrize(
    ("units", "value", "pitch"), [("Hz", "110", 45), ("MIDI Pitch", "45.5", 45.5), ("", "45", 45), ("", "440", 69)]
)
def test_layers_have_frames_at_their_rate_and_pitches_in_their_unit(tmp_path, units, value, pitch):
    points = f'<point frame="500" value="{value}" duration="250" level="1" label="1" />'
    path = tmp_path / "a.svl"
    assert notes_in(path, SVL.format(subtype="note", units=units, points=points)) == [(0.5, 0.75, pitch, "1")]


def test_regions_have_no_pitch_and_instants_no_length(tmp_path):
    path = tmp_path / "a.svl"
    region = '<point frame="500" value="3" duration="250" label="pluck" />'
    assert notes_in(path, SVL.format(subtype="region", units="", points=region)) == [(0.5, 0.75, None, "pluck")]
    instant = '<point frame="500" label="pluck" /><point frame="x" label="a" />'
    assert problems_in(path, SVL.format(subtype="", units="", points=instant)) == [
        "FILE, layer 'Notes', point 2: has no frame, duration and pitch (correct or remove it)",
        "FILE, tier 'Notes' at 0.5 s: event at 0.5 s has zero length (correct its times, pitch or confidence)",
    ]
    ambiguous = '<point frame="500" value="45.5" duration="250" label="pluck" />'
    assert "may be MIDI numbers or Hz" in problems_in(path, SVL.format(subtype="note", units="", points=ambiguous))[0]


# JAMS, JSON


def jams_file(path, parts, duration=10.0):
    """Written with the library: parts are (namespace, observations of time, duration, value)."""
    document = jams.JAMS()
    document.file_metadata.duration = duration
    for namespace, observations in parts:
        part = jams.Annotation(namespace)
        for time, length, value in observations:
            part.append(time=time, duration=length, value=value, confidence=None)
        document.annotations.append(part)
    document.save(str(path), strict=True)
    return path


def test_a_jams_annotation_per_string_is_all_notes(tmp_path):
    strings = [("note_midi", [(0.5, 1, 40.1), (2, 1, 41)]), ("note_midi", [(0.5, 1, 45)]), ("note_hz", [(3, 1, 440)])]
    contour = ("pitch_contour", [(0, 0, {"index": 0, "frequency": 440.0, "voiced": True})])
    path = jams_file(tmp_path / "a.jams", [*strings, contour])
    assert notes_in(path) == [(0.5, 1.5, 40.1, None), (0.5, 1.5, 45, None), (2, 3, 41, None), (3, 4, 69, None)]
    (notice,) = read_annotation(path).notices
    assert notice.what == "has 'pitch_contour', not read"


def test_labels_of_the_whole_recording_are_tags(tmp_path):
    parts = [("tag_open", [(0, 10, "cello"), (0, 10, "slow")]), ("tag_open", [(0, 10, "legato"), (1, 2, "pluck")])]
    annotation = read_annotation(jams_file(tmp_path / "a.jams", parts)).annotation
    assert annotation.tags.records == (Tag("cello"), Tag("slow"))
    assert [note.technique for note in annotation.notes] == ["legato", "pluck"]


def test_pitches_at_other_times_than_labels_are_notes_of_their_own_with_a_notice(tmp_path):
    parts = [("note_midi", [(0.5, 1, 40), (2.0008, 1, 50)]), ("tag_open", [(2, 1, "pluck")])]
    path = jams_file(tmp_path / "a.jams", parts)
    assert notes_in(path) == [(0.5, 1.5, 40, None), (2, 3, 50, "pluck")]
    assert [notice.what for notice in read_annotation(path).notices] == ["has 1 of 2 pitches at times of their own"]


def test_faulty_observations_and_records_are_problems_in_their_places(tmp_path):
    data = [{"time": 0, "duration": 1, "value": 60}, {"time": "0", "duration": 1, "value": 60}, 7, {"time": 3, "duration": 1}]
    text = json.dumps({"annotations": [{"namespace": "note_midi", "data": data}, {"namespace": "tag_open", "data": 3}, 5]})
    assert problems_in(tmp_path / "a.jams", text) == [
        *(f"FILE, note_midi[{index}]: has no time, duration and value (correct or remove it)" for index in (1, 2, 3)),
        "FILE, tag_open: has no observations (save it again in the program that wrote it)",
    ]
    text = json.dumps({"recording": "a", "notes": [{"onset": 0, "offset": None}, [], {"onset": 0, "offset": {}}], "tags": 4})
    assert problems_in(tmp_path / "a.json", text) == [
        "FILE, notes[1]: is no record: an object of texts and numbers (correct or remove it)",
        "FILE, notes[2]: is no record: an object of texts and numbers (correct or remove it)",
        "FILE: tags is no list (export the annotation again)",
        "FILE, notes[0]: offset_time is '', not a number (seconds for times, MIDI numbers or notes such as C4 for pitch, "
        "0 to 1 for confidence)",
    ]
    assert "no annotation that etude wrote" in problems_in(tmp_path / "a.json", '{"a": 1}')[0]


def test_some_formats_hold_no_tags(tmp_path):
    (problem,) = read_annotation(CASES / "one-track-per-technique.mid", Reading("tags")).problems
    assert problem.what == "is a MIDI file, which holds no tags"
    assert "holds no tags" in read_annotation(CASES / "expected.csv", Reading("tags")).problems[0].what
