"""Recordings listed in a CSV with the columns ``audio, events, split`` and, if wanted, ``licence`` and ``weight``.

Paths are relative to the folder of the CSV; splits are train, validation (or ``val``, ``valid``) and test; a weight above 0
says how much a recording counts in the loss, 1 where there is none. Each ``events`` file is a CSV with the columns
``onset_time, offset_time, technique, pitch`` (seconds, MIDI numbers) and, if wanted, ``confidence`` (0 to 1).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import Field, model_validator

from etude.adapters.config import Location
from etude.adapters.datasets import SPLITS, Dataset, DatasetConfig, Split, Track
from etude.adapters.errors import Problem, UserError, nearest
from etude.adapters.formats import Reading, read_annotation
from etude.adapters.formats.csv import read_table
from etude.adapters.sound.audio import SUFFIXES, probe

SPLIT_NAMES: dict[str, Split] = {**{split: split for split in SPLITS}, "val": "validation", "valid": "validation"}


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """A recording, its event CSV and the split it belongs to; not yet opened."""

    id: str
    audio: Path
    events: Path
    split: Split
    weight: float = 1.0


class ManifestConfig(DatasetConfig):
    """Recordings of one's own."""

    root: Location
    """Folder of the CSV."""
    file: str = "manifest.csv"
    """Its name."""
    labels: dict[str, str] | None = Field(None, min_length=1)
    """Technique name in the event files -> class name; the names as they are when omitted."""
    techniques: tuple[str, ...] | None = Field(None, min_length=1)
    """Class names in label order. When omitted: as ``labels`` first names them, or the sorted names of the training split."""
    soft_labels: bool = False
    """Whether the confidence of an event is what is learned of it, in place of 1; for labels that a model has written."""
    licence: str = "unknown"
    """For rows without a licence of their own."""

    @model_validator(mode="after")
    def _labels_lead_to_techniques(self) -> ManifestConfig:
        for raw, technique in (self.labels or {}).items():
            if self.techniques is not None and technique not in self.techniques:
                raise ValueError(f"labels: '{raw}' leads to '{technique}', which is not among the techniques")
        return self


class ManifestDataset(Dataset):
    """Reads a manifest CSV."""

    Config = ManifestConfig
    config: ManifestConfig

    def __init__(self, config: ManifestConfig) -> None:
        super().__init__(config)
        self.licence = config.licence
        self._found: tuple[str, ...] = ()

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """The techniques in label order."""
        if self.config.techniques is not None:
            return {"notes": self.config.techniques}
        if self.config.labels is not None:
            return {"notes": tuple(dict.fromkeys(self.config.labels.values()))}
        self.check()
        return {"notes": self._found}

    def scan(self) -> tuple[list[Track], list[Problem]]:
        """Every usable track and every problem."""
        files, problems = self._files()
        labels = self.config.labels or (self.config.techniques and {name: name for name in self.config.techniques})
        if labels:
            tracks, found = read_tracks(files, labels)
        else:  # what the training split names is what there is to learn; another name elsewhere is a slip
            first = {file for file in files if file.split == "train"} or set(files)
            tracks, found = read_tracks(file for file in files if file in first)
            self._found = tuple(sorted({n.technique for t in tracks for n in t.annotation.notes if n.technique}))
            if tracks and not (found or self._found):
                found.append(Problem("no event names a technique", str(Path(self.config.root) / self.config.file)))
            known = None if found else {name: name for name in self._found}
            more_tracks, more_found = read_tracks((file for file in files if file not in first), known)
            tracks, found = tracks + more_tracks, found + more_found
        self.notices = [*unlisted(files), *doubled(tracks)]
        return [replace(track, soft=self.config.soft_labels) for track in tracks], problems + found

    def _files(self) -> tuple[list[LabelledFile], list[Problem]]:
        root = Path(self.config.root)
        table = root / self.config.file
        rows, problems = read_table(table, ("audio", "events", "split"))
        if not rows and not problems:
            problems.append(Problem("lists no recording", str(table), "add one row per recording"))
        files: list[LabelledFile] = []
        listed: dict[str, str] = {}
        licences = set()
        for number, row in rows:
            where = f"{table}:{number}"
            if row["split"].lower() not in SPLIT_NAMES:
                problems.append(Problem(f"unknown split '{row['split']}'", where, nearest(row["split"].lower(), SPLITS)))
            for name, kind in (("audio", "recording"), ("events", "event file")):
                if not row[name]:
                    problems.append(Problem(f"names no {kind}", where, f"fill in the column '{name}', or remove the row"))
            if not (row["audio"] and row["events"]):
                continue
            split = SPLIT_NAMES.get(row["split"].lower(), "train")  # read on, to find what else is wrong with it
            weight = _weight(row.get("weight") or "1")
            if weight is None:
                fix = "write one such as 0.5, or nothing"
                problems.append(Problem(f"weight is {row['weight']!r}, not a number above 0", where, fix))
            audio = root / row["audio"]
            if before := listed.get(os.path.abspath(audio)):
                problems.append(Problem(f"{row['audio']} is listed before ({before})", where, "keep one of the rows"))
                continue
            listed[os.path.abspath(audio)] = f"line {number}, split '{row['split']}'"
            files.append(LabelledFile(row["audio"], audio, root / row["events"], split, weight or 1.0))
            licences.add(row.get("licence") or self.config.licence)
        self.licence = " AND ".join(sorted(licences)) or self.config.licence
        return files, problems


def _weight(text: str) -> float | None:
    """The weight in a cell, if it is one."""
    try:
        weight = float(text)
    except ValueError:
        return None
    return weight if 0 < weight < math.inf else None


def read_tracks(
    files: Iterable[LabelledFile], labels: Mapping[str, str] | None = None, names: Mapping[str, str] | None = None
) -> tuple[list[Track], list[Problem]]:
    """Open audio headers and event files; ``labels`` and ``names`` are the labels and columns of a :class:`Reading`."""
    tracks: list[Track] = []
    problems: list[Problem] = []
    for file in files:
        info = None
        try:
            info = probe(file.audio)
        except UserError as error:
            problems.extend(error.problems)
        duration = info.duration if info else None
        read = read_annotation(file.events, Reading(labels=labels, columns=names or {}, duration=duration))
        problems.extend(read.problems)
        if info and not read.problems:
            tracks.append(Track(file.id, file.audio, info, file.split, read.annotation, file.weight))
    return tracks, problems


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
