"""Every format is read back with a reader that is not ours."""

import csv
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jams
import pretty_midi
import pytest

from etude.adapters.annotations import Annotation, Kind
from etude.adapters.annotations.notes import Note
from etude.adapters.annotations.tags import Tag
from etude.adapters.errors import UserError
from etude.adapters.formats import Reading, export, format_of, left_out, read_annotation, writable

NOTES = (
    Note(0.5, 1.25, 40.0, "vibrato", confidence=0.5),
    Note(1.25, 2.0, 43.4, "pizzicato", confidence=1.0),
    Note(2.0, 3.125, 40.0, "vibrato"),
)
SOURCE = Path("takes/bass solo.wav")


def write(tmp_path: Path, format: str, notes: tuple[Note, ...] = NOTES, adapter: str | None = "bass-v1") -> Path:
    path = tmp_path / f"out{format_of(format).suffix}"
    export(Annotation(notes=notes), path, format, duration=4.0, source=SOURCE, adapter=adapter)
    assert list(tmp_path.iterdir()) == [path]
    return path


def test_csv(tmp_path: Path) -> None:
    path = write(tmp_path, "csv")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["onset_time", "offset_time", "technique", "pitch", "confidence"]
    assert [(float(r["onset_time"]), float(r["offset_time"]), r["technique"], float(r["pitch"])) for r in rows] == [
        (n.onset, n.offset, n.technique, n.pitch) for n in NOTES
    ]
    assert [r["confidence"] for r in rows] == ["0.500", "1.000", ""]
    read = read_annotation(path)
    assert not read.problems
    notes = read.annotation.notes
    assert [(n.onset, n.technique) for n in notes] == [(n.onset, n.technique) for n in NOTES]


def test_jams(tmp_path: Path) -> None:
    document = jams.load(str(write(tmp_path, "jams")), validate=True, strict=True)
    assert document.validate(strict=True)
    assert document.file_metadata.duration == 4.0
    assert document.file_metadata.title == "bass solo"
    (pitches,) = document.search(namespace="note_midi")
    (tags,) = document.search(namespace="tag_open")
    assert [(o.time, o.time + o.duration, o.value, o.confidence) for o in pitches] == [
        (n.onset, n.offset, n.pitch, n.confidence) for n in NOTES
    ]
    assert [(o.time, o.value) for o in tags] == [(n.onset, n.technique) for n in NOTES]
    assert tags.annotation_metadata.data_source == "adapter bass-v1"


def test_jams_leaves_out_what_is_not_known(tmp_path: Path) -> None:
    document = jams.load(str(write(tmp_path, "jams", (Note(0.5, 1, None, "vibrato"),), adapter=None)))
    assert [a.namespace for a in document.annotations] == ["tag_open"]
    assert document.annotations[0].annotation_metadata.data_source == "manual annotation"


def test_midi(tmp_path: Path) -> None:
    song = pretty_midi.PrettyMIDI(str(write(tmp_path, "midi")))
    tracks = {track.name: track.notes for track in song.instruments}
    assert set(tracks) == {"vibrato", "pizzicato"}
    assert [(n.pitch, n.velocity) for n in tracks["vibrato"]] == [(40, 64), (40, 100)]
    assert [(n.pitch, n.velocity) for n in tracks["pizzicato"]] == [(43, 127)]
    for note, expected in zip(tracks["vibrato"], (NOTES[0], NOTES[2]), strict=True):
        assert note.start == pytest.approx(expected.onset, abs=0.001)
        assert note.end == pytest.approx(expected.offset, abs=0.001)


def test_midi_track_names_are_utf8(tmp_path: Path) -> None:
    song = pretty_midi.PrettyMIDI(str(write(tmp_path, "midi", (Note(0, 1, 60, "颤音"), Note(0, 1, 60)))))
    assert {track.name.encode("latin-1").decode() for track in song.instruments} == {"颤音", "note"}


def test_midi_refuses_notes_without_pitch(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"1 of 2 notes have no pitch.*first at 0\.00 s.*'pitch: true'"):
        write(tmp_path, "midi", (Note(0, 1, None, "vibrato"), Note(1, 2, 40, "vibrato")))
    assert not list(tmp_path.iterdir())


