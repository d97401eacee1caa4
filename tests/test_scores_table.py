"""Scores in the terminal."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from etude.cli.scores import MOST_CLASSES, print_scores


def tag_scores(classes: int) -> dict:
    """Class i has i clips."""
    rows = {
        f"class {i}": {"clip": {"f1": 0.5, "precision": 0.5, "recall": 0.5, "ref": i, "est": 1, "tp": 1}}
        for i in range(classes)
    }
    return {"tags": {"f1_macro": 0.5, "lrap": 0.75, "per_class": rows}}


def shown(output: str) -> list[str]:
    return [" ".join(line.split()[:2]) for line in output.splitlines() if line.strip().startswith("class ")][1:]


def test_every_class_has_a_row(capsys):
    print_scores(tag_scores(MOST_CLASSES), "test")
    output = capsys.readouterr().out
    assert shown(output) == [f"class {i}" for i in range(MOST_CLASSES)]
    assert "0.750" in output
    assert "rarer" not in output


def test_of_very_many_classes_the_rarest_are_left_to_json(capsys):
    print_scores(tag_scores(1_006), "test")
    output = capsys.readouterr().out
    assert shown(output) == [f"class {i}" for i in range(1_006 - MOST_CLASSES, 1_006)]
    assert f"and {1_006 - MOST_CLASSES} rarer classes, which 'adapt eval ADAPTER --json' lists" in output


def test_what_is_scored_twice_has_a_named_row_each(capsys):
    row = {"f1": 0.5, "precision": 0.25, "recall": 1.0, "ref": 7, "est": 28, "tp": 6}
    names = ("frame_micro_f1", "frame_macro_f1", "event_micro_f1", "event_macro_f1")
    values = {name: value / 8 for value, name in enumerate(names)}
    before = {name: value + 0.5 for name, value in values.items()}
    per_class = {"bend": {"frame": {**row, "f1": 0.75}, "event": row}}
    scores = {**values, "pitch_frame_f1": 0.9, "before": before, "per_class": per_class}
    print_scores({"technique": scores}, "x")
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line.strip(" ─━")]
    assert lines == [
        "x (technique)",
        "frame F1 micro macro event F1 micro macro",
        "before post-processing 0.500 0.625 0.750 0.875",
        "after post-processing 0.000 0.125 0.250 0.375",
        "frame event",
        "class F1 F1 precision recall events found correct",
        "bend 0.750 0.500 0.250 1.000 7 28 6",
    ]
    print_scores({"technique": {**values, "per_class": {}}}, "x")
    assert "post-processing" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["upward_portamento", "huazhi/guazou/lianmo/liantuo", "x" * 90, "\u6ed1\u97f3" * 20])
def test_names_of_classes_are_whole_in_80_columns(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    row = {"f1": 0.5, "precision": 0.25, "recall": 1.0, "ref": 12345, "est": 12345, "tp": 12345}
    print_scores({"technique": {"per_class": {name: {"frame": row, "event": row}, "bend": {"frame": row, "event": row}}}}, "x")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(cell_len, lines)) <= 80
    first = next(index for index, line in enumerate(lines) if "12345" in line)
    last = next(index for index, line in enumerate(lines) if line.startswith(" bend"))
    assert "".join(line.split()[0] for line in lines[first:last]) == name
    assert lines[first].split()[1:] == ["0.500", "0.500", "0.250", "1.000", "12345", "12345", "12345"]


PARTS = {
    "note_onset": {"f1": 0.96, "precision": 1.0, "recall": 0.92, "ref": 25, "est": 23, "tp": 23},
    "note_pitch": {"f1": 0.0, "precision": 0.0, "recall": 0.0, "ref": 0, "est": 20, "tp": 0, "right": 0.0},
    "note_all": {"f1": 0.5, "precision": 0.5, "recall": 0.5, "ref": 24, "est": 24, "tp": 12, "right": 0.6},
}


def test_what_is_right_of_the_notes_has_a_row_each_where_the_reference_tells(capsys):
    print_scores({"technique": {"parts": PARTS}}, "x")
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line.strip(" ─━")]
    assert lines == [
        "x (technique)",
        "of",
        "right F1 precision recall annotated found correct matched",
        "onset 0.960 1.000 0.920 25 23 23 -",
        "with all of it 0.500 0.500 0.500 24 24 12 0.600",
    ]


def test_false_alarms_of_classes_that_are_never_annotated_are_one_line(capsys):
    absent = {"[ghost]": 1, "muted": 3, "slap": 2}
    print_scores({"tags": {**tag_scores(2)["tags"], "absent": absent}}, "x")
    assert "  never annotated here, but found: muted 3 times, slap 2 times, [ghost] once\n" in capsys.readouterr().out
    print_scores({"tags": {**tag_scores(2)["tags"], "absent": {f"class {i}": 1 for i in range(11)}}}, "x")
    assert "class 9 once, and 1 more class\n" in capsys.readouterr().out
    print_scores({"tags": {**tag_scores(2)["tags"], "absent": {}}}, "x")
    assert "never" not in capsys.readouterr().out
