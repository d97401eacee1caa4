"""Tables of many recordings, ``file`` first, to which rows are added as recordings are done."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from etude.adapters.errors import UserError
from etude.adapters.storage.atomic import replace_file
from etude.cli.folders import make_folder

FILE = "file"
Row = Mapping[str, str | float | None]


class Table:
    """The table at ``path``: a CSV, or JSON lines where it is called so. It need not exist yet.

    All rows of a recording are written at once, or none: a line that was cut off takes those of its recording with it. Raises
    :class:`UserError` for a file that holds anything else, and one that cannot be written.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path, self._columns, self._lines = path, (FILE, *columns), path.suffix == ".jsonl"
        self._rows: list[Row] = []
        self._torn = False
        if path.exists():
            text = path.read_bytes().decode("utf-8-sig", "replace")
            self._torn = not text.endswith("\n")
            self._rows = self._parsed(text)
        self._files = {os.path.abspath(str(row[FILE])) for row in self._rows}

    def has(self, recording: Path) -> bool:
        """Whether it has rows of ``recording``."""
        return os.path.abspath(recording) in self._files

    def drop(self, recordings: Collection[Path]) -> None:
        """Remove the rows of ``recordings``, and the file if no row is left."""
        dropped = set(map(os.path.abspath, recordings)) & self._files
        if not dropped and not self._torn:
            return
        self._rows = [row for row in self._rows if os.path.abspath(str(row[FILE])) not in dropped]
        self._files -= dropped
        if self._rows:
            with replace_file(self.path) as partial:
                partial.write_bytes(self._written(self._rows, head=True))
        else:
            self.path.unlink()
        self._torn = False

    def add(self, recording: Path, rows: Sequence[Row]) -> None:
        """Add the rows of ``recording``, or one of its name only where there are none: it is done all the same."""
        make_folder(self.path.parent)
        own = [{FILE: str(recording), **row} for row in rows or [{}]]
        size = self.path.stat().st_size if self.path.exists() else 0
        try:
            with self.path.open("ab") as file:
                file.write(self._written(own, head=not size))
        except OSError as error:
            if self.path.exists():
                os.truncate(self.path, size)
            what, fix = f"cannot be written: {error.strerror}", "free some space or name another place"
            raise UserError(what, where=str(self.path), fix=fix) from None
        self._files.add(os.path.abspath(recording))

    def _parsed(self, text: str) -> list[Row]:
        whole = text[: text.rfind("\n") + 1]
        rows: list[Row]
        try:
            if self._lines:
                rows = [{name: row[name] for name in self._columns} for row in map(json.loads, whole.splitlines())]
            else:
                reader = csv.DictReader(io.StringIO(whole, newline=""))
                rows = [dict(row) for row in reader]
                if whole and tuple(reader.fieldnames or ()) != self._columns:
                    raise ValueError
        except (ValueError, KeyError, TypeError, csv.Error):
            what, fix = f"holds something else than {', '.join(self._columns)}", "name another folder with --out"
            raise UserError(what, where=str(self.path), fix=fix) from None
        last = rows[-1][FILE] if self._torn and rows else None  # perhaps not with all of its rows
        return [row for row in rows if row[FILE] != last]

    def _written(self, rows: Sequence[Row], *, head: bool) -> bytes:
        text = io.StringIO(newline="")
        if self._lines:
            text.writelines(
                json.dumps({name: row.get(name) for name in self._columns}, ensure_ascii=False) + "\n" for row in rows
            )
        else:
            writer = csv.DictWriter(text, self._columns, restval="", extrasaction="ignore")
            if head:
                writer.writeheader()
            writer.writerows({name: cell(value) for name, value in row.items()} for row in rows)
        return text.getvalue().encode()


def cell(value: str | float | None) -> str:
    """A value as a CSV shows it."""
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else value
