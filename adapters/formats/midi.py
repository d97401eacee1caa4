"""Standard MIDI files."""

from __future__ import annotations

from pathlib import Path

from etude.adapters.annotations import Annotation, Kind
from etude.adapters.errors import UserError
from etude.adapters.formats import Format, Origin
from etude.adapters.formats._parts.midi_tracks import midi_file


class Midi(Format):
    """One track per class and instrument; a pitch between semitones is bent, velocity is the confidence."""

    suffix = ".mid"

    def holds(self, kind: Kind) -> bool:
        """See :class:`Format`."""
        return kind.pitched

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
