"""CSV: one line per record, the events of data sets as well as those that were found."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from etude.adapters import registry
from etude.adapters.annotations import Annotation, Kind, kind_of
from etude.adapters.errors import Problem, UserError
from etude.adapters.formats import Contents, Entry, Format, Origin, Reading
from etude.adapters.formats._parts.columns import column_names, convert, missing
from etude.adapters.formats._parts.dialect import Rows, parse_table, separator
from etude.adapters.formats._parts.text import first_line, to_number

KIND = "kind"
"""The first column of a table of several kinds."""


class Csv(Format):
    """A table of the kinds that have columns."""

    suffix = ".csv"

    def holds(self, kind: Kind) -> bool:
        """See :class:`Format`."""
        return bool(kind.columns)

    def recognises(self, start: bytes) -> bool:
        """Text whose first line has names of columns and no number."""
        line = first_line(start)
        cells = [cell.strip(' "') for cell in line.split(separator(line))]
        return any(cell.isidentifier() for cell in cells) and all(to_number(cell) is None for cell in cells)

    def read(self, path: Path, how: Reading) -> Contents:
        """See :class:`Format`. Each row is a record of the kind in its column ``kind``, if there is one."""
        kind = kind_of(how.kind)
        if not self.holds(kind):
            raise UserError(f"is a table, which holds no {kind.plural}", fix="choose another format")
        table = parse_table(path)
        if any(to_number(cell) is not None for cell in table.header):
            raise UserError("has no header line", where=":1", fix=f"add one such as {','.join(kind.columns)}")
        names = column_names(table, kind, how.columns)
        names = {name: names.get(name, name) for name in table.header if name in names or name not in names.values()}
        rows = [{column: cells[name] for name, column in names.items()} for _, cells in table.rows]
        table.read_as += convert(rows)
        kinds = registry.names("annotations")
        named = [cells[KIND] if cells.get(KIND) in kinds else "" for cells in rows]  # it may be a column of somebody's own
        entries = [Entry(*of) for of in zip(rows, (f":{number}" for number, _ in table.rows), named, strict=True)]
        notices = [Problem(f"is read with {'; '.join(table.read_as)}", fix="check that it is so")] if table.read_as else []
        return Contents(entries, table.problems, notices)

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


def read_table(path: Path, required: Sequence[str]) -> tuple[Rows, list[Problem]]:
    """Read a list of files or of notes: (line number, column -> stripped cell) of each row that is not blank.

    Every faulty row is a problem. An unreadable file or a missing ``required`` column is one, and there are no rows then.
    """
    try:
        table = parse_table(path)
    except UserError as error:
        return [], [Problem(problem.what, f"{path}{problem.where}", problem.fix) for problem in error.problems]
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        return [], [Problem(f"cannot be read: {reason}", str(path), "check the path")]
    problems = [missing(name, table.header) for name in required if name not in table.header]
    rows = [] if problems else table.rows
    return rows, [Problem(problem.what, f"{path}{problem.where}", problem.fix) for problem in (*problems, *table.problems)]
