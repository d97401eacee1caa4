"""Rows of numbers without a header: label tracks of Audacity, and tables of notes by Tony and Sonic Visualiser."""

from __future__ import annotations

from itertools import pairwise

from etude.adapters.formats._parts.text import to_number

TOLERANCE = 0.001
"""Seconds by which notes one after another overlap by rounding."""


def is_labels(text: str) -> bool:
    """Whether a file that begins with ``text`` has two times in its first line, and perhaps a label, separated by tabs."""
    cells = text.partition("\n")[0].split("\t")
    return len(cells) > 1 and None not in map(to_number, cells[:2]) and not is_notes(text)


def is_notes(text: str) -> bool:
    """Whether its lines have a time, a value and a duration, separated by commas or tabs.

    With tabs they are told from two times and a label that is a number: each note is over before the next, as labels they
    would overlap.
    """
    lines = [line for line in text.split("\n") if line.strip()]
    separator = "\t" if "\t" in text else ","
    if separator == ",":
        lines = lines[:1]
    elif len(lines) > 2 and not text.endswith("\n"):  # the last may be cut
        lines = lines[:-1]
    notes = []
    for line in lines:
        time, value, duration = (to_number(cell) for cell in [*line.split(separator), "", "", ""][:3])
        if time is None or value is None or duration is None:
            return False
        notes.append((time, value, duration))
    if separator == ",":
        return bool(notes)
    follow = all(time + duration <= following[0] + TOLERANCE for (time, _, duration), following in pairwise(notes))
    return follow and any(value > following[0] for (_, value, _), following in pairwise(notes))
