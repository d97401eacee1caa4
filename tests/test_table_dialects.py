"""Tables as people write them: what is unambiguous is read, with one notice that says how, and the rest is a problem."""

from pathlib import Path

import pytest

from etude.adapters.annotations import alike
from etude.adapters.formats import Reading, read_annotation
from etude.adapters.formats.csv import read_table

CASES = Path(__file__).parent / "fixtures" / "tables"
ARCO, PIZZICATO = (0.3, 1.2, "arco"), (2.0, 2.5, "pizzicato")


def read(path, text=None, **how):
    """Notes, and what the only notice says is unusual, if there is one."""
    if text is not None:
        path.write_bytes(text) if isinstance(text, bytes) else path.write_text(text, encoding="utf-8")
    found = read_annotation(path, Reading(**how))
    assert not found.problems
    assert len(found.notices) <= 1
    notes = [(n.onset, n.offset, n.technique, n.pitch) for n in found.annotation.notes]
    return notes, found.notices[0].what.removeprefix("is read with ") if found.notices else None


def refused(path, text, **how):
    path.write_text(text, encoding="utf-8")
    return [str(problem).replace(str(path), "FILE") for problem in read_annotation(path, Reading(**how)).problems]


@pytest.mark.parametrize(
    ("name", "notes", "notice"),
    [
        (
            "semicolon-decimal-comma.csv",
            [(*ARCO, 40), (*PIZZICATO, 40)],
            "semicolons between the cells; decimal commas",
        ),
        ("note-names.csv", [(*ARCO, 33), (*PIZZICATO, 46)], "names of notes (C4 is 60)"),
        ("minutes-seconds.csv", [(*ARCO, 40), (62.0, 62.5, "pizzicato", 40)], "times as minutes:seconds"),
        ("other-headers.csv", [(*ARCO, 40)], "'start' as onset_time; 'end' as offset_time; 'label' as technique"),
    ],
)
def test_dialects_are_read_with_one_notice(name, notes, notice):
    assert read(CASES / name) == (notes, notice)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("decimal-commas-in-a-comma-csv.csv", ":2: has 6 cells, but the header has 4 (quote cells that contain a comma)"),
        ("column-twice.csv", ":1: has the column 'technique' twice (remove one, or rename it)"),
        (
            "case-variants.csv",
            ": 'ARCO', 'Arco' and 'arco' differ only in case, spaces or Unicode form"
            " (write one of them everywhere, or map them in data.labels)",
        ),
    ],
)
def test_what_is_ambiguous_is_a_problem(name, problem):
    assert list(map(str, read_annotation(CASES / name).problems)) == [f"{CASES / name}{problem}"]


def test_names_that_are_mapped_to_one_class_are_no_problem():
    how = Reading(labels={"ARCO": "arco", "Arco": "arco", "arco": "arco"})
    assert read_annotation(CASES / "case-variants.csv", how).problems == []


def test_alike_names():
    assert alike(["up bow", "upbow", "a", None, "\uff21", "é", "e\u0301", "b", "b"]) == [
        ("up bow", "upbow"),
        ("a", "\uff21"),
        ("e\u0301", "é"),
    ]


def test_tabs_and_utf_16(tmp_path):
    text = "\nonset_time\toffset_time\ttechnique\tpitch\n0.3\t1.2\tarco\t40\n"
    notes = ([(*ARCO, 40)], "tabs between the cells")
    assert read(tmp_path / "a.csv", text) == notes
    assert read(tmp_path / "a.csv", text.encode("utf-16")) == notes


@pytest.mark.parametrize("mark", [";", "\t"])
def test_decimal_commas_only_where_nothing_has_a_point(tmp_path, mark):
    def table(*rows):
        return "\n".join(mark.join(row) for row in (("onset_time", "offset_time", "technique"), *rows)) + "\n"

    path = tmp_path / "a.csv"
    assert read(path, table(("0,3", "1,2", "arco"), ("2", "2,5", "1,5")))[0] == [(*ARCO, None), (2, 2.5, "1,5", None)]
    assert "onset_time is '0,3', not a number" in refused(path, table(("0,3", "1,2", "a"), ("2.5", "3", "b")))[0]


def test_thousands_with_tabs_are_not_guessed(tmp_path):
    path = tmp_path / "a.csv"
    assert refused(path, "onset_time\toffset_time\ttechnique\n1,234\t1,500\tarco\n") == [
        "FILE: has numbers such as 1,234, with a comma that may group thousands (write decimal points)"
    ]
    assert read(path, "onset_time\toffset_time\ttechnique\n0,250\t1,500\tarco\n")[0] == [(0.25, 1.5, "arco", None)]


def test_a_row_longer_than_the_header_is_a_problem_and_a_shorter_one_is_not(tmp_path):
    path = tmp_path / "a.csv"
    text = "onset_time,offset_time,technique,pitch\n0,1,arco\n1,2,arco,40,,\n2,3,arco,40,x\n"
    assert refused(path, text) == ["FILE:4: has 5 cells, but the header has 4 (quote cells that contain a comma)"]
    assert len(read_annotation(path).annotation.notes) == 2


@pytest.mark.parametrize(
    ("header", "pitch"),
    [
        ("pitch", 40),
        ("MIDI", 40),
        ("Pitch_Hz", 69),
        ("Frequency (Hz)", 69),
        ("freq", 69),
        ("value", 69),
    ],
)
def test_pitches_are_hz_where_the_header_or_the_values_say_so(tmp_path, header, pitch):
    value = 440 if pitch == 69 else 40
    assert read(tmp_path / "a.csv", f"onset,offset,technique,{header}\n0,1,a,{value}\n")[0] == [(0, 1, "a", pitch)]


