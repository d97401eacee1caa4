"""Scores as tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

HEADLINE = ("frame_micro_f1", "frame_macro_f1", "event_micro_f1", "event_macro_f1")


def print_scores(scores: Mapping[str, Any], title: str) -> None:
    """One table of headline scores, before and after post-processing, and one of the classes, for every head."""
    console = Console()
    for head, values in scores.items():
        table = Table(title=f"{title} ({head})", title_justify="left")
        for column in ("", "frame F1 micro", "macro", "event F1 micro", "macro"):
            table.add_column(column, justify="left" if not column else "right")
        rows = {"before post-processing": values.get("before"), "after post-processing": values}
        for name, row in rows.items():
            if row and all(key in row for key in HEADLINE):
                table.add_row(name, *(f"{row[key]:.3f}" for key in HEADLINE))
        if table.row_count:
            console.print(table)
        classes = Table()
        for column in ("class", "frame F1", "event F1", "precision", "recall", "reference", "predicted", "correct"):
            classes.add_column(column, justify="left" if column == "class" else "right")
        for label, row in values.get("per_class", {}).items():
            event = row["event"]
            numbers = (row["frame"]["f1"], event["f1"], event["precision"], event["recall"])
            counts = (event["ref"], event["est"], event["tp"])
            classes.add_row(label, *(f"{number:.3f}" for number in numbers), *map(str, counts))
        if classes.row_count:
            console.print(classes)
