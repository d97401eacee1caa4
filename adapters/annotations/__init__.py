"""Notes with playing techniques, tags of whole recordings, and the event CSV that notes are read from and written to.

Times are seconds from the start of the recording, pitches are MIDI numbers (69 = A4 = 440 Hz). Both are checked where they
enter, so that every later stage can rely on them.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from etude.adapters.errors import Problem, UserError, nearest

EVENT_COLUMNS = ("onset_time", "offset_time", "technique", "pitch")
RANGE_TOLERANCE = 0.1
"""Seconds by which an event may outlast its recording (rounded labels) before it is reported."""


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


@dataclass(frozen=True, slots=True)
class Annotation:
    """Everything known about one recording.

    ``unlabelled`` lists (start, end) spans in seconds in which nobody annotated: there, the absence of a note is not a
    negative example, and losses and scores skip the frames. ``tags`` are of the whole recording (the instruments heard in it,
    say), sorted, each once; ``None`` means that nobody annotated them, ``()`` that there are none. ``tag_confidences`` holds
    the probability of some or all of the tags by name. ``unlabelled_tags`` names the classes of which nobody said whether they
    hold for the recording, sorted, each once: they never count, while what is in neither is a negative example.

    Raises :class:`UserError` for impossible notes, and ValueError for a confidence of what is no tag, for a tag that is also
    unlabelled, and for unlabelled tags where ``tags`` is ``None``.
    """

    notes: tuple[Note, ...] = ()
    unlabelled: tuple[tuple[float, float], ...] = ()
    tags: tuple[str, ...] | None = None
    tag_confidences: Mapping[str, float] = field(default_factory=dict, hash=False)
    unlabelled_tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        problems = [Problem(what) for note in self.notes if (what := note.problem())]
        if problems:
            raise UserError(problems)
        if stray := sorted(set(self.tag_confidences) - set(self.tags or ())):
            raise ValueError(f"a confidence for '{stray[0]}', which is not among the tags")
        if both := sorted(set(self.unlabelled_tags) & set(self.tags or ())):
            raise ValueError(f"'{both[0]}' is among the tags and among the unlabelled tags")
        if self.unlabelled_tags and self.tags is None:
            raise ValueError("some tags are unlabelled, so the others are known: tags cannot be None")
        object.__setattr__(self, "notes", tuple(sorted(self.notes, key=lambda n: (n.onset, n.offset))))
        if self.tags is not None:
            object.__setattr__(self, "tags", tuple(sorted(set(self.tags))))
        object.__setattr__(self, "unlabelled_tags", tuple(sorted(set(self.unlabelled_tags))))


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


def read_events(
    path: Path,
    *,
    labels: Mapping[str, str] | None = None,
    technique_column: str = "technique",
    pitch_column: str = "pitch",
    duration: float | None = None,
) -> tuple[tuple[Note, ...], list[Problem]]:
    """Read one event CSV; return the valid notes and *every* problem, each with its row.

    ``labels`` maps raw technique names to class names; a name it lacks is a problem. An empty technique or pitch means
    that it was not annotated; the column ``confidence`` (0 to 1) may be absent. ``duration`` (seconds) bounds the events; an
    offset within ``RANGE_TOLERANCE`` of it is cut.
    """
    rows, problems = read_table(path, (*EVENT_COLUMNS[:2], technique_column))
    notes: list[Note] = []
    for number, row in rows:
        result = _note_of(row, labels, technique_column, pitch_column, duration)
        if isinstance(result, Note):
            notes.append(result)
        else:
            problems.append(Problem(result.what, f"{path}:{number}", result.fix))
    return tuple(notes), problems


def _note_of(
    cells: Mapping[str, str],
    labels: Mapping[str, str] | None,
    technique_column: str,
    pitch_column: str,
    duration: float | None,
) -> Note | Problem:
    numbers: dict[str, float] = {}
    for name in (*EVENT_COLUMNS[:2], pitch_column, "confidence"):
        text = cells.get(name, "")
        if name in (pitch_column, "confidence") and not text:
            continue
        try:
            numbers[name] = float(text)
        except ValueError:
            return Problem(
                f"{name} is {text!r}, not a number", fix="seconds for times, MIDI numbers for pitch, 0 to 1 for confidence"
            )
    raw = cells[technique_column]
    technique: str | None = raw or None
    if technique is not None and labels is not None:
        if technique not in labels:
            return Problem(f"unknown technique {raw!r}", fix=nearest(raw, labels))
        technique = labels[technique]
    onset, offset = numbers["onset_time"], numbers["offset_time"]
    if duration is not None:
        if onset >= duration or offset > duration + RANGE_TOLERANCE:
            return Problem(
                f"event {onset:g}-{offset:g} s is outside the recording of {duration:.2f} s", fix="correct its times"
            )
        offset = min(offset, duration)
    note = Note(onset, offset, numbers.get(pitch_column), technique, confidence=numbers.get("confidence"))
    what = note.problem()
    return Problem(what, fix="correct its times, pitch or confidence") if what else note


def write_events(path: Path, notes: Iterable[Note]) -> None:
    """Write notes as an event CSV that :func:`read_events` reads back; a confidence column is added when known."""
    rows = sorted(notes, key=lambda n: (n.onset, n.offset))
    confident = any(note.confidence is not None for note in rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*EVENT_COLUMNS, *(["confidence"] if confident else [])])
        for note in rows:
            row = [
                f"{note.onset:.4f}",
                f"{max(note.offset, note.onset + 1e-4):.4f}",  # rounding must not give a zero length
                note.technique or "",
                "" if note.pitch is None else f"{note.pitch:g}",
            ]
            if confident:
                row.append("" if note.confidence is None else f"{note.confidence:.3f}")
            writer.writerow(row)
