"""Scores as tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

HEADLINE = ("frame_micro_f1", "frame_macro_f1", "event_micro_f1", "event_macro_f1")
CLASS_COLUMNS = ("class", "frame F1", "event F1", "precision", "recall", "events", "found", "correct")
"""The last three count events: in the reference, in the estimate, and those that match."""


def print_scores(scores: Mapping[str, Any], title: str) -> None:
    """One table of headline scores, before and after post-processing, and one of the classes, for every head."""
    console = Console()
    for head, values in scores.items():
        summary = _table("", "frame F1 micro", "macro", "event F1 micro", "macro")
        rows = {"before post-processing": values.get("before"), "after post-processing": values}
        for name, row in rows.items():
            if row and all(key in row for key in HEADLINE):
                summary.add_row(name, *(f"{row[key]:.3f}" for key in HEADLINE))
        classes = _table(*CLASS_COLUMNS)
        for label, row in values.get("per_class", {}).items():
            event = row["event"]
            numbers = (row["frame"]["f1"], event["f1"], event["precision"], event["recall"])
            counts = (event["ref"], event["est"], event["tp"])
            classes.add_row(label, *(f"{number:.3f}" for number in numbers), *map(str, counts))
        console.print(f"{title} ({head})", style="bold", soft_wrap=True, highlight=False, markup=False)
        for table in (summary, classes):
            if table.row_count:
                console.print(table)


def _table(first: str, *numbers: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(first)
    for column in numbers:
        table.add_column(column, justify="right", no_wrap=True)
    return table
