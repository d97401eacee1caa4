"""Notes, which are sounding events, with playing technique, instrument and pitch as far as they are known."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from etude.adapters.annotations import Kind, Layer, Span
from etude.adapters.annotations._parts.row import Row
from etude.adapters.annotations._parts.shown import CardWords, Mark, ScoreNames
from etude.adapters.errors import UserError

RANGE_TOLERANCE = 0.1
"""Seconds by which an event may outlast its recording (rounded labels) before it is reported."""
MARGIN_SECONDS = 0.05
"""By which the onset of an event that is found may differ from that of the note."""
UNNAMED = "note"
"""What a note without a technique is called where a name is needed."""


@dataclass(frozen=True, slots=True)
class Note:
    """One sounding event. ``None`` means *not annotated*, never *absent*."""

    onset: float
    offset: float
    pitch: float | None = None
    technique: str | None = None
    instrument: str | None = None
    confidence: float | None = None

    def problem(self) -> str | None:
        """What is impossible about this note, or ``None``."""
        if not (math.isfinite(self.onset) and math.isfinite(self.offset)):
            return "onset or offset is not a finite number"
        if self.onset < 0:
            return f"onset {self.onset:g} s is before the recording starts"
        if self.offset <= self.onset:
            kind = "zero length" if self.offset == self.onset else "offset before its onset"
            return f"event at {self.onset:g} s has {kind}"
        if self.pitch is not None and not 0 <= self.pitch <= 127:
            return f"pitch {self.pitch:g} is not a MIDI number (0-127)"
        if self.confidence is not None and not 0 <= self.confidence <= 1:
            return f"confidence {self.confidence:g} is not between 0 and 1"
        return None


class Notes(Kind):
    """Their classes are techniques."""

    unit, plural, label = "event", "events", "technique"
    pitched = True
    columns = ("onset_time", "offset_time", "technique", "pitch")
    required = columns[:2]
    some_of = ("technique", "pitch", "instrument")
    scores = ScoreNames(
        headline={
            "frame_micro_f1": ("frame F1 micro", "Frame F1, micro"),
            "frame_macro_f1": ("macro", "Frame F1, macro"),
            "event_micro_f1": ("event F1 micro", "Event F1, micro"),
            "event_macro_f1": ("macro", "Event F1, macro"),
        },
        columns=(
            ("frame F1", "frame", "f1"),
            ("event F1", "event", "f1"),
            ("precision", "event", "precision"),
            ("recall", "event", "recall"),
            ("events", "event", "ref"),
            ("found", "event", "est"),
            ("correct", "event", "tp"),
        ),
        parts={
            "note_onset": "onset",
            "note_offset": "with end",
            "note_pitch": "with pitch",
            "note_technique": "with technique",
            "note_all": "with all of it",
        },
    )
    card = CardWords(
        does="find playing techniques in audio recordings",
        task="playing technique detection",
        example="for note in annotation.notes:\n    print(note.onset, note.offset, note.pitch, note.technique)",
        remark="Times are in seconds, pitches are MIDI numbers.",
    )

    def check(self, record: Note) -> str | None:
        """See :class:`Kind`."""
        return record.problem()

    def arrange(self, records: Iterable[Note]) -> tuple[Note, ...]:
        """By onset, then by offset."""
        return tuple(sorted(records, key=lambda note: (note.onset, note.offset)))

    def class_of(self, record: Note) -> str | None:
        """Its technique."""
        return record.technique

    def marks(self, layer: Layer, duration: float) -> list[Mark]:
        """See :class:`Kind`."""
        return [Mark(n.onset, n.offset, n.technique or UNNAMED, n.pitch, n.confidence, n.instrument) for n in layer]

    def cut(self, layer: Layer, spans: Sequence[Span]) -> list[Layer]:
        """The notes that sound in each span, with those that begin up to the longest note before it."""
        onsets = [note.onset for note in layer]
        longest = max((note.offset - note.onset for note in layer), default=0.0)
        found = [(bisect_left(onsets, start - longest), bisect_left(onsets, end)) for start, end in spans]
        return [replace(layer, records=layer.records[first:last]) for first, last in found]

    def without(self, layer: Layer, names: Collection[str]) -> Layer:
        """See :class:`Kind`. While a note of them sounds, and ``MARGIN_SECONDS`` around it, nothing is known: whatever a model
        that has not learned them takes them for, it may begin a little early."""
        gone = [note for note in layer if note.technique in names]
        heard = Layer(known=tuple((max(0.0, note.onset - MARGIN_SECONDS), note.offset + MARGIN_SECONDS) for note in gone))
        rest = [(max(a, c), min(b, d)) for a, b in layer.known for c, d in heard.unknown(math.inf) if max(a, c) < min(b, d)]
        kept = tuple(note for note in layer if note.technique not in names)
        return Layer(kept, tuple(rest), (*layer.unjudged, *names) if rest else ())

    def row(self, record: Note) -> dict[str, str]:
        """See :class:`Kind`; ``instrument`` and ``confidence`` are further columns."""
        cells = {
            "onset_time": f"{record.onset:.4f}",
            "offset_time": f"{max(record.offset, record.onset + 1e-4):.4f}",  # rounding must not give a zero length
            "technique": record.technique or "",
            "pitch": "" if record.pitch is None else f"{record.pitch:g}",
        }
        if record.instrument is not None:
            cells["instrument"] = record.instrument
        if record.confidence is not None:
            cells["confidence"] = f"{record.confidence:.3f}"
        return cells

    def cells(self, mark: Mark) -> dict[str, str]:
        """See :class:`Kind`; a mark without text, or called ``UNNAMED``, is a note without a technique."""
        return {
            "onset_time": repr(mark.start),
            "offset_time": repr(mark.end),
            "technique": "" if mark.text == UNNAMED else mark.text,
            "pitch": "" if mark.pitch is None else repr(mark.pitch),
            "instrument": mark.instrument or "",
            "confidence": "" if mark.confidence is None else repr(mark.confidence),
        }

    def plain_cells(self, record: Mapping[str, Any]) -> dict[str, str]:
        """See :class:`Kind`."""
        names = {"onset": "onset_time", "offset": "offset_time"}
        return super().plain_cells({names.get(name, name): value for name, value in record.items()})

    def parse(self, row: Row, duration: float | None = None) -> Note:
        """See :class:`Kind`. An empty technique or pitch was not annotated; an offset within ``RANGE_TOLERANCE`` of the end of
        the recording is cut."""
        onset, offset = row.number("onset_time"), row.number("offset_time")
        pitch, confidence = (row.number(column) if row.text(column) else None for column in ("pitch", "confidence"))
        technique = row.class_name("technique")
        if duration is not None:
            if onset >= duration or offset > duration + RANGE_TOLERANCE:
                what = f"event {onset:g}-{offset:g} s is outside the recording of {duration:.2f} s"
                raise UserError(what, fix="correct its times")
            offset = min(offset, duration)
        note = Note(onset, offset, pitch, technique, row.text("instrument") or None, confidence)
        if fault := note.problem():
            raise UserError(fault, fix="correct its times, pitch or confidence")
        return note

    def jams(self, layer: Layer, duration: float) -> list[tuple[str, list[tuple[float, float, Any, float | None]]]]:
        """Pitches as ``note_midi``, techniques as ``tag_open``."""
        return [
            ("note_midi", [(n.onset, n.offset - n.onset, n.pitch, n.confidence) for n in layer if n.pitch is not None]),
            ("tag_open", [(n.onset, n.offset - n.onset, n.technique, n.confidence) for n in layer if n.technique is not None]),
        ]
