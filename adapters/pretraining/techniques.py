"""The techniques of pretraining: their depths, rates and times are drawn within what players do."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from etude.adapters.sound.performance import Bend, Curve, Performance, Stroke, portamento, repeated, vibrato

BEND_SECONDS = 0.006
"""How often the pitch wheel moves."""


def _plain(seconds: float, rng: Generator) -> Performance:
    return Performance((Stroke(0.0, seconds),))


def _staccato(seconds: float, rng: Generator) -> Performance:
    return Performance((Stroke(0.0, rng.uniform(0.05, 0.12)),))


def _bent(seconds: float, curve: Curve) -> Performance:
    times = (*np.arange(0.0, seconds, BEND_SECONDS).tolist(), seconds)
    return Performance((Stroke(0.0, seconds),), Bend(curve, times))


def _vibrato(seconds: float, rng: Generator) -> Performance:
    return _bent(max(seconds, 0.5), vibrato(rng.uniform(0.05, 0.15), rng.uniform(4.5, 7.5), rng.uniform(0.2, 0.9)))


def _portamento(direction: int) -> Player:
    def play(seconds: float, rng: Generator) -> Performance:
        begin, lasting, interval = rng.uniform(0.03, 0.2), rng.uniform(0.06, 0.3), direction * rng.uniform(1, 4)
        return _bent(max(seconds, begin + lasting + 0.1), portamento(begin, lasting, interval))

    return play


def _repeated(low: float, high: float, interval: bool) -> Player:
    """Strokes at a rate between ``low`` and ``high`` Hz; with ``interval``, every second one is 1-2 semitones higher."""

    def play(seconds: float, rng: Generator) -> Performance:
        step, above = 1 / rng.uniform(low, high), float(rng.integers(1, 3)) if interval else 0.0
        return Performance(repeated(max(4, math.ceil(seconds / step)), step, above))

    return play


def _muted(slowest: float, fastest: float) -> Player:
    """A muted string that decays with a time constant between ``fastest`` and ``slowest`` seconds."""

    def play(seconds: float, rng: Generator) -> Performance:
        decay = math.exp(rng.uniform(math.log(fastest), math.log(slowest)))
        return Performance((Stroke(0.0, max(seconds, 0.2)),), mute=(decay, math.exp(rng.uniform(5.7, 7.8))))

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
    "palm_mute": _muted(0.2, 0.05),
    "ghost": _muted(0.04, 0.012),
}
SAMPLED = ("harmonic", "slap", "pizzicato", "muted")
"""Techniques that some instruments of a SoundFont are, beside palm mutes and tremolos."""
TECHNIQUES = (*PLAYERS, *SAMPLED)


def sampled_technique(bank: int, program: int) -> str | None:
    """The technique that a General MIDI preset was recorded with, ``None`` for plain ones. ``program`` counts from 0."""
    anywhere = {44: "tremolo", 45: "pizzicato"}
    melodic = {28: "palm_mute", 31: "harmonic", 36: "slap", 37: "slap", 59: "muted"}
    return anywhere.get(program) or (melodic.get(program) if bank == 0 else None)
