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
TAG_COLUMNS = {
    "f1_micro": "F1 micro",
    "f1_macro": "F1 macro",
    "openmic_f1": "F1 as in OpenMIC",
    "lrap": "LRAP",
    "map": "mAP",
    "roc_auc": "ROC AUC",
    "accuracy": "accuracy",
}
CLIP_COLUMNS = ("class", "F1", "precision", "recall", "recordings", "found", "correct")
MOST_CLASSES = 60
"""A data set such as NSynth has a thousand; a terminal shows the most frequent ones."""


def print_scores(scores: Mapping[str, Any], title: str) -> None:
    """One table of headline scores and one of the classes, for every head; for events, before and after post-processing."""
    console = Console()
    for head, values in scores.items():
        console.print(f"{title} ({head})", style="bold", soft_wrap=True, highlight=False, markup=False)
        every = values.get("per_class", {})
        rows = _most_frequent(every, "clip" if "lrap" in values else "event")
        tables = (_tag_summary(values), _clips(rows)) if "lrap" in values else (_event_summary(values), _events(rows))
        for table in tables:
            if table.row_count:
                console.print(table)
        if len(rows) < len(every):
            rest = f"  and {len(every) - len(rows)} rarer classes, which 'adapt eval ADAPTER --json' lists"
            console.print(rest, soft_wrap=True, highlight=False)


def _most_frequent(rows: Mapping[str, Any], counts: str) -> Mapping[str, Any]:
    """The rows of the ``MOST_CLASSES`` classes with the largest reference, in the order in which they are."""
    kept = set(sorted(rows, key=lambda label: -rows[label][counts]["ref"])[:MOST_CLASSES])
    return {label: row for label, row in rows.items() if label in kept}


def _event_summary(values: Mapping[str, Any]) -> Table:
    summary = _table("", "frame F1 micro", "macro", "event F1 micro", "macro")
    for name, row in {"before post-processing": values.get("before"), "after post-processing": values}.items():
        if row and all(key in row for key in HEADLINE):
            summary.add_row(name, *(f"{row[key]:.3f}" for key in HEADLINE))
    return summary


def _events(rows: Mapping[str, Any]) -> Table:
    classes = _table(*CLASS_COLUMNS)
    for label, row in rows.items():
        event = row["event"]
        numbers = (row["frame"]["f1"], event["f1"], event["precision"], event["recall"])
        classes.add_row(label, *(f"{number:.3f}" for number in numbers), *_counts(event))
    return classes


def _tag_summary(values: Mapping[str, Any]) -> Table:
    known = [name for name in TAG_COLUMNS if name in values]
    summary = _table(*(TAG_COLUMNS[name] for name in known))
    summary.add_row(*(f"{values[name]:.3f}" for name in known))
    return summary


def _clips(rows: Mapping[str, Any]) -> Table:
    classes = _table(*CLIP_COLUMNS)
    for label, row in rows.items():
        clip = row["clip"]
        classes.add_row(label, *(f"{clip[name]:.3f}" for name in ("f1", "precision", "recall")), *_counts(clip))
    return classes


def _counts(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(row["ref"]), str(row["est"]), str(row["tp"])


def _table(first: str, *numbers: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(first)
    for column in numbers:
        table.add_column(column, justify="right", no_wrap=True)
    return table
