"""Standard MIDI files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from etude.adapters.annotations import Annotation, Kind, Mark, kind_of
from etude.adapters.errors import Problem, UserError
from etude.adapters.formats import Contents, Entry, Format, Origin, Reading
from etude.adapters.formats._parts.midi_notes import notes_of

if TYPE_CHECKING:
    import pretty_midi

TICKS_PER_QUARTER = 480
"""At 120 quarters a minute one MIDI tick is 1.04 ms."""
DEFAULT_VELOCITY = 100


class Midi(Format):
    """One track per class, named after it; velocity is the confidence, pitches are rounded to semitones.

    MIDI cannot hold the same pitch twice at a time in one track: there, the later note ends the earlier one.
    """

    suffix = ".mid"
    other_suffixes = (".midi",)

    def holds(self, kind: Kind) -> bool:
        """See :class:`Format`."""
        return kind.pitched

    def recognises(self, start: bytes) -> bool:
        """Its first four bytes."""
        return start.startswith(b"MThd")

    def read(self, path: Path, how: Reading) -> Contents:
        """See :class:`Format`, and :func:`notes_of` for what is what."""
        import mido

        kind = kind_of(how.kind)
        if not self.holds(kind):
            raise UserError(f"is a MIDI file, which holds no {kind.plural}", fix="choose another format")
        try:
            song = mido.MidiFile(path)
        except Exception as error:  # the library has no error of its own for what is no MIDI
            what = f"is a faulty MIDI file: {error or type(error).__name__}"
            raise UserError(what, fix="save it again in the program that wrote it") from None
        if song.ticks_per_beat <= 0:
            raise UserError("is a MIDI file in frames of film, not in beats", fix="save it again with a resolution in beats")
        marks, endless = notes_of(song)
        notices = [Problem(f"has {endless} notes that never end, left out", fix="end them")] if endless else []
        return Contents([Entry(kind.cells(mark), place) for mark, place in marks], notices=notices)

    def write(self, path: Path, annotation: Annotation, origin: Origin) -> None:
        """See :class:`Format`. Raises :class:`UserError` for notes without a pitch."""
        import pretty_midi

        song = pretty_midi.PrettyMIDI(resolution=TICKS_PER_QUARTER)
        for kind, layer in annotation.by_kind():
            marks = kind.marks(layer, origin.duration)
            if unpitched := [mark for mark in marks if mark.pitch is None]:
                raise UserError(
                    f"{len(unpitched)} of {len(marks)} notes have no pitch for MIDI (first at {unpitched[0].start:.2f} s)",
                    where=str(origin.source),
                    fix="choose another format, or train the adapter with 'pitch: true'",
                )
            for name in sorted({mark.text for mark in marks}):
                song.instruments.append(_track(name, [mark for mark in marks if mark.text == name]))
        song.write(str(path))


def _track(name: str, marks: Sequence[Mark]) -> pretty_midi.Instrument:
    import pretty_midi

    # MIDI files carry bytes: writing UTF-8 keeps the names that the library's Latin-1 would refuse
    track = pretty_midi.Instrument(program=0, name=name.encode().decode("latin-1"))
    sounding: dict[int, pretty_midi.Note] = {}
    for mark in marks:
        pitch = round(mark.pitch or 0.0)
        if pitch in sounding:
            sounding[pitch].end = min(sounding[pitch].end, mark.start)
        velocity = DEFAULT_VELOCITY if mark.confidence is None else max(1, round(127 * mark.confidence))
        sounding[pitch] = pretty_midi.Note(velocity, pitch, mark.start, mark.end)
        track.notes.append(sounding[pitch])
    track.notes = [note for note in track.notes if note.end > note.start]
    return track
