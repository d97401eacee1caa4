import copy
import json
import math
import pickle
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etude.adapters import registry
from etude.adapters.annotations import Annotation, Layer, kind_of, merged
from etude.adapters.annotations.notes import Note
from etude.adapters.annotations.tags import Tag
from etude.adapters.errors import Problem, UserError
from etude.adapters.formats.csv import read_records, read_table, write_records

HEADER = "onset_time,offset_time,technique,pitch\n"
NOTES = kind_of("notes")
reusing = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def events(tmp_path, text, **options):
    path = tmp_path / "events.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return read_records(path, NOTES, **options)


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
        names={"technique": "IPT", "pitch": "note"},
        labels={"chanyin": "vibrato"},
    )
    assert (notes, problems) == ((Note(1, 2, 61, "vibrato"),), [])


BAD_ROWS = {
    "x,1,a,60": "onset_time is 'x', not a number",
    ",1,a,60": "onset_time is '', not a number",
    "0,1,a,C4": "pitch is 'C4', not a number",
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
    notes, (problem,) = read_records(tmp_path / name, NOTES)
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


names = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)
note = st.builds(
    lambda onset, length, pitch, technique, confidence: Note(onset, onset + length, pitch, technique, confidence=confidence),
    st.floats(0, 1000),
    st.floats(1e-6, 100),
    st.none() | st.integers(0, 127).map(float),
    st.none() | names,
    st.none() | st.floats(0, 1),
)


@given(st.lists(note, max_size=8))
@reusing
def test_what_is_written_is_read_back(tmp_path, notes):
    path = tmp_path / "events.csv"
    write_records(path, Annotation(notes=notes))
    back, problems = read_records(path, NOTES)
    assert problems == []
    assert len(back) == len(notes)
    for a, b in zip(sorted(notes, key=lambda n: (n.onset, n.offset)), back, strict=True):
        assert (a.pitch, a.technique) == (b.pitch, b.technique)
        assert math.isclose(a.onset, b.onset, abs_tol=5.1e-5)
        assert math.isclose(a.offset, b.offset, abs_tol=1.6e-4)
        assert b.confidence == (None if a.confidence is None else pytest.approx(a.confidence, abs=5.1e-4))


def test_a_confidence_column_is_added_when_known(tmp_path):
    write_records(tmp_path / "events.csv", Annotation(notes=[Note(0, 1, 60.5, "a", confidence=0.25), Note(1, 2)]))
    rows, _ = read_table(tmp_path / "events.csv", ("confidence",))
    assert [(row["pitch"], row["confidence"]) for _, row in rows] == [("60.5", "0.250"), ("", "")]
    notes, _ = read_records(tmp_path / "events.csv", NOTES)
    assert [note.confidence for note in notes] == [0.25, None]


def test_an_annotation_sorts_its_notes_and_refuses_impossible_ones():
    assert Annotation(notes=(Note(2, 3), Note(0, 5), Note(0, 1))).notes.records == (Note(0, 1), Note(0, 5), Note(2, 3))
    with pytest.raises(UserError) as caught:
        Annotation(notes=(Note(2, 1), Note(0, 1, pitch=200), Note(0, 1)))
    assert len(caught.value.problems) == 2


def test_tags_are_sorted_and_known_apart_from_none():
    tagged = Annotation(tags=[Tag("oboe"), Tag("cello"), Tag("oboe", 0.5)])
    assert tagged.tags.records == (Tag("cello"), Tag("oboe", 0.5))
    assert "tags" not in Annotation()
    assert Annotation().tags == Layer(known=())
    assert Annotation(tags=()).tags == Layer()
    assert Annotation(tags=()) != Annotation()
    assert hash(tagged) == hash(Annotation(tags=reversed(tagged.tags.records)))
    with pytest.raises(UserError, match="a tag has no name"):
        Annotation(tags=[Tag("")])


# layers and annotations


def test_known_spans_are_sorted_and_merged():
    layer = Layer(known=((4.0, math.inf), (1.0, 2.0), (0.5, 1.0), (4.5, 5.0)))
    assert layer.known == ((0.5, 2.0), (4.0, math.inf))
    assert layer == Layer(known=((0.5, 2.0), (4.0, math.inf)))
    for span in ((1.0, 1.0), (2.0, 1.0), (-1.0, 1.0), (math.nan, 1.0)):
        with pytest.raises(ValueError, match="a known span cannot last"):
            Layer(known=(span,))


