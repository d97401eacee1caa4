"""What is played on the koto of the data set ``soundfont_phrases``, and how it sounds.

Conventions: the pitch of an event is the pitch at which its string is plucked, a whole MIDI number, whatever a bend does
afterwards (Guzheng_Tech99 has one whole MIDI number per event, too); a glissando is a run over neighbouring strings in which
every stroke is one short event (there, they last 0.09 s on average); a tremolo is one event from its first stroke to the end of
its last. An event ends where its string is damped, or earlier where it has decayed by 34 dB.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from etude.adapters.annotations.notes import Note
from etude.adapters.sound.performance import DAMPING, Bend, Performance, PlayedNote, Stroke, portamento, repeated, vibrato
from etude.adapters.sound.synthesis import MidiRenderer, Preset
from etude.adapters.sound.voice import Voice, voice

Technique = Literal["pluck", "vibrato", "upward_portamento", "downward_portamento", "glissando", "tremolo"]
TECHNIQUES: tuple[Technique, ...] = get_args(Technique)
STRINGS = (55, 57, 58, 62, 63, 67, 69, 70, 74, 75, 79, 81)
"""Pitches of a koto in hirajoshi on D, low to high."""
WHEEL_SECONDS = 0.005
"""How often the pitch wheel moves."""
PEAK = 0.7
"""Of every phrase."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """A program of a SoundFont, counted from 0 (General MIDI)."""

    program: int
    soundfont: Path


@dataclass(frozen=True, slots=True)
class Event:
    """One labelled event, all of it on one string."""

    technique: Technique
    played: PlayedNote

    def note(self, instrument: Instrument) -> Note:
        """Its label; the last stroke may have decayed before it is damped."""
        played = self.played
        decayed = played.onset + played.performance.strokes[-1].start + voice_of(instrument, played.pitch).ring
        return Note(played.onset, min(played.offset, decayed), played.pitch, self.technique)


@cache
def voice_of(instrument: Instrument, pitch: float) -> Voice:
    """How a pitch of an instrument behaves, measured at 48 kHz. Raises :class:`UserError` as :func:`render` does."""
    return voice(MidiRenderer(instrument.soundfont, 48_000), Preset(instrument.program), pitch)


def render(events: Sequence[Event], instrument: Instrument, seconds: float, sample_rate: int) -> NDArray[np.float32]:
    """``events`` -> ``[seconds * sample_rate]`` of peak 0.7; each stroke is heard from its start on.

    Raises :class:`UserError` without synthesiser, for a SoundFont that it cannot read, and for a pitch that is silent.
    """
    notes = [event.played.ahead(voice_of(instrument, event.played.pitch).latency) for event in events]
    samples = MidiRenderer(instrument.soundfont, sample_rate).render(Preset(instrument.program), notes, seconds)
    scaled: NDArray[np.float32] = samples * np.float32(PEAK / max(float(np.abs(samples).max()), 1e-9))
    return scaled


def compose(techniques: tuple[Technique, ...], seconds: float, rng: Generator) -> list[Event]:
    """A random phrase: shuffled rounds of all techniques at one pace and loudness, some with a rest after them.

    A round of all six takes less than 8 s at any pace, so a phrase of that length holds every technique.
    """
    pace = rng.uniform(0.75, 1.05)
    loudness = int(rng.integers(70, 105))
    events: list[Event] = []
    time = rng.uniform(0.05, 0.2)
    while True:
        for index in rng.permutation(len(techniques)):
            played = _PLAYERS[techniques[index]](time, pace, loudness + int(rng.integers(-12, 13)), rng)
            end = played[-1].played.offset
            if end + DAMPING > seconds:
                return events
            events += played
            time = end + (pace * rng.uniform(0.03, 0.15) if rng.random() < 0.5 else 0.0)


def _string(rng: Generator) -> float:
    return float(rng.choice(STRINGS))


def _held(seconds: float, bend: Bend | None = None) -> Performance:
    return Performance((Stroke(0.0, seconds),), bend, damped=True)


def _pluck(time: float, pace: float, velocity: int, rng: Generator) -> list[Event]:
    held = _held(pace * rng.uniform(0.25, 0.9))
    return [Event("pluck", PlayedNote(held, _string(rng), velocity, time))]


def _vibrato(time: float, pace: float, velocity: int, rng: Generator) -> list[Event]:
    """5-7 Hz, 30-80 cents to either side, from shortly after the onset to the end."""
    seconds = pace * rng.uniform(0.8, 1.2)
    begin, rate, depth = rng.uniform(0.05, 0.12), rng.uniform(5, 7), rng.uniform(0.3, 0.8)
    times = tuple(begin + k * WHEEL_SECONDS for k in range(int((seconds - begin) / WHEEL_SECONDS)))
    bent = _held(seconds, Bend(vibrato(begin, rate, depth), times))
    return [Event("vibrato", PlayedNote(bent, _string(rng), velocity, time))]


def _portamento(technique: Technique, direction: int) -> Player:
    """Slides by 1-3 semitones in 100-300 ms, beginning 50-120 ms after the onset."""

    def play(time: float, pace: float, velocity: int, rng: Generator) -> list[Event]:
        seconds = pace * rng.uniform(0.65, 0.95)
        begin, lasting, interval = rng.uniform(0.05, 0.12), rng.uniform(0.1, 0.3), direction * int(rng.integers(1, 4))
        steps = math.ceil(lasting / WHEEL_SECONDS)
        times = tuple(begin + lasting * k / steps for k in range(1, steps + 1))
        bent = _held(seconds, Bend(portamento(begin, lasting, interval), times))
        return [Event(technique, PlayedNote(bent, _string(rng), velocity, time))]

    return play


def _glissando(time: float, pace: float, velocity: int, rng: Generator) -> list[Event]:
    """5-9 neighbouring strings up or down, 70-120 ms apart; each is damped by the next."""
    count = int(rng.integers(5, 10))
    start = int(rng.integers(0, len(STRINGS) - count + 1))
    run = STRINGS[start : start + count][:: int(rng.choice([-1, 1]))]
    step = pace * rng.uniform(0.08, 0.12)
    return [Event("glissando", PlayedNote(_held(step), pitch, velocity, time + k * step)) for k, pitch in enumerate(run)]


def _tremolo(time: float, pace: float, velocity: int, rng: Generator) -> list[Event]:
    """8-14 strokes per second on one string for 0.7-1.3 s, unevenly loud."""
    step = 1 / rng.uniform(8, 14)
    pitch, count = _string(rng), math.ceil(pace * rng.uniform(0.7, 1.3) / step)
    strokes = tuple(replace(stroke, louder=int(rng.integers(-8, 9))) for stroke in repeated(count, step))
    return [Event("tremolo", PlayedNote(Performance(strokes, damped=True), pitch, velocity, time))]


Player = Callable[[float, float, int, Generator], list[Event]]
"""Onset (seconds), pace (factor on durations), MIDI velocity, randomness -> what is played."""

_PLAYERS: dict[Technique, Player] = {
    "pluck": _pluck,
    "vibrato": _vibrato,
    "upward_portamento": _portamento("upward_portamento", 1),
    "downward_portamento": _portamento("downward_portamento", -1),
    "glissando": _glissando,
    "tremolo": _tremolo,
}
