"""Folders of isolated notes: the folder that a file lies in is its class, and its name may say its pitch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from etude.adapters.datasets._parts.pairing import files_in, groups
from etude.adapters.datasets._parts.splits import Item, named_splits, split
from etude.adapters.errors import Problem, UserError
from etude.adapters.formats._parts.pitch import of_name

PITCH = re.compile(r"(?<![A-Za-z0-9])(?:([A-Ga-g])(s|[#b♯♭])?(-?\d)|(?:midi|[mn])_?(\d{1,3}))(?![A-Za-z0-9#♯♭])")
"""``Bb2``, ``As3``, ``midi46``."""
MOSTLY = 0.8
"""Share of the names that must hold one such word for it to be a pitch: a microphone may be called A1 as well."""


def note_rows(
    folder: Path, label: Literal["technique", "instrument"], pattern: str | None = None
) -> tuple[list[dict[str, str]], list[Problem]]:
    """The notes below ``folder`` as rows of a table of notes, in splits: as folders called train, validation and test say, else
    so that the groups (what ``pattern`` finds in the paths, or outer folders), or where there are none the pitches, are in one
    split each."""
    try:
        audio, _ = files_in(folder)
        group = groups(folder, audio, pattern, skip=1)
    except UserError as error:
        return [], list(error.problems)
    problems = [Problem("lies in no folder that names its class", str(path)) for path in audio if path.parent == folder]
    if not audio:
        problems.append(Problem("holds no recording", str(folder), "a folder for each class, with its notes"))
    pitches = dict(zip(audio, _pitches(path.stem for path in audio), strict=True))
    below = [path.relative_to(folder) for path in audio]
    apart = group if any(group.values()) else pitches
    items = [Item(1.0, frozenset([path.parent.name]), apart[path]) for path in audio]
    splits = named_splits(below) or split(items)
    classes = {"technique": "", "instrument": ""}
    rows = [
        {
            **{"path": path.as_posix(), "source": folder.name, **classes, label: path.parent.name, "midi": pitches[file]},
            **{"split": own, "licence": "", "group": group[file]},
        }
        for path, file, own in zip(below, audio, splits, strict=True)
    ]
    return rows, problems


def _pitches(names: Iterable[str]) -> list[str]:
    """MIDI numbers as the names say them, empty where they do not; in none if only a few of them do."""
    found = [_pitch(name) for name in names]
    return found if sum(map(bool, found)) >= MOSTLY * len(found) else [""] * len(found)


def _pitch(name: str) -> str:
    said = list(PITCH.finditer(name))
    if len(said) != 1:
        return ""
    letter, accidental, octave, number = said[0].groups()
    midi = float(number) if number else of_name(f"{letter}{'#' if accidental == 's' else accidental or ''}{octave}")
    return f"{midi:g}" if midi is not None and 0 <= midi <= 127 else ""
