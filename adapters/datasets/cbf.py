"""CBFdataset: 2.6 h of Chinese bamboo flute, pieces and single techniques by ten players, with 7 playing techniques.

Wang, Benetos, Lostanlen & Chew, "Adaptive Scattering Transforms for Playing Technique Recognition", IEEE/ACM TASLP 2022.
Expected, as released: ``PlayerN/Piece/X.wav`` with ``X_tech_T.csv`` for every technique T that was annotated in it, and
``PlayerN/Iso/Iso_T.wav`` with ``Iso_T.csv``; in ``root``, or in a folder ``CBFdataset`` in it. The tables have no header. As
the authors read them, the first cell of a line is a time in seconds, and the times begin and end an event by turns; two times
that follow each other in every line are one event per line. There is no pitch: heads need ``pitch: false``. A technique
without a table does not occur in a piece.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain, pairwise
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from etude.adapters.config import Location
from etude.adapters.datasets import SPLITS, Dataset, DatasetConfig, Split, Track
from etude.adapters.datasets._parts.published_notes import PublishedNotes
from etude.adapters.errors import Problem, UserError
from etude.adapters.formats import Entry

TECHNIQUES = {
    "Vibrato": "vibrato",
    "Tremolo": "tremolo",
    "Trill": "trill",
    "FT": "flutter_tongue",
    "Acciacatura": "acciaccatura",
    "Acciaccatura": "acciaccatura",
    "Portamento": "portamento",
    "Glissando": "glissando",
}
"""Name in the release -> class."""
PLAYERS: dict[Split, tuple[int, ...]] = {"train": (1, 2, 3, 6, 7, 8), "validation": (4, 9), "test": (5, 10)}
SOURCE = "get CBFdataset.zip from zenodo.org/records/5744336 and unpack it"


class CbfConfig(DatasetConfig):
    """CBFdataset on disk."""

    root: Location
    """The folder that holds what is expected."""
    players: dict[Split, tuple[int, ...]] = Field(PLAYERS, min_length=1)
    """Split -> the numbers of its players; those of nobody are left out. The default tests on 2 of 10, as the authors do, who
    draw them at random; no split is published."""

    @model_validator(mode="after")
    def _players_are_apart(self) -> Self:
        for number, count in Counter(chain(*self.players.values())).items():
            if count > 1:
                raise ValueError(f"player {number} is named {count} times; name each in one split")
        return self


class Cbf(Dataset):
    """Reads the layout of the release."""

    Config = CbfConfig
    config: CbfConfig
    licence = "CC-BY-4.0"

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """The 7 techniques: modulations, then evolutions of pitch."""
        return {"notes": tuple(dict.fromkeys(TECHNIQUES.values()))}

    def scan(self) -> tuple[list[Track], list[Problem]]:
        """Every usable recording of the players that a split names, and every problem."""
        root = Path(self.config.root)
        root = root / "CBFdataset" if (root / "CBFdataset").is_dir() else root
        if not any(root.glob("Player*")):
            return [], [Problem("holds no folder Player1, Player2, ...", str(root), SOURCE)]
        notes = PublishedNotes({name: name for name in TECHNIQUES.values()})
        for split in SPLITS:
            for number in self.config.players.get(split, ()):
                player = root / f"Player{number}"
                recordings = sorted(path for path in player.rglob("*.[wW][aA][vV]") if not path.name.startswith("."))
                if not recordings:
                    notes.problems.append(Problem("no .wav file in it", str(player), SOURCE))
                for audio in recordings:
                    self._add(notes, root, audio, split)
        self.notices += notes.notices()
        return notes.tracks, notes.problems

    def _add(self, notes: PublishedNotes, root: Path, audio: Path, split: Split) -> None:
        tables = [(table, TECHNIQUES.get(table.stem.rpartition("_")[2])) for table in _tables(audio)]
        known = [(table, technique) for table, technique in tables if technique]
        for table, technique in tables:
            if not technique:
                fix = f"techniques are {', '.join(TECHNIQUES)}"
                self.notices.append(Problem("is of a technique that is not known and is left out", str(table), fix))
        if not tables:
            self.notices.append(Problem("has no table of events beside it and is left out", str(audio)))
        if not known:
            return
        id = audio.relative_to(root).with_suffix("").as_posix()
        entries = chain(*(_entries(table, technique, notes.problems) for table, technique in known))
        notes.add(id, audio, split, entries, group=id.split("/")[0])


def _tables(audio: Path) -> list[Path]:
    """The tables of a recording."""
    beside = sorted(path for path in audio.parent.iterdir() if path.suffix.lower() == ".csv")
    return [path for path in beside if re.fullmatch(re.escape(audio.stem) + r"(_tech_.*)?", path.stem)]


def _entries(table: Path, technique: str, problems: list[Problem]) -> Iterator[Entry]:
    """The events of a table, each with the line on which it begins."""
    try:
        rows = _rows(table)
    except UserError as error:
        problems += error.problems
        return
    if all(second and second > first for _, first, second in rows) and all(
        this[2] is not None and this[2] <= following[1] for this, following in pairwise(rows)
    ):
        spans = [(line, begin, end) for line, begin, end in rows]
    elif len(rows) % 2:
        what = f"holds {len(rows)} times, of which the last begins an event without an end"
        problems.append(Problem(what, str(table), "add the missing time, or remove the line"))
        return
    else:
        spans = [(line, begin, end) for (line, begin, _), (_, end, _) in zip(rows[::2], rows[1::2], strict=True)]
    for line, begin, end in spans:
        yield Entry({"onset_time": repr(begin), "offset_time": repr(end), "technique": technique}, f"{table}:{line}")


def _rows(table: Path) -> list[tuple[int, float, float | None]]:
    """Line, time, and the second cell if it is a number. Raises :class:`UserError` with all that is no time."""
    try:
        lines = table.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text file"
        raise UserError(f"cannot be read: {reason}", where=str(table), fix=SOURCE) from None
    rows: list[tuple[int, float, float | None]] = []
    problems = []
    for number, line in enumerate(lines, 1):
        cells = [cell.strip() for cell in re.split(r"[,;\t]", line)]
        if not any(cells):
            continue
        if (time := _number(cells[0])) is None:
            problems.append(Problem(f"{cells[0]!r} is not a time in seconds", f"{table}:{number}", "correct it"))
        else:
            rows.append((number, time, _number(cells[1]) if len(cells) > 1 else None))
    if problems:
        raise UserError(problems)
    return rows


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
