"""Scores as tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from etude.adapters.annotations import Kind

MOST_CLASSES = 60
"""A data set such as NSynth has a thousand; a terminal shows the most frequent ones."""


def print_scores(scores: Mapping[str, Any], title: str) -> None:
    """For every head, headline scores before and after post-processing, what is right of its records, its classes, and
    whether its confidences are what they say."""
    from etude.adapters.annotations._parts.shown import absent_line, calibration_line, part_rows
    from etude.adapters.heads._parts.labels import head_kind

    console = Console()
    for head, values in scores.items():
        console.print(f"{title} ({head})", style="bold", soft_wrap=True, highlight=False, markup=False)
        kind, every = head_kind(head), values.get("per_class", {})
        rows = _most_frequent(every, kind.unit)
        for table in (_headline(values, kind), _parts(part_rows(values, kind.scores)), _classes(rows, kind)):
            if table.row_count:
                console.print(table)
        if len(rows) < len(every):
            rest = f"  and {len(every) - len(rows)} rarer classes, which 'adapt eval ADAPTER --json' lists"
            console.print(rest, soft_wrap=True, highlight=False)
        for line in filter(None, (calibration_line(values), absent_line(values))):
            console.print(f"  {line}", soft_wrap=True, highlight=False, markup=False)


def _most_frequent(rows: Mapping[str, Any], unit: str) -> Mapping[str, Any]:
    """The rows of the ``MOST_CLASSES`` classes with the largest reference, in the order in which they are."""
    kept = set(sorted(rows, key=lambda label: -rows[label][unit]["ref"])[:MOST_CLASSES])
    return {label: row for label, row in rows.items() if label in kept}


def _headline(values: Mapping[str, Any], kind: Kind) -> Table:
    """A row, or two with names where the head scores what it found before post-processing as well."""
    before = values.get("before")
    known = [name for name in kind.scores.headline if name in values]
    table = _table(*([""] if before else []), *(kind.scores.headline[name][0] for name in known))
    for name, row in (("before post-processing", before), ("after post-processing", values)):
        if row and known:
            table.add_row(*([name] if before else []), *(_cell(row, name) for name in known))
    return table


def _parts(rows: Sequence[Sequence[Any]]) -> Table:
    table = _high_table(*(rows[0] if rows else ()))
    for row in rows[1:]:
        table.add_row(*map(_text, row))
    return table


def _classes(rows: Mapping[str, Any], kind: Kind) -> Table:
    table = _high_table("class", *(title for title, _, _ in kind.scores.columns))
    for label, row in rows.items():
        table.add_row(label, *(_cell(row.get(part, {}), name) for _, part, name in kind.scores.columns))
    return table


def _cell(row: Mapping[str, Any], name: str) -> str:
    return _text(row.get(name))


def _text(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "-" if value is None else str(value)


def _high_table(*titles: str) -> Table:
    """Titles of two words take two lines, which leaves room for the names of the rows; longer ones are folded."""
    lines = max((title.count(" ") for title in titles), default=0)
    return _table(*("\n" * (lines - title.count(" ")) + title.replace(" ", "\n") for title in titles))


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=bool(index), overflow="fold")
    return table
