"""What the labels of a data set tell without its audio: coverage of splits, groups, names of classes."""

import unicodedata
from pathlib import Path

import pytest

from etude.adapters.annotations import Annotation, Layer
from etude.adapters.annotations.notes import Note
from etude.adapters.annotations.tags import Tag
from etude.adapters.datasets import SPLITS, Track
from etude.adapters.datasets._parts.coverage import coverage
from etude.adapters.datasets._parts.look_alike import look_alike
from etude.adapters.datasets.gtzan import GENRES
from etude.adapters.datasets.guzheng_tech99 import LABELS
from etude.adapters.datasets.irmas import CLASSES
from etude.adapters.sound.audio import AudioInfo


def track(split, *names, group="", kind="notes"):
    if kind == "notes":
        records = [Note(at, at + 0.5, 60, name) for at, name in enumerate(names)]
    else:
        records = [Tag(name) for name in names]
    return Track("id", Path("x.wav"), AudioInfo(16000 * 60, 16000, 1), split, Annotation({kind: records}), group=group)


def full(*names, **more):
    return [track(split, *names * 5, **more) for split in SPLITS]


def told(tracks, **classes):
    return [str(notice) for notice in coverage(tracks, classes or {"notes": ("a", "b")})]


def test_every_split_with_enough_of_every_class_is_let_be():
    assert told(full("a", "b")) == []
    assert told([]) == []


def test_splits_without_recordings():
    fix = "a session or a player as a whole)"
    assert told([track("train", *"ab" * 5)]) == [
        f"all recordings are in the split 'train' (move some recordings to the other splits, {fix}"
    ]
    assert told(full("a", "b")[:2]) == [f"split 'test': no recording (move some recordings there, {fix}"]


def test_classes_that_a_split_lacks_or_hardly_has():
    fix = " (move recordings from another split, or leave these classes out)"
    assert told([*full("a"), track("train", *"b" * 5), track("test", *"b" * 4)]) == [
        f"split 'validation': no events of 'b'{fix}",
        f"split 'test': few events of 'b' (4){fix}",
    ]
    many = tuple(f"class {number}x" for number in range(11))
    (line,) = told([*full("a", *many[:1]), track("train", *many * 5), track("validation", *many * 5)], notes=("a", *many))
    assert line == f"split 'test': no events of {', '.join(repr(name) for name in many[1:9])} and 2 more{fix}"


def test_a_class_that_nobody_plays_and_a_split_that_nobody_labelled():
    lines = told(full("a", "b"), notes=("a", "b", "c"))
    assert [line.partition(" (")[0] for line in lines] == [f"split '{split}': no events of 'c'" for split in SPLITS]
    (line,) = told([*full("a", "b")[:2], track("test")])
    assert line.startswith("split 'test': no events of any technique (")


def test_tags_are_counted_by_recording():
    tags = [track(split, "oboe", kind="tags") for split in SPLITS for _ in range(5)]
    assert told(tags, tags=("oboe",)) == []
    (line,) = told(tags[:-1], tags=("oboe",))
    assert line.startswith("split 'test': few recordings of 'oboe' (4) (")


def test_other_kinds_and_notes_without_technique(points):
    assert told(full(None, "a"), notes=("a",)) == []
    from plugin.etude_points.kind import Point

    layer = Layer(tuple(Point(at, "low") for at in range(5)))
    made = [Track("x", Path("x"), AudioInfo(1, 1, 1), s, Annotation(points=layer)) for s in SPLITS]
    assert told(made, points=("low",)) == []
    assert [line.partition(" (")[0] for line in told(made, points=("low", "high"))] == [
        f"split '{split}': no points of 'high'" for split in SPLITS
    ]


def test_groups_in_two_splits():
    def grouped(*groups):
        return [track(split, *"ab" * 5, group=group) for split, group in zip(SPLITS, groups, strict=True)]

    assert told(grouped("ann", "ben", "cem")) == []
    assert told(grouped("", "", "")) == []
    (line,) = told(grouped("ann", "ann", "cem"))
    what = "no group that training lacks: scores are of the same session or player"
    assert line == f"split 'validation': {what} (move a group there as a whole)"
    (line,) = told(grouped("ann", "ann", "ann"))
    assert line.startswith("splits 'validation' and 'test': no group that training lacks")
    (line,) = told([*grouped("ann", "ann", "ben"), *grouped("ben", "cem", "dan")])
    assert line.startswith("group 'ann': is in the splits 'train' and 'validation'; 1 more like it (")


