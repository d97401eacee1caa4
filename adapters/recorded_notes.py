"""Isolated recorded notes: a CSV that lists one file per note, and where in its file a note sounds."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from etude.adapters.annotations import Note
from etude.adapters.audio import probe, read_window
from etude.adapters.datasets import SPLITS, Split
from etude.adapters.datasets.manifest import SPLIT_NAMES
from etude.adapters.errors import Problem, UserError, nearest

COLUMNS = ("path", "source", "instrument", "technique", "midi", "split", "licence")
FLOOR_DB = -34.0
"""A note sounds from the first to the last frame above this level, relative to its loudest frame."""
FRAME_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class RecordedNote:
    """One row of the CSV; ``pitch`` is a MIDI number or not known."""

    path: Path
    split: Split
    technique: str
    pitch: float | None
    licence: str


@dataclass(frozen=True, slots=True)
class Sound:
    """Samples ``[samples]`` of peak 1, and the samples between which the note sounds."""

    samples: NDArray[np.float32]
    onset: int
    offset: int


def parse(folder: Path, row: dict[str, str]) -> RecordedNote:
    """One row of the CSV in ``folder``. Raises :class:`UserError` with every problem of it."""
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
    return RecordedNote(folder / row["path"], SPLIT_NAMES[split], row["technique"], pitch, row["licence"] or "unknown")


def sound(path: Path, sample_rate: int) -> Sound:
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
    return Sound(samples / np.float32(peak), int(sounding[0]) * hop, min(len(samples), int(sounding[-1] + 1) * hop))
