"""Recordings with an annotation file each, or with tags: what data sets of one's own and published ones read the same way."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from etude.adapters.annotations import Annotation, kind_of
from etude.adapters.annotations._parts.alike import alike
from etude.adapters.annotations.notes import UNNAMED
from etude.adapters.annotations.tags import Tag
from etude.adapters.datasets import Dataset, DatasetConfig, Split, Track
from etude.adapters.errors import Problem, UserError, nearest
from etude.adapters.formats import Read, Reading, read_annotation
from etude.adapters.formats._parts.text import listed
from etude.adapters.sound.audio import SUFFIXES, probe


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """A recording, its annotation file if it has one, its tags if they are known, and the split it belongs to; not yet opened.

    ``place`` is where the tags are written."""

    id: str
    audio: Path
    events: Path | None
    split: Split
    weight: float = 1.0
    tags: tuple[str, ...] | None = None
    group: str = ""
    place: str = ""


@dataclass
class Found:
    """What was read, and every problem and notice, each with its place."""

    tracks: list[Track] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notices: list[Problem] = field(default_factory=list)

    def add(self, other: Found) -> None:
        """Append what ``other`` has."""
        self.tracks += other.tracks
        self.problems += other.problems
        self.notices += other.notices


class LabelledConfig(DatasetConfig):
    """How the annotation files are read, and what is learned of them."""

    columns: dict[str, str] = Field({})
    """Column (``onset_time, offset_time, technique, pitch, ...``) -> what the header of the annotation files calls it."""
    tiers: dict[str, str] = Field({})
    """Column -> the name of the tier that holds it, in ELAN and Praat files."""
    label: Literal["technique", "instrument", "none"] | None = None
    """What events are told apart by; with ``none`` they are all notes. When omitted: techniques if any event of the training
    split names one, else instruments."""
    labels: dict[str, str] | None = Field(None, min_length=1)
    """Name in the annotation files -> class name; the names as they are when omitted."""
    techniques: tuple[str, ...] | None = Field(None, min_length=1)
    """Class names in label order. When omitted: as ``labels`` first names them, or the sorted names of the training split."""
    tags: tuple[str, ...] | None = Field(None, min_length=1)
    """Names of the tags in label order; the sorted ones of the training split when omitted."""
    soft_labels: bool = False
    """Whether the confidence of an event is what is learned of it, in place of 1; for labels that a model has written."""
    licence: str = "unknown"
    """For recordings without a licence of their own."""

    @model_validator(mode="after")
    def _labels_lead_to_techniques(self) -> LabelledConfig:
        for raw, technique in (self.labels or {}).items():
            if self.techniques is not None and technique not in self.techniques:
                raise ValueError(f"labels: '{raw}' leads to '{technique}', which is not among the techniques")
        return self


class LabelledFiles(Dataset):
    """Reads what :meth:`files` lists. A subclass implements that, and may say with :meth:`assigned` how splits are made."""

    config: LabelledConfig

    def __init__(self, config: LabelledConfig) -> None:
        super().__init__(config)
        self.licence = config.licence
        self._classes: dict[str, tuple[str, ...]] = {}

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """What the events are told apart by, and the tags, in label order."""
        self.check()
        return self._classes

    @abstractmethod
    def files(self) -> tuple[list[LabelledFile], list[Problem]]:
        """What is to be read, and every problem with that."""

    def assigned(self, tracks: Sequence[Track]) -> list[Track]:
        """The tracks in the splits they belong to."""
        return list(tracks)

    def scan(self) -> tuple[list[Track], list[Problem]]:
        """Every usable track and every problem."""
        files, problems = self.files()
        config = self.config
        named = config.labels or ({name: name for name in config.techniques} if config.techniques else None)
        # What the training split names is what there is to learn; another name elsewhere is a slip.
        first = [file for file in files if file.split == "train"] or files
        rest = [file for file in files if file.split != "train"] if first is not files else []
        found = self._read(first, named if config.label in (None, "technique") else None)
        label = config.label or ("technique" if found.problems else _told_by(found.tracks, named))
        if label != "technique":
            found.tracks = [_relabelled(track, label, named or {}) for track in found.tracks]
        names = config.techniques or tuple(dict.fromkeys(named.values())) if named else _names(found.tracks, "notes")
        tags = config.tags or _names(found.tracks, "tags")
        if label == "technique":
            # while the training split has problems, its names are not all known
            found.add(self._read(rest, named or (None if found.problems else {name: name for name in names})))
        else:
            others = self._read(rest, None)
            others.tracks = [_relabelled(track, label, named or {}) for track in others.tracks]
            found.add(others)
            found.problems += _unknown(found.tracks, names, label)
        if label == "none" and names and not config.label:
            what = f"no event names a technique or an instrument; all are learned as '{UNNAMED}'"
            found.notices.append(Problem(what, f"data set '{config.name}'"))
        found.problems += _unknown_tags(files, tags)
        for words in (*alike(names), *alike(tags)):
            what = f"{listed(words)} differ only in case, spaces or Unicode form"
            fix = "write one of them everywhere, or map them in data.labels"
            found.problems.append(Problem(what, f"data set '{config.name}'", fix))
        annotated = {kind for track in found.tracks for kind in track.annotation}
        self._classes = {kind: given for kind, given in (("notes", names), ("tags", tags)) if given and kind in annotated}
        if found.tracks and not (self._classes or found.problems or problems):
            found.problems.append(Problem("no recording has an event or a tag", f"data set '{config.name}'", "annotate some"))
        self.notices += [*counted(found.notices), *doubled(found.tracks)]
        return self.assigned([replace(track, soft=config.soft_labels) for track in found.tracks]), problems + found.problems

    def _read(self, files: Iterable[LabelledFile], labels: Mapping[str, str] | None) -> Found:
        return read_tracks(files, Reading(labels=labels, columns=self.config.columns, tiers=self.config.tiers))


def read_tracks(files: Iterable[LabelledFile], how: Reading) -> Found:
    """Open audio headers and annotation files."""
    found = Found()
    for file in files:
        info = None
        try:
            info = probe(file.audio)
        except UserError as error:
            found.problems.extend(error.problems)
        read = Read()
        if file.events is not None:
            read = read_annotation(file.events, replace(how, duration=info.duration if info else None))
            found.problems += read.problems
            found.notices += read.notices
        if info and not read.problems:
            own = {} if file.tags is None else {"tags": map(Tag, file.tags)}
            annotation = Annotation(read.annotation, **own)
            found.tracks.append(Track(file.id, file.audio, info, file.split, annotation, file.weight, group=file.group))
    return found


def _told_by(tracks: Sequence[Track], names: Iterable[str] | None) -> Literal["technique", "instrument", "none"]:
    """What tells events apart; ``names``, if given, are those that have classes."""
    notes = [note for track in tracks for note in track.annotation.notes]
    instruments = {note.instrument for note in notes if note.instrument}
    if any(note.technique for note in notes) or not (names is None or (instruments or {UNNAMED}) <= set(names)):
        return "technique"
    return "instrument" if instruments else "none"


def _relabelled(track: Track, label: str, names: Mapping[str, str]) -> Track:
    """The track with instruments, or ``UNNAMED``, in the place of techniques; ``names`` lead from what is read to classes."""
    if "notes" not in track.annotation:
        return track
    layer = track.annotation.notes
    found = [(note, note.instrument if label == "instrument" else UNNAMED) for note in layer]
    notes = tuple(replace(note, technique=name and names.get(name, name)) for note, name in found)
    return replace(track, annotation=Annotation(track.annotation, notes=replace(layer, records=notes)))


def _names(tracks: Iterable[Track], kind: str) -> tuple[str, ...]:
    """The classes that occur, sorted."""
    layers = [track.annotation[kind] for track in tracks if kind in track.annotation]
    return tuple(sorted({name for layer in layers for name in kind_of(kind).classes(layer)}))


def _unknown(tracks: Iterable[Track], names: Sequence[str], label: str) -> list[Problem]:
    found = {note.technique: track.audio for track in tracks for note in track.annotation.notes if note.technique}
    strange = {name: audio for name, audio in found.items() if name not in names}
    return [Problem(f"unknown {label} {name!r}", str(audio), nearest(name, names)) for name, audio in strange.items()]


def _unknown_tags(files: Iterable[LabelledFile], names: Sequence[str]) -> list[Problem]:
    found = [(tag, file.place) for file in files for tag in file.tags or () if tag not in names]
    return [Problem(f"unknown tag {tag!r}", place, nearest(tag, names)) for tag, place in found]


def counted(notices: Iterable[Problem]) -> list[Problem]:
    """One of each notice, with the number of the other places that it holds for."""
    first: dict[tuple[str, str], Problem] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for notice in notices:
        first.setdefault((notice.what, notice.fix), notice)
        counts[notice.what, notice.fix] += 1
    more = {key: f" and {counts[key] - 1} more" if counts[key] > 1 else "" for key in first}
    return [Problem(notice.what, notice.where + more[key], notice.fix) for key, notice in first.items()]


def unlisted(files: Iterable[LabelledFile]) -> list[Problem]:
    """Audio files beside the listed ones that nothing names."""
    listed = {Path(os.path.abspath(file.audio)) for file in files}
    found = [
        path
        for folder in sorted({audio.parent for audio in listed})
        if os.path.isdir(folder)
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in SUFFIXES and path not in listed
    ]
    return [Problem("is not listed", str(path), "add it, or ignore this") for path in found]


def doubled(tracks: Iterable[Track]) -> list[Problem]:
    """Recordings in which two events of one technique and pitch overlap: one of them is likely a slip."""
    notices = []
    for track in tracks:
        ends: dict[tuple[str | None, float | None], float] = {}
        overlaps = []
        for note in track.annotation.notes:
            key = note.technique, note.pitch
            if note.onset < ends.get(key, 0.0):
                overlaps.append(note.onset)
            ends[key] = max(note.offset, ends.get(key, 0.0))
        if overlaps:
            what = f"events that overlap one of the same technique and pitch: {len(overlaps)}, first at {overlaps[0]:g} s"
            notices.append(Problem(what, str(track.audio), "check their times"))
    return notices
