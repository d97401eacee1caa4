"""Notes as the tracks of a standard MIDI file, with channels, pitch bends and programs.

A bend concerns a whole channel, and a channel can sound a pitch once at a time. So a note that cannot join those that sound on
its track's channel gets another one, as in MIDI Polyphonic Expression (MIDI Association, 2018).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from etude.adapters.annotations import Mark
from etude.adapters.formats._parts.general_midi import program_of

if TYPE_CHECKING:
    import mido

TICKS_PER_QUARTER = 480
"""At 120 quarters a minute one MIDI tick is 1.04 ms."""
QUARTERS_PER_SECOND = 2
MOST_TICKS = 9_900_000
"""pretty_midi reads no file of more than 10,000,000: beyond 2.8 hours, ticks are longer, 4.4 ms in a file of 12 hours."""
CHANNELS = tuple(channel for channel in range(16) if channel != 9)
"""The tenth is for percussion."""
BEND_RANGE = 2
"""Semitones of the furthest bend to either side."""
FURTHEST_BEND = 8192
DEFAULT_VELOCITY = 100
OFF, SETTING, ON = range(3)
"""The order of messages at one tick."""


def midi_file(marks: Iterable[Mark]) -> mido.MidiFile:
    """A track per text and instrument of ``marks``, which have pitches; velocity is the confidence.

    A track has the name of the text and, where its instrument is known, a program. A pitch between two semitones is the
    nearer one with a pitch bend, exact to 1/4096 semitone, that is held through the note. Where more than 15 notes that need
    channels of their own sound together, the further ones are not bent.
    """
    import mido

    marks = sorted(marks, key=lambda mark: (mark.start, mark.end))
    longest = QUARTERS_PER_SECOND * max((mark.end for mark in marks), default=0.0)
    resolution = max(1, min(TICKS_PER_QUARTER, int(MOST_TICKS / longest))) if longest else TICKS_PER_QUARTER
    tracks = [_Track(*names) for names in sorted({(mark.text, mark.instrument or "") for mark in marks})]
    by_names = {(track.name, track.instrument): track for track in tracks}
    channels = [_Channel(number) for number in CHANNELS]
    for mark in marks:
        start, end = (round(time * resolution * QUARTERS_PER_SECOND) for time in (mark.start, mark.end))
        _add(by_names[mark.text, mark.instrument or ""], channels, mark, start, max(end, start + 1))
    file = mido.MidiFile(type=1, ticks_per_beat=resolution, charset="utf-8")
    tempo = mido.MetaMessage("set_tempo", tempo=round(1e6 / QUARTERS_PER_SECOND))
    file.tracks += [mido.MidiTrack([tempo]), *(track.messages() for track in tracks)]
    return file


@dataclass(eq=False)
class _Track:
    name: str
    instrument: str
    events: list[tuple[int, int, str, dict[str, int]]] = field(default_factory=list)
    """Tick, order at that tick, kind of message and its values."""

    def __post_init__(self) -> None:
        self.program = program_of(self.instrument)

    def add(self, tick: int, order: int, kind: str, **values: int) -> None:
        self.events.append((tick, order, kind, values))

    def messages(self) -> mido.MidiTrack:
        import mido

        messages: list[Any] = [mido.MetaMessage("track_name", name=self.name)]
        if self.instrument:
            messages.append(mido.MetaMessage("instrument_name", name=self.instrument))
        now = 0
        for tick, _, kind, values in sorted(self.events, key=lambda event: event[:2]):
            messages.append(mido.Message(kind, time=tick - now, **values))
            now = tick
        return mido.MidiTrack(messages)


@dataclass(eq=False)
class _Channel:
    """What a synthesizer knows of a channel: whose notes sound on it until when, how they are bent and with which program."""

    number: int
    track: _Track | None = None
    bend: int = 0
    ranged: bool = False
    program: int | None = None
    ends: dict[int, int] = field(default_factory=dict)
    """Pitch -> the tick at which it ends."""

    def sounding(self, tick: int) -> set[int]:
        return {pitch for pitch, end in self.ends.items() if end > tick}

    def takes(self, track: _Track, pitch: int, bend: int, tick: int) -> bool:
        sounding = self.sounding(tick)
        return not sounding or (self.track is track and self.bend == bend and pitch not in sounding)

    def set(self, track: _Track, bend: int, tick: int) -> None:
        self.track = track
        if track.program is not None and self.program != track.program:
            track.add(tick, SETTING, "program_change", channel=self.number, program=track.program)
            self.program = track.program
        if bend and not self.ranged:
            for control, value in ((101, 0), (100, 0), (6, BEND_RANGE), (38, 0), (101, 127), (100, 127)):
                track.add(tick, SETTING, "control_change", channel=self.number, control=control, value=value)
            self.ranged = True
        if bend != self.bend:
            track.add(tick, SETTING, "pitchwheel", channel=self.number, pitch=bend)
            self.bend = bend


def _add(track: _Track, channels: Sequence[_Channel], mark: Mark, start: int, end: int) -> None:
    exact = mark.pitch or 0.0
    pitch = round(exact)
    bend = round((exact - pitch) / BEND_RANGE * FURTHEST_BEND)
    fitting = [channel for channel in channels if channel.takes(track, pitch, bend, start)]
    # its own channel before a new one, and that before one that another track has used
    channel = min(fitting or channels, key=lambda c: (c.track is not track, bend != c.bend, c.track is not None, c.number))
    if fitting:
        channel.set(track, bend, start)
    velocity = DEFAULT_VELOCITY if mark.confidence is None else max(1, round(127 * mark.confidence))
    track.add(start, ON, "note_on", channel=channel.number, note=pitch, velocity=velocity)
    track.add(end, OFF, "note_off", channel=channel.number, note=pitch)
    channel.ends[pitch] = end
