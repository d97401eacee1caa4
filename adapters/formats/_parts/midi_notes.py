"""The notes in a standard MIDI file as they sound, tempo, programs and pitch bends taken into account."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from etude.adapters.annotations import Mark

if TYPE_CHECKING:
    import mido

DRUMS = 9
"""The channel of percussion, counted from 0."""
DEFAULT_TEMPO = 500_000
"""Microseconds per quarter."""
FURTHEST_BEND = 8192
DATA_ENTRY, PARAMETER = 6, (100, 101)
"""Controllers: the value of a registered parameter, and its number in two parts; parameter (0, 0) is the range of bends."""


@dataclass(eq=False)
class _Channel:
    program: int = 0
    range: float = 2.0
    """Semitones of the furthest bend."""
    parameter: dict[int, int] = field(default_factory=dict)
    bends: list[float] = field(default_factory=list)
    """In semitones."""
    ticks: list[int] = field(default_factory=list)
    """When each of them began."""

    def bend(self, start: int, end: int) -> float:
        """By how much a note is bent; one that moves meanwhile is an ornament, not part of its pitch."""
        after = bisect_right(self.ticks, start)
        moves = after < len(self.ticks) and self.ticks[after] < end
        return self.bends[after - 1] if after and not moves else 0.0


def notes_of(song: mido.MidiFile) -> tuple[list[tuple[Mark, str]], int]:
    """The notes, each with its place, and how many there are that never end, which are left out.

    The text of a note is the name of its track; its instrument is what the track says, or else the program, unless that is the
    default one or the track has percussion.
    """
    channels: dict[int, _Channel] = defaultdict(_Channel)
    sounding: dict[tuple[int, int, int], list[tuple[int, float, int]]] = defaultdict(list)
    names = [(_name(track, "track_name"), _name(track, "instrument_name")) for track in song.tracks]
    found = []
    tempo, before, now = DEFAULT_TEMPO, 0, 0.0
    for tick, track, event in sorted(_events(song), key=lambda event: event[:2]):
        now += (tick - before) * tempo / 1e6 / song.ticks_per_beat
        before = tick
        if event.type == "set_tempo":
            tempo = event.tempo
        if event.is_meta or not hasattr(event, "channel"):
            continue
        channel = channels[event.channel]
        if event.type == "program_change":
            channel.program = event.program
        elif event.type == "pitchwheel":
            channel.bends.append(event.pitch / FURTHEST_BEND * channel.range)
            channel.ticks.append(tick)
        elif event.type == "control_change" and event.control in PARAMETER:
            channel.parameter[event.control] = event.value
        elif event.type == "control_change" and event.control == DATA_ENTRY:
            if all(channel.parameter.get(part) == 0 for part in PARAMETER):
                channel.range = float(event.value)
        elif event.type == "note_on" and event.velocity > 0:
            sounding[track, event.channel, event.note].append((tick, now, channel.program))
        elif event.type in ("note_on", "note_off") and (open_notes := sounding[track, event.channel, event.note]):
            start, onset, program = open_notes.pop(0)
            name, instrument = names[track]
            if not instrument and program and event.channel != DRUMS:
                instrument = _program(program)
            pitch = event.note + channel.bend(start, tick)
            found.append((Mark(onset, now, name, pitch, instrument=instrument or None), f", track '{name}' at {onset:g} s"))
    return found, sum(map(len, sounding.values()))


def _events(song: mido.MidiFile) -> Iterator[tuple[int, int, Any]]:
    """Tick, number of the track, and event."""
    for number, track in enumerate(song.tracks):
        tick = 0
        for event in track:
            tick += event.time
            yield tick, number, event


def _name(track: mido.MidiTrack, kind: str) -> str:
    """What the first event of this kind says; UTF-8 where it can be, else the Latin-1 that it was read as."""
    name = next((event.name for event in track if event.type == kind), "")
    try:
        return str(name.encode("latin-1").decode()).strip()
    except UnicodeError:
        return str(name).strip()


def _program(number: int) -> str:
    from pretty_midi import program_to_instrument_name

    return str(program_to_instrument_name(number))
