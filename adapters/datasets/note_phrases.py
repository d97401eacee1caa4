"""Labelled phrases laid out from isolated recorded notes: real timbre, exact labels, as much of it as wanted.

The notes are listed in a CSV with the columns ``path, source, instrument, technique, midi, split, licence`` (paths relative to
its folder; an empty ``midi`` is an unknown pitch). Technique, note, length, gap and gain are drawn independently, so that none
tells of another; a phrase of one split holds notes of that split only. Every note is first brought to the same peak: recording
sessions differ in level, and level must not give the technique away.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, model_validator

from etude.adapters.annotations import Note, read_table
from etude.adapters.audio import probe, read_window
from etude.adapters.cache import cached_folder
from etude.adapters.config import Location
from etude.adapters.datasets import SPLITS, Dataset, DatasetConfig, Split, Track
from etude.adapters.datasets.manifest import SPLIT_NAMES, Manifest, ManifestConfig
from etude.adapters.errors import Problem, UserError, nearest
from etude.adapters.phrases import Phrase, write_phrases

COLUMNS = ("path", "source", "instrument", "technique", "midi", "split", "licence")
FLOOR_DB = -34.0
"""A note sounds from the first to the last frame above this level, relative to its loudest frame."""
FRAME_SECONDS = 0.005
LEAD_SECONDS = 0.02
"""What is kept of the time before the onset, faded in."""
FADE_SECONDS = 0.015
VERSION = 1
"""Part of the cache key; raise it when composition or rendering changes."""


def _ascending(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"the lower bound {bounds[0]:g} is above the upper bound {bounds[1]:g}")
    return bounds


Bounds = Annotated[tuple[float, float], AfterValidator(_ascending)]
"""Drawn uniformly from [lower, upper]."""
Seconds = Annotated[float, Field(ge=0.0)]
Durations = Annotated[tuple[Seconds, Seconds], AfterValidator(_ascending)]


class NotePhrasesConfig(DatasetConfig):
    """Which notes, and how to lay them out."""

    notes: Location
    """The CSV."""
    sources: tuple[str, ...] | None = None
    instruments: tuple[str, ...] | None = None
    techniques: tuple[str, ...] | None = None
    """Class names in label order; the sorted names of the training split when omitted."""
    phrase_seconds: float = Field(8.0, ge=2.0, le=600.0)
    phrases: dict[Split, Annotated[int, Field(ge=1)]] = Field({"train": 120, "validation": 30, "test": 30})
    """Number of phrases by split."""
    note_seconds: Durations = (0.25, 1.2)
    """How long a note sounds before it is cut, unless it has decayed by then."""
    gap: Durations = (0.0, 0.4)
    """Seconds from the end of a note to the next onset."""
    overlap_probability: float = Field(0.2, ge=0.0, le=1.0)
    overlap: Durations = (0.02, 0.2)
    """Seconds by which a note begins before the end of the one before it, at most half of that one."""
    gain_db: Bounds = (-12.0, 0.0)
    seed: int = Field(0, ge=0)
    sample_rate: int = Field(24_000, ge=8_000, le=96_000)
    """Hz."""

    @model_validator(mode="after")
    def _notes_can_be_heard(self) -> NotePhrasesConfig:
        if self.note_seconds[0] < 0.05:
            raise ValueError("note_seconds: the lower bound must be at least 0.05 s")
        return self


@dataclass(frozen=True, slots=True)
class Source:
    """One recorded note: a row of the CSV."""

    path: Path
    split: Split
    technique: str
    pitch: float | None
    licence: str


@dataclass(frozen=True, slots=True)
class Recording:
    """Samples ``[samples]`` of peak 1, and the samples between which the note sounds."""

    samples: NDArray[np.float32]
    onset: int
    offset: int


class NotePhrases(Dataset):
    """Renders once into the cache, then reads the folder as the data set ``manifest``."""

    Config = NotePhrasesConfig
    config: NotePhrasesConfig

    def __init__(self, config: NotePhrasesConfig) -> None:
        super().__init__(config)
        self.licence = "unknown"
        self._found: tuple[str, ...] = config.techniques or ()

    @property
    def techniques(self) -> tuple[str, ...]:
        """Class names in label order."""
        if not self._found:
            self.check()
        return self._found

    def scan(self) -> tuple[list[Track], list[Problem]]:
        """Every phrase as a track; no phrase is rendered while a note has a problem."""
        sources, problems = self.sources()
        if problems:
            return [], problems
        config = self.config
        sizes = "".join(f"{source.path.name}{source.path.stat().st_size}" for source in sources)
        key = {
            **config.model_dump(mode="json", exclude={"name"}),
            "csv": hashlib.sha256(Path(config.notes).read_bytes()).hexdigest(),
            "sizes": hashlib.sha256(sizes.encode()).hexdigest(),
            "version": VERSION,
        }
        try:
            root = cached_folder(
                "note_phrases", key, lambda folder: write_phrases(folder, self._phrases(sources), config.sample_rate)
            )
        except UserError as error:
            return [], list(error.problems)
        made = Manifest(ManifestConfig(name="manifest", root=str(root), techniques=self._found))
        tracks, problems = made.check()
        self.licence = made.licence
        return tracks, problems

    def sources(self) -> tuple[list[Source], list[Problem]]:
        """The notes to draw from, and every problem with them."""
        table, config = Path(self.config.notes), self.config
        rows, problems = read_table(table, COLUMNS)
        filters = {"source": config.sources, "instrument": config.instruments, "technique": config.techniques}
        for column, wanted in filters.items():
            present = {row[column] for _, row in rows}
            for name in wanted or () if rows else ():
                if name not in present:
                    problems.append(Problem(f"no note of the {column} '{name}'", str(table), nearest(name, present)))
        sources: list[Source] = []
        for number, row in rows:
            if all(wanted is None or row[column] in wanted for column, wanted in filters.items()):
                try:
                    sources.append(_source(table.parent, row))
                except UserError as error:
                    problems += [Problem(p.what, f"{table}:{number}", p.fix) for p in error.problems]
        self._found = config.techniques or tuple(sorted({s.technique for s in sources if s.split == "train"}))
        if not problems:
            problems = [
                Problem(
                    f"the split '{split}' has no note of the technique '{technique}'", str(table), "widen the choice of notes"
                )
                for split in config.phrases
                for technique in self._found
                if not any(source.split == split and source.technique == technique for source in sources)
            ]
            if not self._found:
                problems.append(Problem("no note is left to train on", str(table), "widen the choice of notes"))
        return sources, problems

    def _phrases(self, sources: list[Source]) -> Iterator[Phrase]:
        for split in SPLITS:
            rng = default_rng((self.config.seed, SPLITS.index(split)))
            decks = [_dealt([s for s in sources if s.split == split and s.technique == name], rng) for name in self._found]
            for _ in range(self.config.phrases.get(split, 0)):
                yield self._phrase(split, decks, rng)

    def _phrase(self, split: Split, decks: list[Iterator[Source]], rng: Generator) -> Phrase:
        config, rate = self.config, self.config.sample_rate
        samples = np.zeros(round(config.phrase_seconds * rate), np.float32)
        notes: list[Note] = []
        licences: set[str] = set()
        time = LEAD_SECONDS + rng.uniform(*config.gap)
        while config.phrase_seconds - time > config.note_seconds[0]:
            source = next(decks[rng.integers(len(decks))])
            recording = load(source.path, rate)
            seconds = min(rng.uniform(*config.note_seconds), config.phrase_seconds - time)
            gain = 10 ** (rng.uniform(*config.gain_db) / 20)
            start = round(time * rate)
            length = min(round(seconds * rate), recording.offset - recording.onset, len(samples) - start)
            lead = min(round(LEAD_SECONDS * rate), recording.onset)
            cut = recording.samples[recording.onset - lead : recording.onset + length] * np.float32(gain)
            cut[:lead] *= np.linspace(0, 1, lead, endpoint=False, dtype=np.float32)
            fade = min(round(FADE_SECONDS * rate), length)
            cut[len(cut) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
            samples[start - lead : start + length] += cut
            notes.append(Note(start / rate, (start + length) / rate, source.pitch, source.technique))
            licences.add(source.licence)
            if rng.random() < config.overlap_probability:
                time = notes[-1].offset - min(rng.uniform(*config.overlap), length / rate / 2)
            else:
                time = notes[-1].offset + rng.uniform(*config.gap)
        return Phrase(split, samples, tuple(notes), " AND ".join(sorted(licences)))


def load(path: Path, sample_rate: int) -> Recording:
    """Read one note and find where it sounds. Raises :class:`UserError` for unreadable or silent audio."""
    info = probe(path)
    samples = read_window(path, 0, info.samples_at(sample_rate), sample_rate, info)
    peak = float(np.abs(samples).max())
    if peak == 0:
        raise UserError("is silent", where=str(path), fix="remove its row")
    hop = round(FRAME_SECONDS * sample_rate)
    frames = np.pad(samples, (0, -len(samples) % hop)).reshape(-1, hop).astype(np.float64)
    level = np.sqrt((frames**2).mean(axis=1))
    (sounding,) = np.nonzero(level > level.max() * 10 ** (FLOOR_DB / 20))
    return Recording(samples / np.float32(peak), int(sounding[0]) * hop, min(len(samples), int(sounding[-1] + 1) * hop))


def _dealt(notes: list[Source], rng: Generator) -> Iterator[Source]:
    """All notes in random order, then all in another, for ever: each is used as often as the others."""
    while True:
        for index in rng.permutation(len(notes)):
            yield notes[index]


def _source(folder: Path, row: dict[str, str]) -> Source:
    """Raises :class:`UserError` with every problem of the row."""
    problems: list[Problem] = []
    split = row["split"].lower()
    if split not in SPLIT_NAMES:
        problems.append(Problem(f"unknown split '{row['split']}'", fix=nearest(split, SPLITS)))
    if not row["technique"]:
        problems.append(Problem("names no technique", fix="fill it in, or remove the row"))
    pitch: float | None = None
    if row["midi"]:
        try:
            pitch = float(row["midi"])
        except ValueError:
            problems.append(Problem(f"midi is {row['midi']!r}, not a number", fix="a MIDI number, or nothing"))
        else:
            what = Note(0.0, 1.0, pitch).problem()
            problems += [Problem(what, fix="a MIDI number, or nothing")] if what else []
    if not os.path.isfile(folder / row["path"]):
        problems.append(Problem(f"no such audio file: {folder / row['path']}", fix="correct the path"))
    if problems:
        raise UserError(problems)
    return Source(folder / row["path"], SPLIT_NAMES[split], row["technique"], pitch, row["licence"] or "unknown")
