"""Isolated recorded notes: a CSV that lists one file per note, or a folder of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from etude.adapters.annotations.notes import Note
from etude.adapters.datasets import SPLITS, Split
from etude.adapters.datasets._parts.groups import gaps
from etude.adapters.datasets._parts.note_folders import note_rows
from etude.adapters.datasets._parts.splits import SPLIT_NAMES
from etude.adapters.errors import Problem, UserError, nearest
from etude.adapters.formats.csv import read_table

COLUMNS = ("path", "source", "instrument", "technique", "midi", "split", "licence")


@dataclass(frozen=True, slots=True)
class RecordedNote:
    """One row of the CSV; ``pitch`` is a MIDI number or not known, and so may be the instrument and the technique (``""``)."""

    path: Path
    split: Split
    technique: str
    pitch: float | None
    licence: str
    instrument: str
    source: str
    group: str = ""
    """Session or player, empty where that is not known."""


def parse(folder: Path, row: dict[str, str], needed: Literal["technique", "instrument"] = "technique") -> RecordedNote:
    """One row of the CSV in ``folder``, of which the column ``needed`` must be filled in.

    Raises :class:`UserError` with every problem of it.
    """
    problems: list[Problem] = []
    split = row["split"].lower()
    if split not in SPLIT_NAMES:
        problems.append(Problem(f"unknown split '{row['split']}'", fix=nearest(split, SPLITS)))
    if not row[needed]:
        problems.append(Problem(f"names no {needed}", fix="fill it in, or remove the row"))
    pitch: float | None = None
    if row["midi"]:
        try:
            pitch = float(row["midi"])
        except ValueError:
            problems.append(Problem(f"midi is {row['midi']!r}, not a number", fix="a MIDI number, or nothing"))
        else:
            what = Note(0.0, 1.0, pitch).problem()
            problems += [Problem(what, fix="a MIDI number, or nothing")] if what else []
    if not os.path.isfile(folder / row["path"]):
        problems.append(Problem(f"no such audio file: {folder / row['path']}", fix="correct the path"))
    if problems:
        raise UserError(problems)
    return RecordedNote(
        path=folder / row["path"],
        split=SPLIT_NAMES[split],
        technique=row["technique"],
        pitch=pitch,
        licence=row["licence"] or "unknown",
        instrument=row["instrument"],
        source=row["source"],
        group=row["group"],
    )


def place(table: Path) -> Path:
    """What paths are relative to: the folder of the CSV, or ``table`` itself if it is a folder of notes."""
    return table if table.is_dir() else table.parent


def select_rows(
    table: Path,
    filters: Mapping[str, Sequence[str] | None],
    label: Literal["technique", "instrument"] = "technique",
    group: str | None = None,
) -> tuple[list[tuple[int, dict[str, str]]], list[Problem]]:
    """Rows of the CSV, each with its line, whose cells are among the wanted ones of every column in ``filters``.

    ``group`` is the column that says what belongs together. ``table`` may be a folder of notes, in a folder for each ``label``;
    ``group`` then finds it in a path. An unreadable file, a missing column, a wanted name that occurs nowhere and a group of
    some rows only are problems.
    """
    if table.is_dir():
        found, problems = note_rows(table, label, group)
        rows = list(enumerate(found, 1))
    else:
        rows, problems = read_table(table, (*COLUMNS, group) if group else COLUMNS)
        rows = [(number, {**row, "group": row.get(group or "group", "")}) for number, row in rows]
    for column, wanted in filters.items():
        present = {row[column] for _, row in rows}
        for name in wanted or () if rows else ():
            if name not in present:
                problems.append(Problem(f"no note of the {column} '{name}'", str(table), nearest(name, present)))
    chosen = [item for item in rows if all(wanted is None or item[1][column] in wanted for column, wanted in filters.items())]
    return chosen, problems + gaps(table, [(number, row["group"]) for number, row in chosen])


def parse_rows(
    table: Path, rows: Iterable[tuple[int, dict[str, str]]], needed: Literal["technique", "instrument"] = "technique"
) -> tuple[list[RecordedNote], list[Problem]]:
    """The notes in ``rows`` (line and cells) of the CSV, and every problem with them; ``needed`` as in :func:`parse`."""
    notes: list[RecordedNote] = []
    problems: list[Problem] = []
    for number, row in rows:
        try:
            notes.append(parse(place(table), row, needed))
        except UserError as error:
            problems += [Problem(problem.what, f"{table}:{number}", problem.fix) for problem in error.problems]
    return notes, problems
