"""A record as a file has it, as a kind of annotation reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from etude.adapters.errors import UserError, nearest


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of a record by column, as a table has them. ``names`` are what this file calls columns, where not as the kind
    does; ``labels`` map what it calls classes to their names, and know all of them."""

    cells: Mapping[str, str]
    names: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] | None = None

    def text(self, column: str) -> str:
        """The cell, empty where there is no such column."""
        return self.cells.get(column, "")

    def number(self, column: str) -> float:
        """The number in a cell. Raises :class:`UserError` when there is none."""
        try:
            return float(self.text(column))
        except ValueError:
            what = f"{self.names.get(column, column)} is {self.text(column)!r}, not a number"
            fix = "seconds for times, MIDI numbers or notes such as C4 for pitch, 0 to 1 for confidence"
            raise UserError(what, fix=fix) from None

    def class_name(self, column: str) -> str | None:
        """The class that a cell names, ``None`` where it is empty. Raises :class:`UserError` for an unknown one."""
        raw = self.text(column)
        if not raw or self.labels is None:
            return raw or None
        if raw not in self.labels:
            raise UserError(f"unknown {column} {raw!r}", fix=nearest(raw, self.labels))
        return self.labels[raw]
