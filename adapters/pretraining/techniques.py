"""How playing techniques sound on a sampled instrument: movements of the pitch wheel, repeated strokes, damped strings.

A technique is a :class:`Performance`: when keys go down and up and how the pitch moves, and what happens to the sound after
that. Depths, rates and times are drawn within what players do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from numpy.random import Generator

Bend = Callable[[float], float]
"""Seconds since the onset -> semitones."""


@dataclass(frozen=True, slots=True)
class Performance:
    """One note as it is played."""

    strokes: tuple[tuple[float, float, float], ...]
    """(start s, stop s, semitones above the note), in order."""
    bend: Bend | None = None
    damping: tuple[float, float] | None = None
    """Time constant of the decay in seconds, and cut-off of the low-pass in Hz, of a hand on the string."""

    def movement(self, time: float) -> float:
        """Semitones above the note at ``time``, seconds since its onset; after the last stroke, what it ended with."""
        above = next((above for _, stop, above in self.strokes if time < stop), self.strokes[-1][2])
        return above + (self.bend(min(time, self.seconds)) if self.bend else 0.0)

    @property
    def seconds(self) -> float:
        """Until the last key goes up."""
        return self.strokes[-1][1]


def _plain(seconds: float, rng: Generator) -> Performance:
    return Performance(((0.0, seconds, 0.0),))


def _staccato(seconds: float, rng: Generator) -> Performance:
    return Performance(((0.0, rng.uniform(0.05, 0.12), 0.0),))


def _vibrato(seconds: float, rng: Generator) -> Performance:
    seconds = max(seconds, 0.5)
    begin, rate, depth = rng.uniform(0.05, 0.15), rng.uniform(4.5, 7.5), rng.uniform(0.2, 0.9)
    return Performance(
        ((0.0, seconds, 0.0),), lambda time: depth * math.sin(2 * math.pi * rate * (time - begin)) if time > begin else 0.0
    )


def _portamento(direction: int) -> Player:
    def play(seconds: float, rng: Generator) -> Performance:
        begin, lasting, interval = rng.uniform(0.03, 0.2), rng.uniform(0.06, 0.3), direction * rng.uniform(1, 4)

        def bend(time: float) -> float:
            return float(interval * (1 - math.cos(math.pi * min(max((time - begin) / lasting, 0.0), 1.0))) / 2)

        return Performance(((0.0, max(seconds, begin + lasting + 0.1), 0.0),), bend)

    return play


def _repeated(low: float, high: float, interval: bool) -> Player:
    """Strokes at a rate between ``low`` and ``high`` Hz; with ``interval``, every second one is 1-2 semitones higher."""

    def play(seconds: float, rng: Generator) -> Performance:
        step, above = 1 / rng.uniform(low, high), float(rng.integers(1, 3)) if interval else 0.0
        count = max(4, math.ceil(seconds / step))
        return Performance(tuple((k * step, (k + 1) * step, above * (k % 2)) for k in range(count)))

    return play


def _damped(slowest: float, fastest: float) -> Player:
    """A string that decays with a time constant between ``fastest`` and ``slowest`` seconds."""

    def play(seconds: float, rng: Generator) -> Performance:
        damping = math.exp(rng.uniform(math.log(fastest), math.log(slowest)))
        return Performance(((0.0, max(seconds, 0.2), 0.0),), damping=(damping, math.exp(rng.uniform(5.7, 7.8))))

    return play


Player = Callable[[float, Generator], Performance]
"""Seconds that the key is held, randomness -> what is played."""

PLAYERS: dict[str, Player] = {
    "plain": _plain,
    "staccato": _staccato,
    "vibrato": _vibrato,
    "upward_portamento": _portamento(1),
    "downward_portamento": _portamento(-1),
    "tremolo": _repeated(8, 15, interval=False),
    "trill": _repeated(8, 14, interval=True),
    "palm_mute": _damped(0.2, 0.05),
    "ghost": _damped(0.04, 0.012),
}
SAMPLED = ("harmonic", "slap", "pizzicato", "muted")
"""Techniques that some instruments of a SoundFont are, beside palm mutes and tremolos."""
TECHNIQUES = (*PLAYERS, *SAMPLED)


def sampled_technique(bank: int, program: int) -> str | None:
    """The technique that a General MIDI preset was recorded with, ``None`` for plain ones. ``program`` counts from 0."""
    anywhere = {44: "tremolo", 45: "pizzicato"}
    melodic = {28: "palm_mute", 31: "harmonic", 36: "slap", 37: "slap", 59: "muted"}
    return anywhere.get(program) or (melodic.get(program) if bank == 0 else None)
