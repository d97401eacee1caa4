"""How the notes of a sampled instrument begin and decay, measured, so that what is composed can be labelled exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etude.adapters.errors import UserError
from etude.adapters.sound.performance import Performance, PlayedNote, Stroke
from etude.adapters.sound.synthesis import EARLIEST, Preset, Synthesiser

RING_DECIBELS = -34.0
"""A string has stopped ringing once its level stays below this, relative to its peak."""
SILENCE = 1e-4
"""Peak below which nothing has sounded; FluidSynth dithers silence, too."""
STARTED = 0.05
"""A string has started to sound at this share of its peak amplitude."""


@dataclass(frozen=True, slots=True)
class Voice:
    """How one pitch of a preset behaves."""

    latency: float
    """Seconds from the key to the sound, up to :data:`~etude.adapters.sound.synthesis.EARLIEST`: samples begin with silence,
    longer for low notes."""
    ring: float
    """Seconds that it sounds undamped."""


def voice(synthesiser: Synthesiser, preset: Preset, pitch: float) -> Voice:
    """Measure a single note; one that does not decay rings for the 3 s it is listened to.

    Raises :class:`UserError` for a pitch without a sample.
    """
    rate = synthesiser.sample_rate
    held = Performance((Stroke(0.0, 3.0),))
    note = np.abs(synthesiser.render(preset, [PlayedNote(held, pitch)], 3.0))
    if note.max() < SILENCE:
        raise UserError(f"program {preset.program} is silent at MIDI pitch {pitch:g}", fix="choose another program")
    started = int(np.argmax(note >= STARTED * note.max()))
    last = int(np.flatnonzero(note >= 10 ** (RING_DECIBELS / 20) * note.max())[-1])
    return Voice(min(started / rate, EARLIEST), (last - started) / rate)
