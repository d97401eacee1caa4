"""Scores in the terminal."""

from __future__ import annotations

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