def test_a_column_that_may_be_pitches_is_left_alone_if_it_is_not(tmp_path):
    path = tmp_path / "a.csv"
    assert read(path, "onset_time,offset_time,technique,note\n0,1,a,good take\n") == ([(0, 1, "a", None)], None)
    assert read(path, "onset_time,offset_time,technique,note\n0,1,a,C#4\n1,2,a,\n") == (
        [(0, 1, "a", 61), (1, 2, "a", None)],
        "'note' as pitch; names of notes (C4 is 60)",
    )
    assert refused(path, "onset_time,offset_time,technique,value\n0,1,a,40.5\n") == [
        "FILE: the values of 'value' may be MIDI numbers or Hz (call the column pitch (MIDI numbers) or pitch_hz)"
    ]
    assert refused(path, "onset_time,offset_time,technique,hz\n0,1,a,0\n")[0].startswith(
        "FILE:2: pitch is '0 Hz', not a number"
    )


NAMES = {"C4": 60, "A4": 69, "Bb2": 46, "B♭2": 46, "c#4": 61, "C♯4": 61, "Cb4": 59, "B#3": 60, "C-1": 0, "Ebb4": 62, "H3": 59}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_notes(tmp_path, name):
    assert read(tmp_path / "a.csv", f"onset_time,offset_time,pitch\n0,1,{name}\n")[0] == [(0, 1, None, NAMES[name])]


@pytest.mark.parametrize("name", ["X4", "C", "4", "Cx4", "G10"])
def test_what_is_no_name_of_a_note(tmp_path, name):
    (tmp_path / "a.csv").write_text(f"onset_time,offset_time,pitch\n0,1,{name}\n")
    notes = read_annotation(tmp_path / "a.csv").annotation.notes
    assert [note.pitch for note in notes] == ([4] if name == "4" else [])


def test_a_b_beside_an_h_is_not_guessed(tmp_path):
    problems = refused(tmp_path / "a.csv", "onset_time,offset_time,pitch\n0,1,H3\n1,2,B3\n")
    assert [problem.partition(",")[0] for problem in problems] == ["FILE:2: pitch is 'H3'", "FILE:3: pitch is 'B3'"]


def test_times_of_day_durations_and_bad_times(tmp_path):
    path = tmp_path / "a.csv"
    assert read(path, "start_time,duration,label\n1:00:01.5,2,a\n")[0] == [(3601.5, 3603.5, "a", None)]
    assert "is '0:75', not a number" in refused(path, "onset_time,offset_time,label\n0:75,90,a\n")[0]
    assert "offset_time is 'x', not a number" in refused(path, "onset,duration,label\n0,x,a\n")[0]


def test_a_duration_beside_an_offset_says_nothing(tmp_path):
    text = "onset_time,offset_time,duration,technique\n0,1,7,a\n"
    assert read(tmp_path / "a.csv", text) == ([(0, 1, "a", None)], None)


def test_columns_that_are_missing_misspelt_or_in_doubt(tmp_path):
    path = tmp_path / "a.csv"
    assert refused(path, "onset_time,offset_time,tecnique,pitch\n0,1,a,40\n") == [
        "FILE:1: lacks the column 'technique' (did you mean 'tecnique'?)"
    ]
    assert refused(path, "start,comment\n0,1\n") == [
        "FILE:1: lacks the column 'offset_time' (known: comment, start)",
        "FILE:1: lacks the column 'technique' (known: comment, start)",
    ]
    assert refused(path, "start,onset,end,technique\n0,0,1,a\n") == [
        "FILE:1: has 'start' and 'onset', each of which may be the column 'onset_time'"
        " (name it in data.columns, as in {onset_time: start}, or rename the others)"
    ]
    assert read(path, "start,onset,end,technique\n9,0,1,a\n", columns={"onset_time": "onset"})[0] == [(0, 1, "a", None)]
    assert refused(path, "onset_time,offset_time,technique\n0,1,a\n", columns={"pitch": "note"}) == [
        "FILE:1: lacks the column 'note' (known: offset_time, onset_time, technique)"
    ]
    assert refused(path, "0,1,a\n1,2,b\n") == [
        "FILE:1: has no header line (add one such as onset_time,offset_time,technique,pitch)"
    ]


def test_pitch_alone_and_instrument_alone_are_annotations(tmp_path):
    assert read(tmp_path / "a.csv", "onset_time,offset_time,pitch\n0,1,40\n") == ([(0, 1, None, 40)], None)
    (tmp_path / "a.csv").write_text("onset_time,offset_time,instrument\n0,1,guqin\n")
    assert read_annotation(tmp_path / "a.csv").annotation.notes[0].instrument == "guqin"


def test_lists_of_files_have_dialects_too(tmp_path):
    path = tmp_path / "manifest.csv"
    path.write_text("audio;split;weight\na, b.wav;train;0,5\n")
    assert read_table(path, ("audio", "split")) == ([(2, {"audio": "a, b.wav", "split": "train", "weight": "0.5"})], [])
    path.write_text("audio,split\na.wav,train\na, b.wav,train\n")
    rows, problems = read_table(path, ("audio", "split"))
    assert [row["audio"] for _, row in rows] == ["a.wav"]
    assert [str(problem) for problem in problems] == [
        f"{path}:3: has 3 cells, but the header has 2 (quote cells that contain a comma)"
    ]
