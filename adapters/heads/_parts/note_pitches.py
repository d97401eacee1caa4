"""The pitch of each found note, as it is heard in the recording (:mod:`pitch_salience`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etude.adapters.annotations.notes import Note
from etude.adapters.sound.pitch_salience import note_pitch

SALIENCE = "salience"
"""The descriptor that is heard."""
ENOUGH = 4
"""Notes from which a recording's tuning is told."""
AGREEMENT = 0.5
"""Length of the mean of their directions (1: all equally out of tune) from which it is taken."""


def with_heard_pitches(notes: Sequence[Note], salience: NDArray[np.floating[Any]], rate: float) -> list[Note]:
    """``notes`` with whole MIDI numbers, those next to what is heard in their frames of ``salience`` ``[frames, bins]``.

    A note without any pitch has none. Where the notes of the recording agree on how far they are from concert pitch, the
    instrument is tuned so, and its notes are numbered from there.
    """
    spans = [(round(note.onset * rate), round(note.offset * rate)) for note in notes]
    found = [note_pitch(salience[first:last], rate) if last > first else None for first, last in spans]
    tuning = _tuning(np.array([pitch[0] for pitch in found if pitch is not None]))
    numbers = [None if pitch is None else float(round(pitch[0] - tuning)) for pitch in found]
    return [replace(note, pitch=number) for note, number in zip(notes, numbers, strict=True)]


def _tuning(pitches: NDArray[np.float64]) -> float:
    """Semitones that the recording is sharp."""
    if len(pitches) < ENOUGH:
        return 0.0
    mean = np.exp(2j * np.pi * pitches).mean()
    return float(np.angle(mean) / (2 * np.pi)) if abs(mean) > AGREEMENT else 0.0
