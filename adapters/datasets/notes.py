"""Isolated recorded notes, one per file, tagged with their instrument or their technique.

They are listed in a CSV with the columns ``path, source, instrument, technique, midi, split, licence``, and ``group`` if wanted
(paths relative to its folder; ``midi`` may be empty, and so may instrument or technique, whichever is not the label), or they
lie in a folder for each class. Each file becomes a recording with one note, which lasts as long as it sounds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from etude.adapters.annotations import Annotation
from etude.adapters.annotations.notes import Note
from etude.adapters.annotations.tags import Tag
from etude.adapters.config import Location
from etude.adapters.datasets import Dataset, DatasetConfig, Split, Track
from etude.adapters.datasets._parts.recorded_notes import parse_rows, place, select_rows
from etude.adapters.datasets._parts.splits import SPLIT_NAMES
from etude.adapters.errors import Problem, nearest
from etude.adapters.sound.spans import note_spans

FEWEST = 2
"""Training notes that a class needs: what is heard once cannot be told from the one recording."""


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"'{twice[0]}' is named twice; name each once")
    return names


class NotesConfig(DatasetConfig):
    """Which notes, and what they are told apart by."""

    notes: Location
    """The CSV, or a folder with a folder for each class in it: pitches are then those in the names of the files (``Bb2``), and
    splits are drawn so that the notes of one outer folder, or else of one pitch, are in one."""
    label: Literal["instrument", "technique"] = "instrument"
    """The column that holds the classes, or what the folders are."""
    classes: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_each_once)] | None = None
    """Class names in label order; the sorted names that occur when omitted."""
    sources: tuple[str, ...] | None = None
    """Those whose notes are used; all of them when omitted."""
    instruments: tuple[str, ...] | None = None
    """The same for instruments."""
    techniques: tuple[str, ...] | None = None
    """The same for techniques."""
    group: str | None = None
    """The column of the CSV that holds session or player, filled in for all notes or for none; ``group`` when omitted, if there
    is one. Of a folder: regular expression that finds it in the path of a file; notes of one group are then in one split."""
    split: Split | None = None
    """The one that all notes are in, whatever the table says, if they are not to be divided."""
    splits: tuple[Split, ...] | None = None
    """Splits to read; all of them when omitted."""


class Notes(Dataset):
    """Reads the CSV; files are decoded once, to find where their notes sound."""

    Config = NotesConfig
    config: NotesConfig

    def __init__(self, config: NotesConfig) -> None:
        super().__init__(config)
        self.licence = "unknown"
        self._classes: tuple[str, ...] = config.classes or ()
        self._techniques: tuple[str, ...] = ()

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """The tags in label order; of the notes they are the same, unless those are instruments: then the techniques that
        occur, sorted."""
        self.check()
        return {"tags": self._classes, "notes": self._classes if self.config.label == "technique" else self._techniques}

    def scan(self) -> tuple[list[Track], list[Problem]]:
        """Every note as a track."""
        table, config = Path(self.config.notes), self.config
        filters = {"source": config.sources, "instrument": config.instruments, "technique": config.techniques}
        rows, problems = select_rows(table, filters, config.label, config.group)
        if config.split:
            rows = [(number, {**row, "split": config.split}) for number, row in rows]
        read = [item for item in rows if config.splits is None or SPLIT_NAMES.get(item[1]["split"].lower()) in config.splits]
        if not (read or problems):
            problems.append(Problem("no note is left to read", str(table), "widen the choice"))
        problems += self._class_problems(table, read) if read else []
        self._techniques = tuple(sorted({row["technique"] for _, row in read} - {""}))
        notes, wrong = parse_rows(table, read, config.label)
        spans, unreadable = note_spans([note.path for note in notes])
        self.licence = " AND ".join(sorted({note.licence for note in notes})) or "unknown"
        tracks = []
        for note, span in zip(notes, spans, strict=not unreadable):
            label = note.instrument if config.label == "instrument" else note.technique
            event = Note(span.onset, span.offset, note.pitch, note.technique or None, note.instrument or None)
            name = note.path.relative_to(place(table)).as_posix()
            annotation = Annotation(notes=[event], tags=[Tag(label)])
            tracks.append(Track(name, note.path, span.info, note.split, annotation, group=note.group))
        return tracks, problems + wrong + unreadable

    def listing(self) -> list[dict[str, str]]:
        """Rows of a table of notes that says the same."""
        return [row for _, row in select_rows(Path(self.config.notes), {}, self.config.label, self.config.group)[0]]

    def _class_problems(self, table: Path, rows: list[tuple[int, dict[str, str]]]) -> list[Problem]:
        """Labels that are no class, and classes with too few notes to learn or to judge; none at all are worth a notice."""
        label, config = self.config.label, self.config
        first = {row[label]: number for number, row in reversed(rows) if row[label]}
        self._classes = config.classes or tuple(sorted(first))
        problems = [
            Problem(f"the {label} '{name}' is not among the classes", f"{table}:{number}", nearest(name, self._classes))
            for name, number in sorted(first.items(), key=lambda item: item[1])
            if name not in self._classes
        ]
        counts = Counter((row[label], SPLIT_NAMES.get(row["split"].lower())) for _, row in rows)
        fix = f"add some, or choose the {label}s without it (its field {label}s)"
        for name in self._classes:
            if name not in first:
                self.notices.append(Problem(f"no note has the {label} '{name}'", str(table), "check its spelling"))
                continue
            own = counts[name, "train"]
            if own < FEWEST and self._reads("train"):
                what = f"the {label} '{name}' has {own or 'no'} training note{'' if own == 1 else 's'}, {FEWEST} are needed"
                problems.append(Problem(what, str(table), fix))
            if not counts[name, "validation"] and self._reads("validation"):
                problems.append(Problem(f"the {label} '{name}' has no validation note", str(table), fix))
        return problems

    def _reads(self, split: Split) -> bool:
        return self.config.split in (None, split) and (self.config.splits is None or split in self.config.splits)
