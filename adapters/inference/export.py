"""Writing the notes found in a recording to the formats that other programs read.

Times are seconds from the start of the recording, whatever its sample rate; pitches are MIDI numbers. A file appears under its
name only once it is complete.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from etude.adapters.annotations import Annotation, write_events
from etude.adapters.atomic import replace_file
from etude.adapters.errors import UserError, nearest

UNNAMED = "note"
"""What a note without a technique is called where a name is needed."""
TICKS_PER_QUARTER = 480
"""At 120 quarters a minute one MIDI tick is 1.04 ms."""
DEFAULT_VELOCITY = 100


@dataclass(frozen=True, slots=True)
class Origin:
    """Where notes come from: the recording, its length in seconds, and the adapter that found them (``None``: a person)."""

    source: Path
    duration: float
    adapter: str | None = None


class Format(NamedTuple):
    """A file format: the suffix its files end in, and what writes one."""

    suffix: str
    write: Callable[[Path, Annotation, Origin], None]


def write_csv(path: Path, annotation: Annotation, origin: Origin) -> None:
    """Write the event CSV that data sets are read from as well."""
    write_events(path, annotation.notes)


def write_jams(path: Path, annotation: Annotation, origin: Origin) -> None:
    """Write JAMS: pitches as ``note_midi``, techniques as ``tag_open``; each namespace is present only if it has notes."""
    import jams

    document = jams.JAMS()
    document.file_metadata.title = origin.source.stem
    document.file_metadata.duration = origin.duration
    for namespace, field in (("note_midi", "pitch"), ("tag_open", "technique")):
        notes = [note for note in annotation.notes if getattr(note, field) is not None]
        if not notes:
            continue
        layer = jams.Annotation(namespace, time=0, duration=origin.duration)
        layer.annotation_metadata = jams.AnnotationMetadata(
            annotation_tools="etude", data_source="manual annotation" if origin.adapter is None else f"adapter {origin.adapter}"
        )
        for note in notes:
            length = note.offset - note.onset
            layer.append(time=note.onset, duration=length, value=getattr(note, field), confidence=note.confidence)
        document.annotations.append(layer)
    document.save(str(path), strict=True, fmt="jams")


def write_midi(path: Path, annotation: Annotation, origin: Origin) -> None:
    """Write one MIDI track per technique, named after it; velocity is the confidence, pitches are rounded to semitones.

    MIDI cannot hold the same pitch twice at a time in one track: there, the later note ends the earlier one.
    Raises :class:`UserError` for notes without a pitch.
    """
    import pretty_midi

    unpitched = [note for note in annotation.notes if note.pitch is None]
    if unpitched:
        raise UserError(
            f"{len(unpitched)} of {len(annotation.notes)} notes have no pitch for MIDI (first at {unpitched[0].onset:.2f} s)",
            where=str(origin.source),
            fix="choose another format, or train the adapter with 'pitch: true'",
        )
    song = pretty_midi.PrettyMIDI(resolution=TICKS_PER_QUARTER)
    for name in sorted({note.technique or UNNAMED for note in annotation.notes}):
        # MIDI files carry bytes: writing UTF-8 keeps the names that the library's Latin-1 would refuse
        track = pretty_midi.Instrument(program=0, name=name.encode().decode("latin-1"))
        sounding: dict[int, pretty_midi.Note] = {}
        for note in annotation.notes:
            if note.pitch is None or (note.technique or UNNAMED) != name:
                continue
            pitch = round(note.pitch)
            if pitch in sounding:
                sounding[pitch].end = min(sounding[pitch].end, note.onset)
            velocity = DEFAULT_VELOCITY if note.confidence is None else max(1, round(127 * note.confidence))
            sounding[pitch] = pretty_midi.Note(velocity, pitch, note.onset, note.offset)
            track.notes.append(sounding[pitch])
        track.notes = [note for note in track.notes if note.end > note.start]
        song.instruments.append(track)
    song.write(str(path))


def write_audacity(path: Path, annotation: Annotation, origin: Origin) -> None:
    """Write an Audacity label track: start, end and ``technique pitch``, separated by tabs."""
    lines = []
    for note in annotation.notes:
        words = (note.technique or UNNAMED).split() + ([] if note.pitch is None else [f"{note.pitch:g}"])
        lines.append(f"{note.onset:.6f}\t{note.offset:.6f}\t{' '.join(words)}\n")
    path.write_text("".join(lines), encoding="utf-8")


def write_json(path: Path, annotation: Annotation, origin: Origin) -> None:
    """Write one JSON object: recording, duration, adapter, and the notes with every field, unknown ones ``null``."""
    document = {
        "recording": origin.source.name,
        "duration": origin.duration,
        "adapter": origin.adapter,
        "notes": [asdict(note) for note in annotation.notes],
    }
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


FORMATS: dict[str, Format] = {
    "csv": Format(".csv", write_csv),
    "jams": Format(".jams", write_jams),
    "midi": Format(".mid", write_midi),
    "audacity": Format(".txt", write_audacity),
    "json": Format(".json", write_json),
}


def export(
    annotation: Annotation, path_out: Path, format: str, *, duration: float, source: Path, adapter: str | None = None
) -> None:
    """Write the notes found in ``source``, a recording of ``duration`` seconds, to ``path_out`` as one of :data:`FORMATS`.

    Raises :class:`UserError` for an unknown format, a file that cannot be written, and notes that the format cannot hold.
    """
    if format not in FORMATS:
        raise UserError(f"unknown format '{format}'", fix=nearest(format, FORMATS))
    with replace_file(path_out) as partial:
        FORMATS[format].write(partial, annotation, Origin(source, duration, adapter))
