"""Points in time with a label, such as strokes of a drum or changes of the bow."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from etude.adapters.annotations import CardWords, Kind, Layer, Mark, Row, ScoreNames, Span
from etude.adapters.errors import UserError

MARGIN = 0.5
"""Seconds around an excerpt whose points concern it."""


@dataclass(frozen=True, slots=True)
class Point:
    """``time`` in seconds."""

    time: float
    label: str
    confidence: float | None = None


class Points(Kind):
    """Their classes are their labels."""

    unit, plural, label = "point", "points", "label"
    columns = required = ("time", "label")
    scores = ScoreNames(
        headline={"point_f1": ("F1", "Point F1"), "point_macro_f1": ("macro", "Point F1, macro")},
        columns=(("F1", "point", "f1"), ("points", "point", "ref"), ("found", "point", "est"), ("correct", "point", "tp")),
    )
    card = CardWords(
        does="find points in time",
        task="point detection",
        example="for point in annotation.points:\n    print(point.time, point.label)",
    )

    def check(self, record: Point) -> str | None:
        """See :class:`Kind`."""
        return None if math.isfinite(record.time) and record.time >= 0 else f"a point at {record.time:g} s is impossible"

    def arrange(self, records: Iterable[Point]) -> tuple[Point, ...]:
        """By time."""
        return tuple(sorted(records, key=lambda point: (point.time, point.label)))

    def class_of(self, record: Point) -> str:
        """Its label."""
        return record.label

    def marks(self, layer: Layer, duration: float) -> list[Mark]:
        """See :class:`Kind`."""
        return [Mark(point.time, point.time, point.label, confidence=point.confidence) for point in layer]

    def cut(self, layer: Layer, spans: Sequence[Span]) -> list[Layer]:
        """The points in each span and half a second around it."""
        times = [point.time for point in layer]
        bounds = [(bisect_left(times, start - MARGIN), bisect_left(times, end + MARGIN)) for start, end in spans]
        return [replace(layer, records=layer.records[first:last]) for first, last in bounds]

    def row(self, record: Point) -> dict[str, str]:
        """See :class:`Kind`."""
        cells = {"time": f"{record.time:.4f}", "label": record.label}
        return cells if record.confidence is None else {**cells, "confidence": f"{record.confidence:.3f}"}

    def cells(self, mark: Mark) -> dict[str, str]:
        """See :class:`Kind`; of what lasts, it is the beginning."""
        confidence = "" if mark.confidence is None else repr(mark.confidence)
        return {"time": repr(mark.start), "label": mark.text, "confidence": confidence}

    def parse(self, row: Row, duration: float | None = None) -> Any:
        """See :class:`Kind`."""
        confidence = row.number("confidence") if row.text("confidence") else None
        point = Point(row.number("time"), row.class_name("label") or "", confidence)
        if not point.label or (fault := self.check(point)) or (duration is not None and point.time > duration):
            raise UserError(fault if point.label and fault else "no label, or outside the recording", fix="correct it")
        return point
