"""How records, scores and what an adapter finds are shown, whatever their kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


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
