"""Plucked notes rendered from the sampled instruments of a SoundFont, with labels that agree with the sound.

The SoundFont is TimGM6mb (GPL-2.0), read from where ``pretty_midi`` installs it; the synthesiser is ``midirenderer``. Every
stroke gets the next of 15 MIDI channels, so that bending or damping one string leaves the others alone. A sample starts with
a few milliseconds of silence (longer for low notes), which :func:`voice` measures and :func:`render` compensates for.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from etude.adapters.errors import UserError

if TYPE_CHECKING:
    import pretty_midi

LICENCE = "GPL-2.0-only"
"""That of the SoundFont."""
CHANNELS = 15
"""General MIDI's 16 without the drum channel."""
BEND_RANGE = 12
"""Semitones at full pitch wheel, set by registered parameter 0."""
TICKS = 10_000
"""MIDI ticks per second."""
DAMPING = 0.02
"""Seconds in which a damped string falls silent."""
RING_DECIBELS = -34.0
"""A string has stopped ringing once its level stays below this, relative to its peak."""
STARTED = 0.05
"""A string has started to sound at this share of its peak amplitude."""
LEAD = 0.05
"""Seconds of silence in front of a rendering: controllers are set there, and notes at 0 s can be sent early."""
SETUP = 0.01
"""Seconds of it that belong to the controllers."""


@dataclass(frozen=True, slots=True)
class Stroke:
    """One plucked string, damped at ``offset``. Seconds; MIDI pitch; ``bend`` holds (time, semitones) pairs."""

    onset: float
    offset: float
    pitch: int
    velocity: int = 100
    bend: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Voice:
    """How one pitch of an instrument behaves: seconds from note-on to sound, and seconds that it rings undamped."""

    latency: float
    ring: float


def soundfont() -> Path:
    """The SoundFont file. Raises :class:`UserError` when this ``pretty_midi`` lacks it."""
    import pretty_midi

    path = Path(pretty_midi.__file__).with_name("TimGM6mb.sf2")
    if not path.is_file():
        raise UserError("the SoundFont TimGM6mb.sf2 is not in the installed pretty_midi", fix="pip install 'etude[demo]'")
    return path


def _synthesiser() -> Callable[[bytes, bytes], bytes]:
    try:
        from midirenderer import render_wave_from
    except ImportError:
        raise UserError("the synthesiser midirenderer is not installed", fix="pip install 'etude[demo]'") from None
    renderer: Callable[[bytes, bytes], bytes] = render_wave_from
    return renderer


def versions() -> dict[str, str]:
    """What a rendering depends on beside this file, for cache keys. Raises :class:`UserError` when a piece is missing."""
    _synthesiser()
    return {"soundfont": sha256(soundfont().read_bytes()).hexdigest(), "midirenderer": version("midirenderer")}


def synthesise(score: pretty_midi.PrettyMIDI) -> tuple[NDArray[np.float32], int]:
    """Mono samples ``[samples]`` and their rate in Hz. Raises :class:`UserError` when the synthesiser is not installed."""
    midi = io.BytesIO()
    score.write(midi)
    wave = _synthesiser()(soundfont().read_bytes(), midi.getvalue())
    audio, rate = soundfile.read(io.BytesIO(wave), dtype="float32", always_2d=True)
    return audio.mean(axis=1), rate


def render(
    strokes: Sequence[Stroke], program: int, seconds: float, sample_rate: int, *, compensate: bool = True
) -> NDArray[np.float32]:
    """Strokes -> ``[seconds * sample_rate]`` samples, peak 0.7; each stroke is heard from its ``onset`` on.

    ``program`` counts from 0 (General MIDI). Without ``compensate`` the note-on itself is at ``onset``.
    """
    import pretty_midi

    ordered = sorted(strokes, key=lambda stroke: stroke.onset)
    score = pretty_midi.PrettyMIDI(resolution=TICKS, initial_tempo=60)
    score.instruments = [_channel(program) for _ in range(min(CHANNELS, len(ordered)))]
    for index, stroke in enumerate(ordered):
        latency = voice(program, stroke.pitch).latency if compensate else 0.0
        _play(score.instruments[index % CHANNELS], stroke, max(LEAD - latency, SETUP))
    # The synthesiser stops at the last event, so an inaudible one marks the end.
    end = pretty_midi.ControlChange(3, 0, LEAD + seconds + 0.1)
    score.instruments[0].control_changes.append(end)
    audio, rate = synthesise(score)
    audio = soxr.resample(audio[round(LEAD * rate) :], rate, sample_rate)[: round(seconds * sample_rate)]
    scaled: NDArray[np.float32] = audio * np.float32(0.7 / max(float(np.abs(audio).max()), 1e-9))
    return scaled


def _channel(program: int) -> pretty_midi.Instrument:
    """A dry channel (reverb and chorus would blur offsets) at full volume with the wide bend range."""
    import pretty_midi

    channel = pretty_midi.Instrument(program)
    setup = ((91, 0), (93, 0), (7, 127), (11, 127), (101, 0), (100, 0), (6, BEND_RANGE), (38, 0))
    # One tick apart: pretty_midi sorts simultaneous controllers by number, which would break the parameter's order.
    channel.control_changes = [
        pretty_midi.ControlChange(number, value, tick / TICKS) for tick, (number, value) in enumerate(setup)
    ]
    return channel


def _play(channel: pretty_midi.Instrument, stroke: Stroke, shift: float) -> None:
    """Add one stroke: reset the channel, pluck, bend, damp. ``shift`` (seconds) goes from labels to MIDI time."""
    import pretty_midi

    onset, offset = stroke.onset + shift, stroke.offset + LEAD
    before = max(0.0, onset - 2 / TICKS)
    channel.control_changes.append(pretty_midi.ControlChange(11, 127, max(before, SETUP / 2)))
    channel.notes.append(pretty_midi.Note(stroke.velocity, stroke.pitch, onset, offset + DAMPING))
    wheel = [(before, 0.0), *((time + LEAD, semitones) for time, semitones in stroke.bend)]
    channel.pitch_bends += [pretty_midi.PitchBend(_wheel(semitones), time) for time, semitones in wheel]
    # Releasing the key leaves a plucked string ringing for seconds; fading the expression is the hand that damps it.
    fade = [(11, round(127 * (1 - step / 8)), offset + DAMPING * step / 8) for step in range(1, 9)]
    for number, value, time in [*fade, (120, 0, offset + DAMPING + 1 / TICKS)]:
        channel.control_changes.append(pretty_midi.ControlChange(number, value, time))


def _wheel(semitones: float) -> int:
    return max(-8192, min(8191, round(8192 * semitones / BEND_RANGE)))


@cache
def voice(program: int, pitch: int) -> Voice:
    """Measure a single note of an instrument; one that does not decay rings for the 3 s it is listened to."""
    rate = 48_000
    note = np.abs(render([Stroke(0.0, 3.0, pitch)], program, 3.0, rate, compensate=False))
    started = int(np.argmax(note >= STARTED * note.max()))
    last = int(np.flatnonzero(note >= 10 ** (RING_DECIBELS / 20) * note.max())[-1])
    return Voice(started / rate, (last - started) / rate)
