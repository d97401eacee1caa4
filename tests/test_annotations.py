"""Annotations and their layers, and what holds for every kind of annotation."""

import copy
import json
import math
import pickle
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_notes import note

from etude.adapters import registry
from etude.adapters.annotations import Annotation, Layer, kind_of, merged
from etude.adapters.annotations.notes import Note
from etude.adapters.annotations.tags import Tag
from etude.adapters.errors import UserError


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
