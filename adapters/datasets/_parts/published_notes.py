"""Notes of published data sets, which nobody is asked to correct: what does not fit its recording is cut or left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from etude.adapters.annotations import Annotation, Row, kind_of
from etude.adapters.annotations.notes import Note
from etude.adapters.datasets import Split, Track
from etude.adapters.errors import Problem, UserError
from etude.adapters.formats import Entry
from etude.adapters.sound.audio import probe

ROUNDING = 1e-3
"""Seconds by which an event outlasts its recording without being counted: times are rounded."""


class PublishedNotes:
    """Makes tracks of recordings and the entries of their notes.

    ``labels`` maps raw names of techniques to classes, and knows all of them. What hinders is in ``problems``.
    """

    def __init__(self, labels: Mapping[str, str]) -> None:
        self.labels = labels
        self.tracks: list[Track] = []
        self.problems: list[Problem] = []
        self._cut: Counter[Path] = Counter()
        self._left_out: Counter[Path] = Counter()

    def add(self, id: str, audio: Path, split: Split, entries: Iterable[Entry], group: str = "") -> None:
        """Add a recording, unless it or one of its ``entries``, whose places name their file, is faulty."""
        try:
            info = probe(audio)
        except UserError as error:
            self.problems += error.problems
            return
        notes: list[Note] = []
        faults = len(self.problems)
        for entry in entries:
            try:
                notes += self._fitting(audio, entry.cells, info.duration)
            except UserError as error:
                self.problems += [Problem(problem.what, entry.place, problem.fix) for problem in error.problems]
        if len(self.problems) == faults:
            self.tracks.append(Track(id, audio, info, split, Annotation(notes=notes), group=group))

    def notices(self) -> list[Problem]:
        """How many events were cut, and how many left out."""
        told = (
            (self._left_out, "last no time or begin after the end, and are left out"),
            (self._cut, "outlast it, and are cut"),
        )
        return [
            Problem(f"{counts.total()} events in {len(counts)} recordings {what}", f"first {next(iter(counts))}")
            for counts, what in told
            if counts
        ]

    def _fitting(self, audio: Path, cells: Mapping[str, str], duration: float) -> list[Note]:
        row = Row(cells)
        onset, offset = max(row.number("onset_time"), 0.0), row.number("offset_time")  # in this order, NaN stays NaN
        if offset <= onset or onset >= duration:
            self._left_out[audio] += 1
            return []
        if offset > duration + ROUNDING:
            self._cut[audio] += 1
        fitting = {**cells, "onset_time": repr(onset), "offset_time": repr(min(offset, duration))}
        return [kind_of("notes").parse(Row(fitting, labels=self.labels))]
