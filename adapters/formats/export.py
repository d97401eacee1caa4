"""Writing the notes and tags found in a recording to the formats that other programs read.

Times are seconds from the start of the recording, whatever its sample rate; pitches are MIDI numbers. A file appears under its
name only once it is complete.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from etude.adapters.annotations import Annotation, write_events
from etude.adapters.errors import UserError, nearest
from etude.adapters.storage.atomic import replace_file

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
    """A file format: the suffix its files end in, what writes one, and whether it can hold tags beside notes."""

    suffix: str
    write: Callable[[Path, Annotation, Origin], None]
    tags: bool


def write_csv(path: Path, annotation: Annotation, origin: Origin) -> None:
    """Write the event CSV that data sets are read from as well."""
    write_events(path, annotation.notes)


def write_jams(path: Path, annotation: Annotation, origin: Origin) -> None:
    """Write JAMS: pitches as ``note_midi``, techniques as ``tag_open``, tags as another ``tag_open`` of the whole recording.

    Each is present only if there is something in it.
    """
    import jams

    document = jams.JAMS()
    document.file_metadata.title = origin.source.stem
    document.file_metadata.duration = origin.duration
    layers: list[tuple[str, list[tuple[float, float, Any, float | None]]]] = [
        ("note_midi", [(n.onset, n.offset, n.pitch, n.confidence) for n in annotation.notes if n.pitch is not None]),
        ("tag_open", [(n.onset, n.offset, n.technique, n.confidence) for n in annotation.notes if n.technique is not None]),
        ("tag_open", [(0.0, origin.duration, tag, confidence) for tag, confidence in _tags(annotation)]),
    ]
    for namespace, entries in layers:
        if not entries:
            continue
        layer = jams.Annotation(namespace, time=0, duration=origin.duration)
        layer.annotation_metadata = jams.AnnotationMetadata(
            annotation_tools="etude", data_source="manual annotation" if origin.adapter is None else f"adapter {origin.adapter}"
        )
        for begin, end, value, confidence in entries:
            layer.append(time=begin, duration=end - begin, value=value, confidence=confidence)
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
    """Write an Audacity label track: start, end and ``technique pitch``, separated by tabs; first, one label with all tags."""
    lines = []
    if annotation.tags:
        lines.append(f"{0:.6f}\t{origin.duration:.6f}\t{' '.join(', '.join(annotation.tags).split())}\n")
    for note in annotation.notes:
        words = (note.technique or UNNAMED).split() + ([] if note.pitch is None else [f"{note.pitch:g}"])
        lines.append(f"{note.onset:.6f}\t{note.offset:.6f}\t{' '.join(words)}\n")
    path.write_text("".join(lines), encoding="utf-8")


def write_json(path: Path, annotation: Annotation, origin: Origin) -> None:
    """Write one JSON object: recording, duration, adapter, the notes with every field, and the tags; unknown ones ``null``."""
    document = {
        "recording": origin.source.name,
        "duration": origin.duration,
        "adapter": origin.adapter,
        "notes": [asdict(note) for note in annotation.notes],
        "tags": None
        if annotation.tags is None
        else [{"tag": tag, "confidence": confidence} for tag, confidence in _tags(annotation)],
    }
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _tags(annotation: Annotation) -> list[tuple[str, float | None]]:
    return [(tag, annotation.tag_confidences.get(tag)) for tag in annotation.tags or ()]


FORMATS: dict[str, Format] = {
    "csv": Format(".csv", write_csv, tags=False),
    "jams": Format(".jams", write_jams, tags=True),
    "midi": Format(".mid", write_midi, tags=False),
    "audacity": Format(".txt", write_audacity, tags=True),
    "json": Format(".json", write_json, tags=True),
}


def refuse_tags(format: str, where: str) -> None:
    """Raise :class:`UserError` if ``format`` cannot hold tags, of which there is nothing but; ``where`` names their origin."""
    if not FORMATS[format].tags:
        fitting = ", ".join(name for name, kind in FORMATS.items() if kind.tags)
        what = f"finds tags of whole recordings, which {format} cannot hold"
        raise UserError(what, where=where, fix=f"choose another format: {fitting}")


def export(
    annotation: Annotation, path_out: Path, format: str, *, duration: float, source: Path, adapter: str | None = None
) -> None:
    """Write what was found in ``source``, a recording of ``duration`` seconds, to ``path_out`` as one of :data:`FORMATS`.

    A format of notes alone leaves the tags out. Raises :class:`UserError` for an unknown format, a file that cannot be written,
    notes that the format cannot hold, and tags without notes that it cannot hold.
    """
    if format not in FORMATS:
        raise UserError(f"unknown format '{format}'", fix=nearest(format, FORMATS))
    if annotation.tags and not annotation.notes:
        refuse_tags(format, adapter or str(source))
    with replace_file(path_out) as partial:
        FORMATS[format].write(partial, annotation, Origin(source, duration, adapter))
