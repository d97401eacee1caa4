"""How records, scores and what an adapter finds are shown, whatever their kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MOST_ABSENT = 10
"""How many classes of false alarms a line tells of."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A record as anybody can draw it: ``text`` from ``start`` to ``end`` in seconds, which are equal for a point in time.

    ``pitch`` is a MIDI number, ``confidence`` a probability, ``instrument`` what plays it."""

    start: float
    end: float
    text: str
    pitch: float | None = None
    confidence: float | None = None
    instrument: str | None = None


@dataclass(frozen=True, slots=True)
class ScoreNames:
    """How the scores of a kind are called where they are shown."""

    headline: Mapping[str, tuple[str, str]]
    """Score -> its title in a terminal and its name on a card, in the order in which they are shown."""
    columns: tuple[tuple[str, str, str], ...]
    """Of the table of classes in a terminal: title, and the two keys that lead to the number in a row of ``per_class``."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Of the table of what is right of a record, if there is one: key in ``parts`` of the scores -> its title. The flat scores
    whose names begin with that key are in this table."""


@dataclass(frozen=True, slots=True)
class CardWords:
    """What the card of an adapter says of a kind that it finds."""

    does: str
    """Completes "small trained parts, which"."""
    task: str
    example: str
    """Python that reads the layer of ``annotation``."""
    remark: str = ""
    """A sentence below the example."""


PART_COLUMNS = {
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "ref": "annotated",
    "est": "found",
    "tp": "correct",
    "right": "of matched",
}
"""Key in a row of ``parts`` -> title of the column; the last is a share of the records that were matched by time alone."""


def part_rows(scores: Mapping[str, Any], names: ScoreNames) -> list[list[Any]]:
    """Header and rows of the table of parts; empty without it. What the reference does not know has no row."""
    parts = scores.get("parts", {})
    rows = [[title, *map(parts[key].get, PART_COLUMNS)] for key, title in names.parts.items() if parts.get(key, {}).get("ref")]
    return [["right", *PART_COLUMNS.values()], *rows] if rows else []


def calibration_line(scores: Mapping[str, Any]) -> str:
    """Mean confidence, share right and expected calibration error, in a line; empty without."""
    calibration = scores.get("calibration", {})
    rows = calibration.get("bins", ())
    count = sum(row["count"] for row in rows)
    confidence, right = (sum(row["count"] * row[name] for row in rows) / max(1, count) for name in ("confidence", "right"))
    return f"confidence {confidence:.2f} on average, right {right:.2f}: ECE {calibration['ece']:.2f}" if count else ""


def reliability_rows(scores: Mapping[str, Any], plural: str) -> list[list[Any]]:
    """Header and rows of the table of reliability; empty without it. ``plural`` is what is counted."""
    rows = [
        [f"{row['from']:.1f} to {row['to']:.1f}", row["count"], row["confidence"], row["right"]]
        for row in scores.get("calibration", {}).get("bins", ())
    ]
    return [["Confidence", plural, "mean confidence", "share right"], *rows] if rows else []


def absent_line(scores: Mapping[str, Any]) -> str:
    """A line of the classes that were found though the reference lacks them, the most frequent first; empty without any."""
    absent = sorted(scores.get("absent", {}).items(), key=lambda item: -item[1])
    told = [f"{label} {'once' if count == 1 else f'{count} times'}" for label, count in absent[:MOST_ABSENT]]
    if more := len(absent) - len(told):
        told.append(f"and {more} more {'class' if more == 1 else 'classes'}")
    return f"never annotated here, but found: {', '.join(told)}" if told else ""
