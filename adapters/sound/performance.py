"""How a note is played: keys that go down and up, a pitch that moves, a hand on the string; and what of it MIDI is told.

Who composes draws depths, rates and times; here is what they mean, and :mod:`~etude.adapters.sound.synthesis` makes them sound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

DAMPING = 0.02
"""Seconds in which a damped string falls silent."""
FADE_STEPS = 8
TICK = 1e-4
"""Seconds, the least that MIDI tells apart."""
BEND_RANGE = 12
"""Semitones at full pitch wheel."""
BEND_RANGE_CONTROLS = ((101, 0), (100, 0), (6, BEND_RANGE), (38, 0))
"""Controllers and values that set it, in this order: registered parameter 0."""
EXPRESSION, ALL_SOUND_OFF = 11, 120
"""Controllers."""

Curve = Callable[[float], float]
"""Seconds since the onset -> semitones above the note."""


@dataclass(frozen=True, slots=True)
class Stroke:
    """A key that is down from ``start`` to ``stop``, seconds since the onset of its note."""

    start: float
    stop: float
    above: float = 0.0
    """Whole semitones that it is higher than the note."""
    louder: int = 0
    """What is added to the note's MIDI velocity."""


@dataclass(frozen=True, slots=True)
class Bend:
    """A movement of the pitch, which the pitch wheel follows in steps."""

    curve: Curve
    times: tuple[float, ...]
    """When the wheel moves, seconds since the onset in ascending order."""


@dataclass(frozen=True, slots=True)
class Performance:
    """One note as it is played, whatever its pitch and loudness."""

    strokes: tuple[Stroke, ...]
    """In order."""
    bend: Bend | None = None
    damped: bool = False
    """Whether a hand silences the string where its key goes up; a plucked one would ring on for seconds."""
    mute: tuple[float, float] | None = None
    """Time constant of the decay in seconds, and cut-off of the low-pass in Hz, of a hand that rests on the string."""

    @property
    def seconds(self) -> float:
        """Until the last key goes up."""
        return self.strokes[-1].stop

    def movement(self, time: float) -> float:
        """Semitones above the note at ``time``, seconds since its onset; after the last stroke, what it ended with."""
        above = next((stroke.above for stroke in self.strokes if time < stroke.stop), self.strokes[-1].above)
        return above + (self.bend.curve(min(time, self.seconds)) if self.bend else 0.0)


@dataclass(frozen=True, slots=True)
class PlayedNote:
    """A performance at a MIDI pitch, of which fractions are reached by the pitch wheel, and a MIDI velocity."""

    performance: Performance
    pitch: float
    velocity: int = 100
    onset: float = 0.0
    """Seconds."""

    @property
    def offset(self) -> float:
        """Seconds at which its last key goes up."""
        return self.onset + self.performance.seconds

    def ahead(self, latency: float) -> PlayedNote:
        """The same note, whose keys go down ``latency`` seconds earlier: samples that begin with silence are heard in time."""
        strokes = tuple(replace(stroke, start=stroke.start - latency) for stroke in self.performance.strokes)
        return replace(self, performance=replace(self.performance, strokes=strokes))


def repeated(count: int, step: float, above: float = 0.0) -> tuple[Stroke, ...]:
    """``count`` strokes, one every ``step`` seconds, of which every second one is ``above`` semitones higher."""
    return tuple(Stroke(k * step, (k + 1) * step, above * (k % 2)) for k in range(count))


def vibrato(begin: float, rate: float, depth: float) -> Curve:
    """From ``begin`` (seconds) on, ``depth`` semitones to either side at ``rate`` Hz."""
    return lambda time: depth * math.sin(2 * math.pi * rate * (time - begin)) if time > begin else 0.0


def portamento(begin: float, lasting: float, interval: float) -> Curve:
    """From ``begin`` (seconds) on, half a cosine over ``lasting`` seconds to ``interval`` semitones, where it stays."""
    return lambda time: interval * (1 - math.cos(math.pi * min(max((time - begin) / lasting, 0.0), 1.0))) / 2


@dataclass(frozen=True, slots=True)
class Keystroke:
    """What a stroke is to a MIDI channel of its own; times in seconds."""

    on: float
    off: float
    key: int
    velocity: int
    wheel: tuple[tuple[float, int], ...]
    """Times and positions of the pitch wheel (-8192 to 8191), the first just before ``on``."""
    controls: tuple[tuple[float, int, int], ...]
    """Times, controllers and values."""


def keystrokes(notes: Iterable[PlayedNote]) -> list[Keystroke]:
    """All strokes of ``notes``, in the order in which their keys go down."""
    return sorted((_keystroke(note, stroke) for note in notes for stroke in note.performance.strokes), key=lambda one: one.on)


def _keystroke(note: PlayedNote, stroke: Stroke) -> Keystroke:
    on, off, key, bend = note.onset + stroke.start, note.onset + stroke.stop, round(note.pitch), note.performance.bend
    ready = on - 2 * TICK
    moves = [(ready, stroke.start)]
    if bend:
        moves += [(note.onset + time, time) for time in bend.times if stroke.start < time <= stroke.stop]
    wheel = tuple((when, _position(note.pitch - key + (bend.curve(time) if bend else 0.0))) for when, time in moves)
    controls = [(ready, EXPRESSION, 127)]
    if note.performance.damped:
        steps = range(1, FADE_STEPS + 1)
        controls += [(off + DAMPING * step / FADE_STEPS, EXPRESSION, round(127 * (1 - step / FADE_STEPS))) for step in steps]
        off += DAMPING
        controls.append((off + TICK, ALL_SOUND_OFF, 0))
    return Keystroke(on, off, key + round(stroke.above), note.velocity + stroke.louder, wheel, tuple(controls))


def _position(semitones: float) -> int:
    return max(-8192, min(8191, round(8192 * semitones / BEND_RANGE)))
