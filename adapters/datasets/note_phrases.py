"""Labelled phrases laid out from isolated recorded notes: real timbre, exact labels, as much of it as wanted.

The notes are listed in a CSV with the columns ``path, source, instrument, technique, midi, split, licence`` (paths relative to
its folder; an empty ``midi`` is an unknown pitch). Technique, note, length, gap and gain are drawn independently, so that none
tells of another. A phrase of one split holds notes of that split only; where notes have groups (sessions, players), it holds
those of one group, which is its own. Every note is first brought to the same peak: recording sessions differ in level, and
level must not give the technique away.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.random import Generator, default_rng
from pydantic import AfterValidator, Field, model_validator

from etude.adapters.annotations.notes import Note
from etude.adapters.config import Location
from etude.adapters.datasets import SPLITS, Dataset, DatasetConfig, Split, Track
from etude.adapters.datasets._parts.phrases import Phrase, write_phrases
from etude.adapters.datasets._parts.recorded_notes import RecordedNote, parse_rows, select_rows
from etude.adapters.datasets.manifest import ManifestConfig, ManifestDataset
from etude.adapters.errors import Problem, UserError
from etude.adapters.sound.spans import sound
from etude.adapters.storage.cache import cached_folder

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
    """The CSV, or a folder with a folder for each technique in it, as in the data set ``notes``."""
    sources: tuple[str, ...] | None = None
    """Those whose notes are used; all of them when omitted."""
    instruments: tuple[str, ...] | None = None
    """The same for instruments."""
    techniques: tuple[str, ...] | None = None
    """Class names in label order; the sorted names of the training split when omitted."""
    group: str | None = None
    """As in the data set ``notes``; each group has a share of the phrases as large as that of its notes."""
    phrase_seconds: float = Field(8.0, ge=2.0, le=600.0)
    phrases: dict[Split, Annotated[int, Field(ge=1)]] = Field({"train": 120, "validation": 30, "test": 30})
    """Number of phrases by split."""
    note_seconds: Durations = (0.25, 1.2)
    """How long a note sounds before it is cut, unless it has decayed by then."""
    gap: Durations = (0.0, 0.4)
    """Seconds from the end of a note to the next onset."""
    overlap_probability: float = Field(0.2, ge=0.0, le=1.0)
    """Of a note to begin before the one before it has ended."""
    overlap: Durations = (0.02, 0.2)
    """Seconds by which a note begins before the end of the one before it, at most half of that one."""
    gain_db: Bounds = (-12.0, 0.0)
    """Lowest and highest level of a note."""
    seed: int = Field(0, ge=0)
    """Of all phrases."""
    sample_rate: int = Field(24_000, ge=8_000, le=96_000)
    """Hz."""

    def content(self) -> dict[str, Any]:
        """See :class:`DatasetConfig`; without ``group`` as before there was one, so that phrases made then are found."""
        return {name: value for name, value in super().content().items() if name != "group" or value is not None}

    @model_validator(mode="after")
    def _notes_can_be_heard(self) -> NotePhrasesConfig:
        if self.note_seconds[0] < 0.05:
            raise ValueError("note_seconds: the lower bound must be at least 0.05 s")
        return self


class NotePhrases(Dataset):
    """Renders once into the cache, then reads the folder as the data set ``manifest``."""

    Config = NotePhrasesConfig
    config: NotePhrasesConfig

    def __init__(self, config: NotePhrasesConfig) -> None:
        super().__init__(config)
        self.licence = "unknown"
        self._found: tuple[str, ...] = config.techniques or ()

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """The techniques in label order."""
        if not self._found:
            self.check()
        return {"notes": self._found}

    def scan(self) -> tuple[list[Track], list[Problem]]:
        """Every phrase as a track; no phrase is rendered while a note has a problem."""
        sources, problems = self.sources()
        if problems:
            return [], problems
        config = self.config
        table = Path(config.notes)
        listing = table.read_bytes() if table.is_file() else repr(sources).encode()
        sizes = "".join(f"{source.path.name}{source.path.stat().st_size}" for source in sources)
        key = {
            **config.content(),
            **({"phrases of": "one group each"} if any(source.group for source in sources) else {}),
            "csv": hashlib.sha256(listing).hexdigest(),
            "sizes": hashlib.sha256(sizes.encode()).hexdigest(),
            "version": VERSION,
        }
        try:
            root = cached_folder(
                "note_phrases", key, lambda folder: write_phrases(folder, self._phrases(sources), config.sample_rate)
            )
        except UserError as error:
            return [], list(error.problems)
        made = ManifestDataset(ManifestConfig(name="manifest", root=str(root), techniques=self._found))
        tracks, problems = made.check()
        self.licence = made.licence
        return tracks, problems

    def sources(self) -> tuple[list[RecordedNote], list[Problem]]:
        """The notes to draw from, and every problem with them."""
        table, config = Path(self.config.notes), self.config
        filters = {"source": config.sources, "instrument": config.instruments, "technique": config.techniques}
        rows, problems = select_rows(table, filters, group=config.group)
        sources, wrong = parse_rows(table, rows)
        problems += wrong
        self._found = config.techniques or tuple(sorted({s.technique for s in sources if s.split == "train"}))
        if not problems:
            problems = [
                Problem(f"no note of the technique '{technique}' in the split '{split}'", str(table), "widen the choice")
                for split in config.phrases
                for technique in self._found
                if not any(source.split == split and source.technique == technique for source in sources)
            ]
            if not self._found:
                problems.append(Problem("no note is left to train on", str(table), "widen the choice"))
        return sources, problems

    def _phrases(self, sources: list[RecordedNote]) -> Iterator[Phrase]:
        for split in SPLITS:
            rng = default_rng((self.config.seed, SPLITS.index(split)))
            counts = Counter(source.group for source in sources if source.split == split)
            made = Counter[str]()
            decks = {group: self._decks(sources, split, group, rng) for group in sorted(counts)}
            for number in range(self.config.phrases.get(split, 0)):
                # the group that is furthest behind its share of the phrases, which is that of its notes
                group = max(decks, key=lambda one: (not made[one], (number + 1) * counts[one] / counts.total() - made[one]))
                made[group] += 1
                yield replace(self._phrase(split, decks[group], rng), group=group)

    def _decks(self, sources: list[RecordedNote], split: Split, group: str, rng: Generator) -> list[Iterator[RecordedNote]]:
        """The notes of each technique that the group has in the split, each as if shuffled again and again."""
        own = [source for source in sources if source.split == split and source.group == group]
        found = [[source for source in own if source.technique == name] for name in self._found]
        return [_dealt(notes, rng) for notes in found if notes]

    def _phrase(self, split: Split, decks: list[Iterator[RecordedNote]], rng: Generator) -> Phrase:
        config, rate = self.config, self.config.sample_rate
        samples = np.zeros(round(config.phrase_seconds * rate), np.float32)
        notes: list[Note] = []
        licences: set[str] = set()
        time = LEAD_SECONDS + rng.uniform(*config.gap)
        while config.phrase_seconds - time > config.note_seconds[0]:
            source = next(decks[rng.integers(len(decks))])
            recording = sound(source.path, rate)
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


def _dealt(notes: list[RecordedNote], rng: Generator) -> Iterator[RecordedNote]:
    """All notes in random order, then all in another, for ever: each is used as often as the others."""
    while True:
        for index in rng.permutation(len(notes)):
            yield notes[index]
