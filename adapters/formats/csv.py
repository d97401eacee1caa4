"""CSV: one line per record, the events of data sets as well as those that were found."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from etude.adapters import registry
from etude.adapters.annotations import Annotation, Kind, Row
from etude.adapters.errors import Problem, UserError, nearest
from etude.adapters.formats import Format, Origin

KIND = "kind"
"""The first column of a table of several kinds."""


class Csv(Format):
    """A table of the kinds that have columns."""

    suffix = ".csv"

    def holds(self, kind: Kind) -> bool:
        """See :class:`Format`."""
        return bool(kind.columns)

    def write(self, path: Path, annotation: Annotation, origin: Origin) -> None:
        """See :class:`Format`."""
        write_records(path, annotation)


def write_records(path: Path, annotation: Annotation) -> None:
    """Write what :func:`read_records` reads back, kind by kind; a column that only some records have is added if one does."""
    tables = [(kind, [kind.row(record) for record in layer]) for kind, layer in annotation.by_kind() if kind.columns]
    columns = [KIND] if len(tables) > 1 else []
    columns += [column for kind, _ in tables for column in kind.columns]
    columns += [column for _, rows in tables for row in rows for column in row]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(columns)), restval="")
        writer.writeheader()
        for kind, rows in tables:
            writer.writerows({KIND: kind.name, **row} if len(tables) > 1 else row for row in rows)


def read_records(
    path: Path,
    kind: Kind,
    *,
    labels: Mapping[str, str] | None = None,
    names: Mapping[str, str] | None = None,
    duration: float | None = None,
) -> tuple[tuple[Any, ...], list[Problem]]:
    """Read a CSV of records; return the valid ones of ``kind`` and *every* problem, each with its row.

    ``labels`` maps raw names of classes to class names; a name it lacks is a problem. ``names`` are what the file calls
    columns, where not as the kind does. ``duration`` (seconds) bounds the times. Rows of other kinds are passed over.
    """
    names = names or {}
    rows, problems = read_table(path, [names.get(column, column) for column in kind.required])
    others = set(registry.names("annotations")) - {kind.name}
    records = []
    for number, cells in rows:
        if cells.get(KIND) in others:
            continue
        try:
            records.append(kind.parse(Row(cells, names, labels), duration))
        except UserError as error:
            problems += [Problem(problem.what, f"{path}:{number}", problem.fix) for problem in error.problems]
    return tuple(records), problems


def read_table(path: Path, required: Sequence[str]) -> tuple[list[tuple[int, dict[str, str]]], list[Problem]]:
    """Read a CSV with a header line: (line number, column -> stripped cell) of each row that is not blank.

    An unreadable file or a missing ``required`` column is a problem, and there are no rows then.
    """
    try:
        lines = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig")), strict=True)
        header = [cell.strip() for cell in next(lines, [])]
        rows = [
            (lines.line_num, {name: row[i].strip() if i < len(row) else "" for i, name in enumerate(header)})
            for row in lines
            if any(cell.strip() for cell in row)
        ]
    except UnicodeDecodeError:
        return [], [Problem("is not a UTF-8 text file", str(path), "save it as a UTF-8 CSV")]
    except csv.Error as error:
        return [], [Problem(f"is not a CSV file: {error}", str(path), "save it as a UTF-8 CSV")]
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        return [], [Problem(f"cannot be read: {reason}", str(path), "check the path")]
    missing = [name for name in required if name not in header]
    if missing:
        named = [name for name in header if name]
        return [], [
            Problem(f"lacks the column '{name}'", f"{path}:1", nearest(name, named) if named else "the header line is empty")
            for name in missing
        ]
    return rows, []
