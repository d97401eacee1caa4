"""CSV: one line per record, the events of data sets as well as those that were found."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from etude.adapters import registry
from etude.adapters.annotations import Annotation, Kind, kind_of
from etude.adapters.errors import Problem, UserError, nearest
from etude.adapters.formats import Contents, Entry, Format, Origin, Reading

KIND = "kind"
"""The first column of a table of several kinds."""


class Csv(Format):
    """A table of the kinds that have columns."""

    suffix = ".csv"

    def holds(self, kind: Kind) -> bool:
        """See :class:`Format`."""
        return bool(kind.columns)

    def recognises(self, start: bytes) -> bool:
        """Text whose first line names a column."""
        return any(cell.strip().isidentifier() for cell in start.decode("utf-8-sig", "replace").partition("\n")[0].split(","))

    def read(self, path: Path, how: Reading) -> Contents:
        """See :class:`Format`. Each row is a record of the kind in its column ``kind``, if there is one."""
        kind = kind_of(how.kind)
        rows, problems = read_table(path, [how.columns.get(column, column) for column in kind.required])
        if problems:
            raise UserError(problems)
        own = {how.columns.get(column, column): column for column in (*kind.columns, *how.columns)}
        kinds = registry.names("annotations")
        entries = []
        for number, cells in rows:
            named = cells[KIND] if cells.get(KIND) in kinds else ""  # it may be a column of somebody's own
            entries.append(Entry({own.get(name, name): cell for name, cell in cells.items()}, f":{number}", named))
        return Contents(entries)

    def write(self, path: Path, annotation: Annotation, origin: Origin) -> None:
        """See :class:`Format`."""
        write_records(path, annotation)


def write_records(path: Path, annotation: Annotation) -> None:
    """Write what :meth:`Csv.read` reads back, kind by kind; a column that only some records have is added if one does."""
    tables = [(kind, [kind.row(record) for record in layer]) for kind, layer in annotation.by_kind() if kind.columns]
    columns = [KIND] if len(tables) > 1 else []
    columns += [column for kind, _ in tables for column in kind.columns]
    columns += [column for _, rows in tables for row in rows for column in row]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(columns)), restval="")
        writer.writeheader()
        for kind, rows in tables:
            writer.writerows({KIND: kind.name, **row} if len(tables) > 1 else row for row in rows)


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
