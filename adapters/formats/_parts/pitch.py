"""Pitches as people write them: MIDI numbers, names of notes, frequencies."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from etude.adapters.errors import UserError
from etude.adapters.formats._parts.text import to_number

NAME = re.compile(r"([A-Ha-h])(##|bb|♯|♭|#|b)?(-?\d)")
SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11, "H": 11}
ACCIDENTALS = {"##": 2, "#": 1, "♯": 1, "b": -1, "♭": -1, "bb": -2}
HIGHEST = 127
NAMES_READ = "names of notes (C4 is 60)"


def of_hz(frequency: float) -> float | None:
    """The MIDI number of a frequency, ``None`` of one that is not positive."""
    return 69 + 12 * math.log2(frequency / 440) if 0 < frequency < math.inf else None


def of_name(text: str) -> float | None:
    """The MIDI number of a note by name, ``Bb2`` say, in scientific pitch notation (C4 is 60); H is the German B natural."""
    if not (match := NAME.fullmatch(text)):
        return None
    letter, accidental, octave = match.groups()
    return 12.0 * (int(octave) + 1) + SEMITONES[letter.upper()] + ACCIDENTALS.get(accidental or "", 0)


def of_text(text: str) -> float | None:
    """The number that a text is, or the MIDI number of the note that it names, if it is one of these."""
    value = to_number(text)
    return of_name(text) if value is None else value


def german(texts: Sequence[str]) -> bool:
    """Whether B may be meant as the Germans do, B flat: it stands beside H, which nobody else writes."""
    letters = {match[1].upper() for text in texts if (match := NAME.fullmatch(text)) and not match[2]}
    return {"H", "B"} <= letters


def in_hertz(texts: Sequence[str], where: str) -> bool:
    """Whether pitches in an unknown unit are frequencies, not MIDI numbers or names.

    Raises :class:`UserError` where they may be either; ``where`` has them.
    """
    values = [value for text in texts if (value := to_number(text)) is not None]
    if max(values, default=0.0) > HIGHEST:
        return True
    if all(value.is_integer() for value in values):
        return False
    fix = "call the column pitch (MIDI numbers) or pitch_hz"
    raise UserError(f"the values of {where} may be MIDI numbers or Hz", fix=fix)


def to_hz(midi: float) -> float:
    """The frequency of a MIDI number."""
    return 440.0 * 2 ** ((midi - 69) / 12)