def test_audacity(tmp_path: Path) -> None:
    rows = [line.split("\t") for line in write(tmp_path, "audacity").read_text(encoding="utf-8").splitlines()]
    assert [(float(start), float(end), label) for start, end, label in rows] == [
        (0.5, 1.25, "vibrato 40"),
        (1.25, 2.0, "pizzicato 43.4"),
        (2.0, 3.125, "vibrato 40"),
    ]


def test_audacity_where_not_every_note_has_a_pitch(tmp_path: Path) -> None:
    notes = (Note(0.5, 1.25, 69.0, "vibrato"), Note(3, 3.5, None, "point\tnote"), Note(3.5, 4))
    assert write(tmp_path, "audacity", notes).read_text(encoding="utf-8").splitlines() == [
        "0.500000\t1.250000\tvibrato",
        "\\\t440.000000\t440.000000",
        "3.000000\t3.500000\tpoint note",
        "3.500000\t4.000000\tnote",
    ]


def test_json(tmp_path: Path) -> None:
    document = json.loads(write(tmp_path, "json").read_text(encoding="utf-8"))
    assert (document["recording"], document["duration"], document["adapter"]) == ("bass solo.wav", 4.0, "bass-v1")
    assert tuple(Note(**fields) for fields in document["notes"]) == NOTES
    assert document["notes"][2]["confidence"] is None


@pytest.mark.parametrize("format", writable())
def test_no_notes_is_a_valid_file(tmp_path: Path, format: str) -> None:
    path = write(tmp_path, format, ())
    if format == "jams":
        jams.load(str(path))
    elif format == "midi":
        assert pretty_midi.PrettyMIDI(str(path)).instruments == []
    elif format == "json":
        assert json.loads(path.read_text())["notes"] == []