def test_classes_that_only_one_group_has():
    tracks = [track(split, *"ab" * 5, group=group) for split, group in zip(SPLITS, ("ann", "ben", "cem"), strict=True)]
    more = [track(split, *"c" * 5, group=f"{split} only") for split in SPLITS]
    assert told([*tracks, *more], notes=("a", "b", "c")) == []
    alone = [track(split, *"cd" * 5, group="dan") for split in SPLITS[1:]]
    lines = told([*tracks, *alone, track("train", *"c" * 5, group="dan")], notes=("a", "b"))
    assert lines[-1] == (
        "techniques of one group only, not measured on another: 'c', 'd' (record another session or player with it)"
    )
    (line,) = told([*full("a", group="ann"), *full("b", group="ann")])
    assert line.startswith("splits 'validation' and 'test'"), "of a single group, every class is"


def test_names_that_look_alike_are_told_with_their_counts():
    tracks = [*full("pizzicato"), *full("arco"), track("train", *["pizzicatto"] * 2)]
    lines = told(tracks, notes=("arco", "pizzicato"))
    assert lines[-1] == (
        "the techniques 'pizzicato' (15) and 'pizzicatto' (2) look alike (give them one name, if they are one)"
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Vibrato", "vibrato"),
        ("slap long", "slap  long"),
        ("slap-long", "slap_long"),
        ("slap-long", "Slap Long"),
        ("slapLong", "slap-long"),
        ("up bow", "upbow"),
        ("vibrato", "vibrato "),
        ("vibrato", "vibrato."),
        ("glissé", unicodedata.normalize("NFD", "glissé")),
        ("\uff54\uff52ill", "trill"),
        ("ghost note", "ghost notes"),
        ("trill", "trills"),
        ("pizzicato", "pizzicatto"),
        ("pizzicato", "pizicato"),
        ("tremolo", "tremlo"),
        ("tremolo", "trmeolo"),
        ("staccato", "stoccato"),
        ("palm-muted", "palm-mutted"),
        ("颤 音", "颤音"),
    ],
)
def test_one_name_in_two_spellings(first, second):
    assert look_alike([first, second, "something else"]) == [tuple(sorted((first, second)))]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("slap-long", "slap-short"),
        ("picked", "picked-muted"),
        ("a", "b"),
        ("a", "as"),
        ("IPT1", "IPT2"),
        ("IPT 1", "IPT 11"),
        ("position-1.5", "position-15"),
        ("type A", "type B"),
        ("typeA", "typeB"),
        ("string-a", "string-b"),
        ("string-g", "strings-g-d"),
        ("bass", "brass"),
        ("slide", "glide"),
        ("flute", "lute"),
        ("C", "C#"),
        ("bend+", "bend-"),
        ("vibrato+", "vibrato++"),
        ("viola", "violin"),
        ("bowed", "blown"),
        ("arco", "arca"),
        ("major-trill", "minor-trill"),
        ("上滑音", "下滑音"),
        ("颤音", "泛音"),
        ("tremolo", "trill"),
        ("glass", "glas"),
    ],
)
def test_different_names(first, second):
    assert look_alike([first, second]) == []


def test_names_of_public_data_sets_do_not_look_alike():
    openmic = (
        "accordion banjo bass cello clarinet cymbals drums flute guitar mallet_percussion mandolin organ piano saxophone "
        "synthesizer trombone trumpet ukulele violin voice"
    )
    philharmonia = (
        "arco arco-col-legno-battuto arco-harmonic arco-major-trill arco-minor-trill arco-normal fluttertonguing glissando "
        "legato major-trill minor-trill molto-vibrato mute non-vibrato nonlegato normal pizz-normal pizzicato slap-tongue "
        "staccatissimo staccato subtone tongued-slur tremolo vibrato"
    )
    for names in (openmic, philharmonia, *((" ".join(classes)) for classes in (GENRES, CLASSES, LABELS.values()))):
        assert look_alike(names.split()) == []
