"""Recordings listed in a CSV: ``audio, split``, ``events`` or ``tags`` or both, and if wanted ``group, licence, weight``.

Paths are relative to the folder of the CSV; splits are train, validation (or ``val``, ``valid``) and test. ``events`` names an
annotation file in any format that can be read; ``tags`` are words separated by ``;`` that hold for the whole recording, ``-``
if none does, and empty if nobody said. ``group`` is what recordings have in common that the next one will not (session, player,
instrument); all rows have one, or none has. A weight above 0 says how much a recording counts in the loss, 1 if there is none.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from etude.adapters.config import Location
from etude.adapters.datasets import SPLITS
from etude.adapters.datasets._parts.groups import gaps
from etude.adapters.datasets._parts.labelled import LabelledConfig, LabelledFile, LabelledFiles, unlisted
from etude.adapters.datasets._parts.splits import SPLIT_NAMES
from etude.adapters.errors import Problem, nearest
from etude.adapters.formats.csv import read_table

LABELS = {"events": "event file", "tags": "tag"}
"""Column -> what it holds."""
NO_TAGS, TAG_SEPARATOR = "-", ";"
"""In the column ``tags``: none of them holds, and what stands between them."""


class ManifestConfig(LabelledConfig):
    """Recordings of one's own."""

    root: Location
    """Folder of the CSV."""
    file: str = "manifest.csv"
    """Its name."""


class ManifestDataset(LabelledFiles):
    """Reads a manifest CSV."""

    Config = ManifestConfig
    config: ManifestConfig

    def files(self) -> tuple[list[LabelledFile], list[Problem]]:
        """See :class:`LabelledFiles`."""
        root = Path(self.config.root)
        table = root / self.config.file
        rows, problems = read_table(table, ("audio", "split"))
        if not rows and not problems:
            problems.append(Problem("lists no recording", str(table), "add one row per recording"))
        given = [name for name in ("events", "tags") if rows and name in rows[0][1]]
        if rows and not given:
            problems.append(Problem("lacks the column 'events'", f"{table}:1", nearest("events", rows[0][1])))
        problems += gaps(table, [(number, row.get("group", "")) for number, row in rows])
        files: list[LabelledFile] = []
        listed: dict[str, str] = {}
        licences = set()
        for number, row in rows if given else ():
            where = f"{table}:{number}"
            if row["split"].lower() not in SPLIT_NAMES:
                problems.append(Problem(f"unknown split '{row['split']}'", where, nearest(row["split"].lower(), SPLITS)))
            labels = [name for name in given if row[name]]
            for filled, what, column in ((row["audio"], "recording", "audio"), (labels, LABELS[given[0]], given[0])):
                if not filled:
                    problems.append(Problem(f"names no {what}", where, f"fill in the column '{column}', or remove the row"))
            if not (row["audio"] and labels):
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
            events = root / row["events"] if row.get("events") else None
            tags, group = _tags(row.get("tags", "")), row.get("group", "")
            files.append(LabelledFile(row["audio"], audio, events, split, weight or 1.0, tags, group, where))
            licences.add(row.get("licence") or self.config.licence)
        self.licence = " AND ".join(sorted(licences)) or self.config.licence
        self.notices += unlisted(files)
        return files, problems


def _tags(text: str) -> tuple[str, ...] | None:
    """The tags in a cell; ``None`` if nobody said."""
    names = tuple(name.strip() for name in text.split(TAG_SEPARATOR) if name.strip())
    return (() if names == (NO_TAGS,) else names) if names else None


def _weight(text: str) -> float | None:
    """The weight in a cell, if it is one."""
    try:
        weight = float(text)
    except ValueError:
        return None
    return weight if 0 < weight < math.inf else None
