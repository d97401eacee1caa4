"""Standard MIDI files."""

from __future__ import annotations

from pathlib import Path

from etude.adapters.annotations import Annotation, Kind, kind_of
from etude.adapters.errors import Problem, UserError
from etude.adapters.formats import Contents, Entry, Format, Origin, Reading
from etude.adapters.formats._parts.midi_notes import notes_of
from etude.adapters.formats._parts.midi_tracks import midi_file


class Midi(Format):
    """One track per class and instrument; a pitch between semitones is bent, velocity is the confidence."""

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
        marks = [mark for kind, layer in annotation.by_kind() for mark in kind.marks(layer, origin.duration)]
        if unpitched := [mark for mark in marks if mark.pitch is None]:
            raise UserError(
                f"{len(unpitched)} of {len(marks)} notes have no pitch for MIDI (first at {unpitched[0].start:.2f} s)",
                where=str(origin.source),
                fix="choose another format, or train the adapter with 'pitch: true'",
            )
        midi_file(marks).save(str(path))