def test_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'midi'"):
        export(Annotation(notes=NOTES), tmp_path / "out", "midy", duration=4.0, source=SOURCE)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere/out\.csv: cannot be written: No such file"):
        export(Annotation(notes=NOTES), tmp_path / "nowhere" / "out.csv", "csv", duration=4.0, source=SOURCE)


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(UserError, match="cannot be written: Is a directory"):
        export(Annotation(notes=NOTES), tmp_path / "out.csv", "csv", duration=4.0, source=SOURCE)
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """The kernel refuses to write beyond ``size`` bytes, as it does on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("format", writable())
def test_running_out_of_space_keeps_the_older_file(tmp_path: Path, format: str) -> None:
    path = write(tmp_path, format)
    before = path.read_bytes()
    many = Annotation(notes=tuple(Note(i / 10, i / 10 + 0.1, 30 + i % 50, "vibrato") for i in range(1500)))
    with file_size_limit(4096), pytest.raises(UserError, match="cannot be written"):
        export(many, path, format, duration=150.0, source=SOURCE)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


# several kinds in one file

BOTH = Annotation(notes=NOTES, tags=[Tag("cello", 0.5), Tag("oboe")])


@pytest.mark.parametrize("format", writable())
def test_kinds_that_a_format_cannot_hold_are_left_out(tmp_path: Path, format: str) -> None:
    lost = {"tags"} if format in ("csv", "midi") else set()
    assert {kind.name for kind in left_out(format, BOTH, "x")} == lost
    for annotation in (BOTH, Annotation(BOTH, notes=())):  # that nothing was found is no reason to refuse
        export(annotation, tmp_path / "both", format, duration=4.0, source=SOURCE)
        export(Annotation(notes=annotation.notes), tmp_path / "notes", format, duration=4.0, source=SOURCE)
        assert ((tmp_path / "both").read_bytes() == (tmp_path / "notes").read_bytes()) == bool(lost)


def test_jams_and_audacity_hold_tags_of_the_whole_recording(tmp_path: Path) -> None:
    export(BOTH, tmp_path / "a.jams", "jams", duration=4.0, source=SOURCE)
    layers = jams.load(str(tmp_path / "a.jams"), validate=True, strict=True).annotations
    assert [layer.namespace for layer in layers] == ["note_midi", "tag_open", "tag_open"]
    assert [(o.time, o.duration, o.value, o.confidence) for o in layers[2]] == [(0, 4, "cello", 0.5), (0, 4, "oboe", None)]
    export(BOTH, tmp_path / "a.txt", "audacity", duration=4.0, source=SOURCE)
    assert (tmp_path / "a.txt").read_text().splitlines()[:3] == [
        "0.000000\t4.000000\ttags: cello",
        "0.000000\t4.000000\ttags: oboe",
        "0.500000\t1.250000\tvibrato 40",
    ]


def test_json_tells_what_is_not_known_from_what_is_not_there(tmp_path: Path) -> None:
    for annotation, notes, tags in (
        (Annotation(tags=()), [], []),
        (Annotation(notes=()), [], None),
        (Annotation(tags=[Tag("a", 0.5), Tag("b")]), [], [{"tag": "a", "confidence": 0.5}, {"tag": "b", "confidence": None}]),
    ):
        export(annotation, tmp_path / "a.json", "json", duration=4.0, source=SOURCE)
        document = json.loads((tmp_path / "a.json").read_text())
        assert list(document) == ["recording", "duration", "adapter", "notes", "tags"]
        assert (document["notes"], document["tags"]) == (notes, tags)


def test_a_csv_of_several_kinds_says_which_row_is_of_which(tmp_path: Path, points: Kind) -> None:
    from plugin.etude_points.kind import Point

    annotation = Annotation(BOTH, points=[Point(1.5, "b"), Point(0.25, "a")])
    path = tmp_path / "a.csv"
    export(annotation, path, "csv", duration=4.0, source=SOURCE)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = ["kind", "onset_time", "offset_time", "technique", "pitch", "time", "label", "confidence"]
    assert list(rows[0]) == columns
    assert [row["kind"] for row in rows] == ["notes"] * 3 + ["points"] * 2
    assert (rows[0]["time"], rows[3]["time"], rows[3]["pitch"]) == ("", "0.2500", "")
    for kind in (points.name, "notes"):
        read = read_annotation(path, Reading(kind=kind))
        assert not read.problems
        assert read.annotation.points.records == (Point(0.25, "a"), Point(1.5, "b"))
        assert len(read.annotation.notes) == 3
    (tmp_path / "own.csv").write_text("kind,onset_time,offset_time,technique\npizz,0,1,a\n")  # a column of one's own
    assert read_annotation(tmp_path / "own.csv").annotation == Annotation(notes=[Note(0, 1, None, "a")])


def test_points_in_time_are_written_and_change_no_file_without_them(tmp_path: Path, points: Kind) -> None:
    from plugin.etude_points.kind import Point

    annotation = Annotation(points=[Point(1.5, "b", 0.5), Point(0.25, "a")])
    export(annotation, tmp_path / "a.txt", "audacity", duration=4.0, source=SOURCE)
    assert (tmp_path / "a.txt").read_text() == "0.250000\t0.250000\tpoints: a\n1.500000\t1.500000\tpoints: b\n"
    export(annotation, tmp_path / "a.jams", "jams", duration=4.0, source=SOURCE)
    (layer,) = jams.load(str(tmp_path / "a.jams"), validate=True, strict=True).annotations
    assert [(o.time, o.duration, o.value, o.confidence) for o in layer] == [(0.25, 0, "a", None), (1.5, 0, "b", 0.5)]
    for found, kinds in ((annotation, ["notes", "points", "tags"]), (BOTH, ["notes", "tags"])):
        export(found, tmp_path / "a.json", "json", duration=4.0, source=SOURCE)
        assert list(json.loads((tmp_path / "a.json").read_text()))[3:] == kinds
    with pytest.raises(UserError, match=r"finds points, which midi cannot hold .*: audacity, csv, elan, jams, json, textgrid"):
        export(annotation, tmp_path / "a.mid", "midi", duration=4.0, source=SOURCE)
