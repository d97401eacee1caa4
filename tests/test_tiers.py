"""Which tier of an ELAN file or a TextGrid holds what; the files are written by the libraries that others use."""

from pathlib import Path

import pympi
import pytest
from praatio import textgrid
from praatio.utilities.constants import Interval, Point

from etude.adapters.annotations import Annotation
from etude.adapters.annotations.notes import Note
from etude.adapters.annotations.tags import Tag
from etude.adapters.formats import Reading, export, read_annotation

TIMES = [(0.25, 0.9), (1.0, 1.75)]
SOURCE = Path("take.wav")


def elan(path, tiers):
    """Tier -> texts at ``TIMES``, or (start, end, text)."""
    document = pympi.Elan.Eaf()
    for name, marks in tiers.items():
        document.add_tier(name)
        for start, end, text in placed(marks):
            document.add_annotation(name, round(1000 * start), round(1000 * end), text)
    document.to_file(path)
    return path


def praat(path, tiers, form="long_textgrid", encoding="utf-8"):
    grid = textgrid.Textgrid(0, 5)
    for name, marks in tiers.items():
        grid.addTier(textgrid.IntervalTier(name, [Interval(*mark) for mark in placed(marks)], 0, 5))
    grid.save(str(path), form, includeBlankSpaces=True)
    path.write_text(path.read_text(encoding="utf-8"), encoding=encoding)
    return path


def placed(marks):
    return [mark if isinstance(mark, tuple) else (*TIMES[index], mark) for index, mark in enumerate(marks)]


WRITERS = [pytest.param(elan, id="a.eaf"), pytest.param(praat, id="a.TextGrid")]


@pytest.fixture(params=WRITERS)
def made(request, tmp_path):
    """A function from tiers to a file."""
    name = "a.eaf" if request.param is elan else "a.TextGrid"
    return lambda tiers: request.param(tmp_path / name, tiers)


def read(path, **how):
    found = read_annotation(path, Reading(**how))
    assert not found.problems
    return [(n.onset, n.offset, n.technique, n.pitch, n.instrument) for n in found.annotation.notes]


def refused(path, **how):
    found = read_annotation(path, Reading(**how))
    assert not found.annotation.notes
    return [str(problem).replace(str(path), "FILE") for problem in found.problems]


def test_a_single_tier_is_taken_whatever_its_name(made):
    assert read(made({"bow": ["up", "down"]})) == [(0.25, 0.9, "up", None, None), (1.0, 1.75, "down", None, None)]
    assert read(made({"x": ["62", "Bb3"]})) == [(0.25, 0.9, None, 62, None), (1.0, 1.75, None, 58, None)]


@pytest.mark.parametrize("name", ["technique", "IPT", "Label", "Techniques"])
def test_tiers_at_the_same_times_are_one_note(made, name):
    tiers = {name: ["pluck", "vibrato"], "Pitch": ["62", "a4"], "instrument": [(1.0005, 1.7495, "guqin")]}
    assert read(made(tiers)) == [(0.25, 0.9, "pluck", 62, None), (1.0, 1.75, "vibrato", 69, "guqin")]


def test_the_tier_that_is_called_like_the_column_comes_before_others(made):
    tiers = {"label": ["x", "y"], "technique": ["pluck", "vibrato"]}
    assert [note[2] for note in read(made(tiers))] == ["pluck", "vibrato"]
    assert [str(notice.what) for notice in read_annotation(made(tiers)).notices] == ["has 'label', not read"]


@pytest.mark.parametrize("names", [("links", "rechts"), ("Spieltechnik", "pitch"), ("label", "ipt")])
def test_a_question_names_the_tiers(made, names):
    path = made({name: ["62", "64"] for name in names})
    (problem,) = refused(path)
    what = "an ELAN file" if path.suffix == ".eaf" else "a TextGrid"
    question = f"looks like {what} with the tiers '{names[0]}' and '{names[1]}', which holds the techniques?"
    assert problem == f"FILE: {question} (set data.tiers, as in {{technique: {names[0]}}}, or --tiers technique={names[0]})"


def test_a_user_says_which_tier_holds_what(made):
    path = made({"links": ["a", "b"], "Ton": ["62", "64"], "rechts": ["c", "d"]})
    tiers = {"technique": "rechts", "pitch": "Ton"}
    assert [note[2:4] for note in read(path, tiers=tiers)] == [("c", 62), ("d", 64)]
    assert refused(path, tiers={"technique": "recht", "pitsch": "Ton"}) == [
        "FILE: no tier holds the pitsch (did you mean 'pitch'?)",
        "FILE: has no tier 'recht' (did you mean 'rechts'?)",
    ]


def test_pitches_at_times_of_their_own_are_notes_with_a_notice(made):
    path = made({"technique": ["a", "b"], "pitch": [(0.25, 0.9, "62"), (1.002, 1.75, "64")]})
    assert read(path) == [(0.25, 0.9, "a", 62, None), (1.0, 1.75, "b", None, None), (1.002, 1.75, None, 64, None)]
    (notice,) = read_annotation(path).notices
    assert notice.what == "has 1 of 2 marks of the tier 'pitch' at times of their own"


def test_what_is_no_pitch_is_a_problem_in_its_place(made):
    path = made({"technique": ["a", "b"], "pitch": ["62", "high"]})
    assert [str(p).replace(str(path), "FILE") for p in read_annotation(path).problems] == [
        "FILE, tier 'pitch' at 1 s: pitch is 'high' (0 to 1 for confidence, a MIDI number or a note such as C4 for pitch)"
    ]


