"""JAMS (Humphrey et al., ISMIR 2014)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from etude.adapters import registry
from etude.adapters.annotations import Annotation, Mark, kind_of
from etude.adapters.errors import Problem, UserError
from etude.adapters.formats import Contents, Entry, Format, Origin, Reading
from etude.adapters.formats._parts import pitch
from etude.adapters.formats._parts.documents import JAMS_KEYS, first_key, read_object
from etude.adapters.formats._parts.text import listed
from etude.adapters.formats._parts.tiers import TOLERANCE, Placed, joined

HERTZ = {"note_midi": False, "note_hz": True, "pitch_midi": False, "pitch_hz": True}
"""Namespace of pitches -> whether they are frequencies."""
LABELS = "tag_"
"""What the namespaces of labels begin with."""
WHOLE = "tags"
"""The kind of labels of a whole recording."""


class Jams(Format):
    """As each kind says, :meth:`Kind.jams`; each JAMS annotation is present only if there is something in it."""

    suffix = ".jams"

    def recognises(self, start: bytes) -> bool:
        """An object with one of its keys."""
        return first_key(start) in JAMS_KEYS

    def read(self, path: Path, how: Reading) -> Contents:
        """See :class:`Format`. A pitch and a label at the same times are one note. Labels that all last as long as the
        recording are tags of it, unless the file says of which kind they are, as :meth:`write` does."""
        document = read_object(path)
        parts = document.get("annotations")
        if not isinstance(parts, list):
            raise UserError("has no list of annotations", fix="save it again in the program that wrote it")
        kind, found = kind_of(how.kind), Contents()
        duration = _number(_get(document.get("file_metadata"), "duration")) or how.duration
        pitches: list[Placed] = []
        labels: list[Placed] = []
        unread = []
        for part in parts:
            namespace = str(_get(part, "namespace"))
            marks = list(_marks(part, namespace, found.problems))
            if namespace.startswith(LABELS):
                name = _get(_get(part, "sandbox"), "kind")
                if name not in registry.names("annotations"):
                    name = WHOLE if marks and all(_lasts(mark, duration) for mark, _ in marks) else kind.name
                labels += marks if name == kind.name else []
                found.entries += [Entry(kind_of(name).cells(mark), place, name) for mark, place in marks if name != kind.name]
            elif namespace in HERTZ and kind.pitched and all(mark.end > mark.start for mark, _ in marks):
                pitches += marks
            else:
                unread.append(namespace)
        marks, alone = joined(labels, pitches)
        found.entries += [Entry(kind.cells(mark), place) for mark, place in marks]
        if unread:
            what = f"has {listed(dict.fromkeys(unread))}, not read"
            found.notices.append(Problem(what, fix="ignore this, or convert it first"))
        if labels and alone:
            what = f"has {alone} of {len(pitches)} pitches at times of their own"
            found.notices.append(Problem(what, fix="check that each is a note of its own"))
        return found

    def write(self, path: Path, annotation: Annotation, origin: Origin) -> None:
        """See :class:`Format`."""
        import jams

        document = jams.JAMS()
        document.file_metadata.title = origin.source.stem
        document.file_metadata.duration = origin.duration
        maker = "manual annotation" if origin.adapter is None else f"adapter {origin.adapter}"
        for kind, layer in annotation.by_kind():
            for namespace, observations in kind.jams(layer, origin.duration):
                if not observations:
                    continue
                part = jams.Annotation(namespace, time=0, duration=origin.duration, sandbox={"kind": kind.name})
                part.annotation_metadata = jams.AnnotationMetadata(annotation_tools="etude", data_source=maker)
                for time, duration, value, confidence in observations:
                    part.append(time=time, duration=duration, value=value, confidence=confidence)
                document.annotations.append(part)
        document.save(str(path), strict=True, fmt="jams")


def _get(found: Any, key: str) -> Any:
    return found.get(key) if isinstance(found, dict) else None


def _number(found: Any) -> float | None:
    try:
        return float(found) if isinstance(found, int | float) else None
    except OverflowError:
        return None


def _lasts(mark: Mark, duration: float | None) -> bool:
    """Whether a mark is as long as the recording."""
    return duration is not None and mark.start <= TOLERANCE and abs(mark.end - duration) <= TOLERANCE


def _marks(part: Any, namespace: str, problems: list[Problem]) -> Iterator[Placed]:
    """The observations of a JAMS annotation in a namespace that is read; others are ``problems``."""
    data = _get(part, "data")
    if namespace not in HERTZ and not namespace.startswith(LABELS):
        return
    if isinstance(data, dict) and all(isinstance(column, list) for column in data.values()):  # dense, as JAMS calls it
        data = [dict(zip(data, row, strict=False)) for row in zip(*data.values(), strict=False)]
    if not isinstance(data, list):
        problems.append(Problem("has no observations", f", {namespace}", "save it again in the program that wrote it"))
        return
    for index, observation in enumerate(data):
        time, duration, confidence = (_number(_get(observation, name)) for name in ("time", "duration", "confidence"))
        value = _get(observation, "value")
        midi = _number(value) if namespace in HERTZ else None
        midi = pitch.of_hz(midi) if midi is not None and HERTZ[namespace] else midi
        if time is None or duration is None or (midi is None if namespace in HERTZ else not isinstance(value, str)):
            problems.append(Problem("has no time, duration and value", f", {namespace}[{index}]", "correct or remove it"))
            continue
        sure = confidence if confidence is not None and 0 <= confidence <= 1 else None  # JAMS allows anything here
        text = "" if namespace in HERTZ else value
        yield Mark(time, time + duration, text, midi, sure), f", {namespace} at {time:g} s"
