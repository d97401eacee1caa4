"""What is found, on standard output: as one CSV of all recordings, or as a JSON object per recording and adapter."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import typer

from etude.adapters.annotations import Annotation, Kind, Layer
from etude.adapters.formats import Origin
from etude.adapters.formats.csv import KIND
from etude.adapters.formats.json import document
from etude.cli.finders import Finder
from etude.cli.tables import FILE, Row, cell

WHOLE = ("label", "confidence")
"""The columns of what holds for a whole recording."""


def whole_rows(kind: Kind, layer: Layer, duration: float) -> list[Row]:
    """Rows of :data:`WHOLE`, the most confident first."""
    marks = sorted(kind.marks(layer, duration), key=lambda mark: -1.0 if mark.confidence is None else -mark.confidence)
    return [dict(zip(WHOLE, (mark.text, mark.confidence), strict=True)) for mark in marks]


class Printed(Protocol):
    """What is told of each recording."""

    def add(self, path: Path, adapter: str, annotation: Annotation, duration: float) -> None:
        """Print what ``adapter`` found in a recording of ``duration`` seconds."""


class PrintedCsv:
    """One header, then the rows of each recording; ``file``, ``adapter`` and ``kind`` are columns where there are several."""

    def __init__(self, finders: Mapping[str, Finder], *, several: bool) -> None:
        found = dict.fromkeys(kind for finder in finders.values() for kind in finder.kinds)
        self._leading = [FILE] * several + ["adapter"] * (len(finders) > 1) + [KIND] * (len(found) > 1)
        columns = [column for kind in found for column in (WHOLE if kind.whole else (*kind.columns, "confidence"))]
        names = list(dict.fromkeys((*self._leading, *columns)))
        self._writer = csv.DictWriter(sys.stdout, names, restval="", extrasaction="ignore", lineterminator="\n")
        self._writer.writeheader()

    def add(self, path: Path, adapter: str, annotation: Annotation, duration: float) -> None:
        """Print what ``adapter`` found in a recording of ``duration`` seconds."""
        for kind, layer in annotation.by_kind():
            rows = whole_rows(kind, layer, duration) if kind.whole else [kind.row(record) for record in layer]
            leading = {FILE: str(path), "adapter": adapter, KIND: kind.name}
            for row in rows:
                values: dict[str, Any] = {name: leading[name] for name in self._leading}
                self._writer.writerow(values | {name: cell(value) for name, value in row.items()})
        sys.stdout.flush()


class PrintedJson:
    """An object in a line of its own."""

    def add(self, path: Path, adapter: str, annotation: Annotation, duration: float) -> None:
        """Print what ``adapter`` found in a recording of ``duration`` seconds."""
        found = {FILE: str(path), **document(annotation, Origin(path, duration, adapter))}
        typer.echo(json.dumps(found, ensure_ascii=False, allow_nan=False))
