"""Notes in CSV files, as other programs and people write them."""

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_notes import note

from etude.adapters.annotations import Annotation, kind_of
from etude.adapters.annotations.notes import Note
from etude.adapters.errors import Problem
from etude.adapters.formats import Reading, read_annotation
from etude.adapters.formats.csv import read_table, write_records

HEADER = "onset_time,offset_time,technique,pitch\n"
NOTES = kind_of("notes")
reusing = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def events(tmp_path, text, **options):
    path = tmp_path / "events.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return read_notes(path, **options)


def times_in_csv(note):
    return [float(NOTES.row(note)[cell]) for cell in NOTES.required[:2]]


def read_notes(path, **how):
    read = read_annotation(path, Reading(**how))
    return read.annotation.notes.records, read.problems


def test_notes_are_read(tmp_path):
    notes, problems = events(tmp_path, HEADER + "0.5,1.25,vibrato,60\n\n 2 , 3 ,,\n")
    assert not problems
    assert notes == (Note(0.5, 1.25, 60.0, "vibrato"), Note(2.0, 3.0))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_byte_order_marks_of_other_systems(tmp_path, end, mark):
    text = mark + (HEADER + "0,1,a,60\n1,2,b\n").replace("\n", end).encode()
    assert events(tmp_path, text) == ((Note(0, 1, 60, "a"), Note(1, 2, None, "b")), [])


def test_columns_may_stand_anywhere_and_have_other_names(tmp_path):
    notes, problems = events(
        tmp_path,
        "note,extra,IPT,offset_time,onset_time\n61,x,chanyin,2,1\n",
        columns={"technique": "IPT", "pitch": "note"},
        labels={"chanyin": "vibrato"},
    )
    assert (notes, problems) == ((Note(1, 2, 61, "vibrato"),), [])


BAD_ROWS = {
    "x,1,a,60": "onset_time is 'x', not a number",
    ",1,a,60": "onset_time is '', not a number",
    "0,1,a,I4": "pitch is 'I4', not a number",
    "0,1,a,128": "pitch 128 is not a MIDI number",
    "0,1,a,nan": "pitch nan is not a MIDI number",
    "2,1,a,60": "offset before its onset",
    "1,1,a,60": "zero length",
    "-1,1,a,60": "before the recording starts",
    "nan,1,a,60": "not a finite number",
    "0,inf,a,60": "outside the recording",
    "0,1,vibratto,60": "unknown technique 'vibratto'",
    "11,12,a,60": "outside the recording of 10.00 s",
    "9,10.2,a,60": "outside the recording of 10.00 s",
    "0,1,a,60,sure": "confidence is 'sure', not a number",
    "0,1,a,60,1.01": "confidence 1.01 is not between 0 and 1",
    "0,1,a,60,-0.1": "confidence -0.1 is not between 0 and 1",
    "0,1,a,60,nan": "confidence nan is not between 0 and 1",
}


def test_every_bad_row_is_reported_at_once_with_its_line(tmp_path):
    text = HEADER.replace("\n", ",confidence\n") + "".join(f"{row}\n" for row in BAD_ROWS) + "0,1,a,60\n"
    notes, problems = events(tmp_path, text, labels={"a": "A", "vibrato": "V"}, duration=10.0)
    assert notes == (Note(0, 1, 60, "A"),)
    assert len(problems) == len(BAD_ROWS)
    for line, (problem, what) in enumerate(zip(problems, BAD_ROWS.values(), strict=True), start=2):
        assert what in problem.what
        assert problem.where == f"{tmp_path / 'events.csv'}:{line}"
        assert problem.fix
    assert any(problem.fix == "did you mean 'vibrato'?" for problem in problems)


def test_an_offset_just_after_the_end_is_cut(tmp_path):
    assert events(tmp_path, HEADER + "9,10.05,a,60\n", duration=10.0) == ((Note(9, 10, 60, "a"),), [])


FILES = {
    b"": "lacks the column 'onset_time'",
    b"\n\n": "lacks the column 'onset_time'",
    b"onset_tme,offset_time,technique\n0,1,a\n": "lacks the column 'onset_time'",
    b"\xff\xfe\x00": "is not a UTF-8 text file",
    HEADER.encode() + b'0,1,"a,60\n1,2,b,60\n': "is not a CSV file",  # an open quote would swallow the rest
}


@pytest.mark.parametrize("content", FILES)
def test_a_file_that_is_no_event_csv_is_a_problem(tmp_path, content):
    notes, problems = events(tmp_path, content)
    assert notes == ()
    assert FILES[content] in problems[0].what


def test_a_misspelt_column_is_answered_with_the_nearest(tmp_path):
    _, (problem,) = events(tmp_path, "onset_tme,offset_time,technique\n0,1,a\n")
    assert problem.fix == "did you mean 'onset_tme'?"


@pytest.mark.parametrize("name", ["missing.csv", ".", "a\0b.csv", "a" * 300])
def test_a_file_that_cannot_be_opened_is_a_problem(tmp_path, name):
    notes, (problem,) = read_notes(tmp_path / name)
    assert notes == ()
    assert "cannot be read" in problem.what
    assert problem.where == str(tmp_path / name)


@given(
    st.one_of(
        st.binary(max_size=300), st.text(max_size=300), st.text("0123456789.,-\n\"'naife ", max_size=200).map(HEADER.__add__)
    )
)
@reusing
def test_no_content_raises_and_every_note_is_possible(tmp_path, content):
    notes, problems = events(tmp_path, content, duration=100.0)
    assert all(isinstance(problem, Problem) for problem in problems)
    assert all(note.problem() is None for note in notes)
    Annotation(notes=notes)


@given(st.lists(note, max_size=8))
@reusing
def test_what_is_written_is_read_back(tmp_path, notes):
    path = tmp_path / "events.csv"
    write_records(path, Annotation(notes=notes))
    back, problems = read_notes(path)
    assert problems == []
    assert len(back) == len(notes)
    as_read = sorted(Annotation(notes=notes).notes, key=times_in_csv)
    for a, b in zip(as_read, back, strict=True):
        assert (a.pitch, a.technique) == (b.pitch, b.technique)
        assert math.isclose(a.onset, b.onset, abs_tol=5.1e-5)
        assert math.isclose(a.offset, b.offset, abs_tol=1.6e-4)
        assert b.confidence == (None if a.confidence is None else pytest.approx(a.confidence, abs=5.1e-4))


def test_a_confidence_column_is_added_when_known(tmp_path):
    write_records(tmp_path / "events.csv", Annotation(notes=[Note(0, 1, 60.5, "a", confidence=0.25), Note(1, 2)]))
    rows, _ = read_table(tmp_path / "events.csv", ("confidence",))
    assert [(row["pitch"], row["confidence"]) for _, row in rows] == [("60.5", "0.250"), ("", "")]
    notes, _ = read_notes(tmp_path / "events.csv")
    assert [note.confidence for note in notes] == [0.25, None]