def test_tags_are_read_from_tiers(made):
    path = made({"tags": [(0, 5, "cello")], "technique": ["a", "b"]})
    annotation = read_annotation(path).annotation
    assert annotation.tags.records == (Tag("cello"),)
    assert len(annotation.notes) == 2
    assert read_annotation(made({"x": ["cello", "oboe"]}), Reading("tags")).annotation.tags.records == (
        Tag("cello"),
        Tag("oboe"),
    )


@pytest.mark.parametrize("form", ["long_textgrid", "short_textgrid"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_textgrids_long_and_short_in_both_encodings(tmp_path, form, encoding):
    texts = ['say "item [2]:" 3', "颤音"]
    path = praat(tmp_path / "a.TextGrid", {"technique": texts}, form, encoding)
    assert read(path) == [(0.25, 0.9, texts[0], None, None), (1.0, 1.75, texts[1], None, None)]


def test_points_last_no_time_and_are_no_notes(tmp_path, points):
    grid = textgrid.Textgrid(0, 5)
    grid.addTier(textgrid.PointTier("label", [Point(0.5, "a"), Point(2, "b")], 0, 5))
    grid.save(str(tmp_path / "a.TextGrid"), "long_textgrid", includeBlankSpaces=True)
    assert [(p.time, p.label) for p in read_annotation(tmp_path / "a.TextGrid", Reading("points")).annotation.points] == [
        (0.5, "a"),
        (2, "b"),
    ]
    assert len(refused(tmp_path / "a.TextGrid")) == 2


def test_a_binary_textgrid_is_refused(tmp_path):
    (tmp_path / "a.TextGrid").write_bytes(b"ooBinaryFile\x08TextGrid\xff\xfe\x00")
    assert refused(tmp_path / "a.TextGrid") == ["FILE: is a binary TextGrid (save it as a text file in Praat)"]


def test_a_faulty_textgrid_says_where(tmp_path):
    path = praat(tmp_path / "a.TextGrid", {"technique": ["a", "b"]})
    path.write_text(path.read_text().replace("xmax = 0.9 ", "xmax = none "))
    (problem,) = refused(path)
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "none" in text)
    assert problem == f'FILE:{line + 1}: has "a" where a number is due (save it again in Praat)'


def test_annotations_that_refer_to_others_have_their_times(tmp_path):
    document = pympi.Elan.Eaf()
    document.add_linguistic_type("values", "Symbolic_Association")
    document.add_tier("technique")
    document.add_tier("pitch", "values", "technique")
    document.add_annotation("technique", 250, 900, "pluck")
    document.add_ref_annotation("pitch", "technique", 300, "62")
    document.to_file(tmp_path / "a.eaf")
    assert read(tmp_path / "a.eaf") == [(0.25, 0.9, "pluck", 62, None)]
    path = tmp_path / "a.eaf"
    path.write_text(path.read_text().replace('TIME_VALUE="900"', ""))
    assert refused(path) == [
        "FILE, tier 'technique', annotation a2: has no times of its own (align it in ELAN)",
        "FILE, tier 'pitch', annotation a3: has no times of its own (align it in ELAN)",
    ]


# what we write, read by the libraries

OVERLAPPING = Annotation(
    notes=[
        Note(0.5, 1.25, 60.5, "颤音", "violin", 0.5),
        Note(0.5, 1.25, 64, "b"),
        Note(1.25, 2.0004, None, 'say "a"'),
        Note(2.0004, 2.0006, 40, "c"),
    ],
    tags=[Tag("cello")],
)
EXPECTED = {
    "technique": [(0.5, 1.25, "颤音"), (1.25, 2.0, 'say "a"'), (2.0, 2.001, "c")],
    "pitch": [(0.5, 1.25, "60.5"), (2.0, 2.001, "40")],
    "instrument": [(0.5, 1.25, "violin")],
    "confidence": [(0.5, 1.25, "0.5")],
    "technique 2": [(0.5, 1.25, "b")],
    "pitch 2": [(0.5, 1.25, "64")],
    "tags": [(0.0, 4.0, "cello")],
}


def test_elan_reads_what_we_write(tmp_path):
    export(OVERLAPPING, tmp_path / "a.eaf", "elan", duration=4.0, source=SOURCE)
    document = pympi.Elan.Eaf(str(tmp_path / "a.eaf"))
    found = {name: sorted(document.get_annotation_data_for_tier(name)) for name in document.get_tier_names()}
    assert found == {name: [(1000 * s, 1000 * e, text) for s, e, text in marks] for name, marks in EXPECTED.items()}
    assert document.media_descriptors[0]["MEDIA_URL"] == "take.wav"


def test_praat_reads_what_we_write(tmp_path):
    export(OVERLAPPING, tmp_path / "a.TextGrid", "textgrid", duration=4.0, source=SOURCE)
    grid = textgrid.openTextgrid(str(tmp_path / "a.TextGrid"), includeEmptyIntervals=False)
    assert {name: [tuple(entry) for entry in grid.getTier(name).entries] for name in grid.tierNames} == EXPECTED
    assert grid.maxTimestamp == 4.0
    whole = textgrid.openTextgrid(str(tmp_path / "a.TextGrid"), includeEmptyIntervals=True)
    ends = [0.0]
    for entry in whole.getTier("technique").entries:
        assert entry.start == ends[-1]  # Praat has no gaps
        ends.append(entry.end)
    assert ends[-1] == 4.0