spans = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 5)).map(lambda pair: (pair[0], pair[0] + pair[1])), max_size=4)


@given(spans, st.integers(0, 25))
def test_what_is_known_and_what_is_not_is_everything_once(known, end):
    layer = Layer(known=tuple(known))
    unknown = layer.unknown(end)
    times = np.arange(0, 30, 0.5)
    at = layer.known_at(times)
    for moment, found in zip(times, at, strict=True):
        assert found == any(begin <= moment < stop for begin, stop in known)
        assert any(begin <= moment < stop for begin, stop in unknown) == (moment < end and not found)
    assert Layer().unknown(end) == []
    assert Layer(known=()).unknown(7.0) == [(0.0, 7.0)]
    assert Layer().known_at(times).all()


def test_an_annotation_is_a_mapping_that_does_not_change():
    notes, tags = (Note(0, 1),), Layer((Tag("cello"),), unjudged=("oboe",))
    annotation = Annotation({"tags": tags}, notes=notes)
    assert list(annotation) == ["notes", "tags"]
    assert annotation["notes"] is annotation.notes
    assert annotation.notes.records == notes
    assert annotation["tags"] == annotation.tags == tags
    with pytest.raises(KeyError):
        Annotation(notes=notes)["tags"]
    with pytest.raises(AttributeError, match="no kind of annotation is called 'chords'"):
        _ = annotation.chords
    with pytest.raises(AttributeError):
        annotation.notes = ()
    assert not hasattr(annotation, "_chords")
    other = Annotation(annotation, notes=())
    assert (other.notes.records, other.tags) == ((), tags)
    assert annotation.notes.records == notes
    assert other != annotation
    assert pickle.loads(pickle.dumps(annotation)) == copy.deepcopy(annotation) == annotation
    assert len({annotation, Annotation(annotation), other}) == 2


def test_a_layer_of_which_nothing_is_known_is_not_there():
    annotation = Annotation(notes=Annotation().notes, tags=[])
    assert list(annotation) == ["tags"]
    assert annotation == Annotation(tags=())
    assert list(Annotation(notes=Layer((Note(0, 1),), known=()))) == ["notes"]


def test_impossible_records_of_all_kinds_are_told_at_once():
    with pytest.raises(UserError) as caught:
        Annotation(notes=[Note(2, 1), Note(0, 1), Note(-1, 1)], tags=[Tag("")])
    assert [problem.what for problem in caught.value.problems] == [
        "event at 2 s has offset before its onset",
        "onset -1 s is before the recording starts",
        "a tag has no name",
    ]
    with pytest.raises(UserError, match=r"unknown kind of annotation 'note' \(did you mean 'notes'\?\)"):
        Annotation(note=[])
    with pytest.raises(ValueError, match="'slide' is among the notes and among the unjudged classes"):
        Annotation(notes=Layer((Note(0, 1, technique="slide"),), unjudged=("slide",)))


def test_layers_of_several_annotators_are_merged():
    one = Layer((Tag("cello", 0.5), Tag("oboe", 0.25)), known=((0.0, 1.0),), unjudged=("flute", "harp"))
    other = Layer((Tag("oboe", 0.75),), known=((1.0, 2.0),), unjudged=("cello", "harp"))
    annotation = Annotation(tags=merged([one, other]))
    assert annotation.tags == Layer((Tag("cello", 0.5), Tag("oboe", 0.75)), ((0.0, 2.0),), ("harp",))
    assert merged([one]) == one


# what holds for every kind

EXAMPLES = {
    "notes": [Note(0.5, 1.25, 60.5, "a b", "oboe", 0.25), Note(0.25, 3.0), Note(2.5, 2.75, None, "c")],
    "tags": [Tag("oboe", 0.5), Tag("cello")],
}


