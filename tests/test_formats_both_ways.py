"""What is written reads back, as far as the table on the page of formats says that a format holds it."""

from dataclasses import replace
from pathlib import Path

import pytest

from etude.adapters.annotations import Annotation
from etude.adapters.annotations.notes import Note
from etude.adapters.annotations.tags import Tag
from etude.adapters.formats import Reading, export, format_of, read_annotation, readable, writable

PAGE = Path(__file__).parents[1] / "docs" / "formats.md"
LINES = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in PAGE.read_text().splitlines() if "|" in line]
TABLE = {row[0]: dict(zip(LINES[0], row, strict=True)) for row in LINES[2:]}
"""Format -> what it holds: yes, no, or with which restriction."""
WRITTEN = [name for name, row in TABLE.items() if row["written"] == "yes"]

PITCHED = [
    Note(0.5, 1.2504, 60.5, "颤音", "violin", 0.5),
    Note(0.5, 1.2504, 64, "pizz. (left)", "cello"),
    Note(1.0, 2.5, 60.5, "颤音", "violin", 1.0),
    Note(2.5, 2.75, 43.25),
    Note(2.75, 3.999, 127, "ab 12", None, 0.25),
]
UNPITCHED = [Note(3.0, 3.5, None, "knock", "cello", 0.125), Note(3.25, 3.75, None, 'say "a", b', "guqin")]
TAGS = [Tag("Violin, fiddle", 0.5), Tag("大提琴")]
DURATION = 4.0


def written_and_read(tmp_path, format, annotation, **how):
    path = tmp_path / f"a{format_of(format).suffix}"
    export(annotation, path, format, duration=DURATION, source=Path("take one.wav"))
    read = read_annotation(path, Reading(duration=DURATION, **how))
    assert not read.problems
    return read.annotation


def held(note, row):
    lost = {name: None for name in ("technique", "pitch", "instrument", "confidence") if row[name] == "no"}
    return replace(note, **lost)


def same(found, expected):
    times = (found.onset, found.offset) == pytest.approx((expected.onset, expected.offset), abs=0.0011)
    values = ("pitch", "confidence")
    close = all(getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-3) for name in values)
    return times and close and (found.technique, found.instrument) == (expected.technique, expected.instrument)


def test_the_table_has_all_formats():
    assert tuple(sorted(TABLE)) == tuple(sorted({*readable(), *writable()}))
    assert tuple(name for name, row in TABLE.items() if row["read"] == "yes") == readable()
    assert tuple(WRITTEN) == writable()
    assert {format_of(name).suffix for name in TABLE} == {row["file"].split("`")[0] for row in TABLE.values()}


@pytest.mark.parametrize("notes", [PITCHED, UNPITCHED, [*PITCHED, *UNPITCHED], []])
@pytest.mark.parametrize("format", WRITTEN)
def test_notes_survive(tmp_path, format, notes):
    row = TABLE[format]
    if row["pitch"] == "every note":
        notes = [note for note in notes if note.pitch is not None]
    expected = Annotation(notes=[held(note, row) for note in notes]).notes
    found = written_and_read(tmp_path, format, Annotation(notes=notes)).notes
    assert found.known == expected.known
    by_values = [sorted(layer, key=lambda note: (round(note.onset, 2), note.pitch or 0)) for layer in (found, expected)]
    assert len(found) == len(expected)
    assert [one for one, other in zip(*by_values, strict=True) if not same(one, other)] == []


@pytest.mark.parametrize("notes", [PITCHED, []], ids=["with notes", "alone"])
@pytest.mark.parametrize("format", [name for name in WRITTEN if TABLE[name]["tags"] != "no"])
def test_tags_survive_beside_notes_and_alone(tmp_path, format, notes):
    annotation = written_and_read(tmp_path, format, Annotation(notes=notes, tags=TAGS))
    confident = TABLE[format]["tags"] == "with confidence"
    assert annotation.tags.records == tuple(tag if confident else Tag(tag.name) for tag in TAGS)
    assert len(annotation.notes) == len(notes)


@pytest.mark.parametrize("format", [name for name in WRITTEN if TABLE[name]["tags"] == "no"])
def test_tags_are_held_where_the_table_says_so(format):
    from etude.adapters.annotations import kind_of

    assert not format_of(format).holds(kind_of("tags"))


def test_a_note_as_long_as_the_recording_is_no_tag(tmp_path):
    drone = Annotation(notes=[Note(0, DURATION, None, "drone")])
    for format in ("audacity", "jams", "elan", "textgrid", "json", "csv"):
        assert written_and_read(tmp_path, format, drone) == drone


@pytest.mark.parametrize("format", [name for name in WRITTEN if name != "midi"])
def test_other_kinds_survive(tmp_path, format, points):
    from plugin.etude_points.kind import Point

    annotation = Annotation(points=[Point(0.25, "a"), Point(1.5, "b")], notes=UNPITCHED)
    found = written_and_read(tmp_path, format, annotation)
    assert [(point.time, point.label) for point in found.points] == [(0.25, "a"), (1.5, "b")]
    assert [note.technique for note in found.notes] == [note.technique for note in UNPITCHED]
    found = written_and_read(tmp_path, format, annotation, kind="points")  # whether notes are found too is the format's affair
    assert [(point.time, point.label) for point in found.points] == [(0.25, "a"), (1.5, "b")]