def test_every_kind_has_examples():
    assert set(EXAMPLES) == set(registry.own_names("annotations"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_kind_arranges_counts_and_shows_its_records(name):
    kind, records = kind_of(name), EXAMPLES[name]
    annotation = Annotation({name: records})
    assert annotation == Annotation({name: reversed(records)})
    assert set(annotation[name]) == set(records)
    layer = annotation[name]
    marks = kind.marks(layer, 4.0)
    assert len(marks) == len(records)
    assert all(0 <= mark.start <= mark.end <= 4.0 and mark.text for mark in marks)
    assert [mark.confidence for mark in marks] == [record.confidence for record in layer]
    named = [found for record in layer if (found := kind.class_of(record))]
    assert sorted(set(named)) == sorted(kind.classes(layer))
    assert len(list(kind.counts(layer))) == len(records)
    assert kind.summary(layer)
    json.dumps(kind.plain(layer))
    assert not kind.columns or set(kind.required) <= set(kind.columns) <= set(kind.row(records[0]))


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("layer", [Layer(), Layer(known=()), Layer(unjudged=("a",))])
def test_a_kind_shows_nothing_as_well(name, layer):
    kind = kind_of(name)
    assert kind.marks(layer, 4.0) == []
    assert kind.classes(layer) == ()
    assert not any(observations for _, observations in kind.jams(layer, 4.0))
    assert isinstance(kind.summary(layer), str)
    assert kind.plain(layer) in ([], None)
    assert all(isinstance(text, str) for text in kind.counts(layer))
    assert kind.cut(layer, [(0.0, 1.0)]) == [layer]


def test_what_was_found_in_words():
    notes, tags = kind_of("notes"), kind_of("tags")
    assert [notes.summary(Layer((Note(0, 1),) * count)) for count in (0, 1, 2)] == ["0 events", "1 event", "2 events"]
    assert tags.summary(Layer((Tag("cello", 0.934), Tag("flute", 0.5), Tag("oboe")))) == "cello 0.93, flute 0.50, oboe"
    assert tags.summary(Layer()) == "no tag"
    assert (notes.heading, tags.heading) == ("events by technique", "recordings by tag")
    assert list(notes.counts(Layer((Note(0, 1), Note(0, 1, technique="a"))))) == ["(unlabelled)", "a"]
    assert [list(tags.counts(layer)) for layer in (Layer(known=()), Layer(), Layer(unjudged=("a",)), Layer((Tag("a"),)))] == [
        ["(unlabelled)"],
        ["(none)"],
        ["(none labelled)"],
        ["a"],
    ]


@given(st.lists(note, max_size=30), st.lists(st.tuples(st.floats(0, 1100), st.floats(0.1, 30)), max_size=5))
def test_a_cut_keeps_whatever_sounds_in_its_span(notes, windows):
    layer = Layer(tuple(notes), known=((1.0, 900.0),), unjudged=("x",))
    annotation = Annotation(notes=Layer(layer.records, layer.known), tags=[Tag("cello")])
    spans = [(start, start + length) for start, length in windows]
    for (start, end), part in zip(spans, annotation.cut(spans), strict=True):
        sounding = [n for n in annotation.notes if n.onset < end and n.offset > start]
        assert [n for n in part.notes if n.onset < end and n.offset > start] == sounding
        assert not [n for n in part.notes if n.onset >= end]
        assert part.notes.known == annotation.notes.known
        assert part.tags is annotation.tags
    assert [part.unjudged for part in kind_of("notes").cut(layer, spans)] == [("x",)] * len(spans)


def test_windows_of_clips_without_times_share_an_annotation():
    annotation = Annotation(tags=[Tag("cello")])
    assert all(part is annotation for part in annotation.cut([(0.0, 1.0), (1.0, 2.0)]))


def test_a_cut_of_an_hour_into_windows_is_quick():
    annotation = Annotation(notes=[Note(0.1 * i, 0.1 * i + 0.1, technique="a") for i in range(36_000)])
    began = time.perf_counter()
    parts = annotation.cut([(float(i), i + 1.0) for i in range(3600)])
    assert time.perf_counter() - began < 5  # reading all notes for every window would be 130 million of them
    assert [len(part.notes) for part in parts[1:3]] == [pytest.approx(11, abs=2)] * 2
