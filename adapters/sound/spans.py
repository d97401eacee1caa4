"""Where an isolated note sounds in its file; of many files found once, by decoding them, and kept in the cache."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from etude.adapters.errors import Problem, UserError
from etude.adapters.sound.audio import AudioInfo, probe, read_window
from etude.adapters.storage.cache import cached_folder

FLOOR_DB = -34.0
"""A note sounds from the first to the last frame above this level, relative to its loudest frame."""
FRAME_SECONDS = 0.005
VERSION = 1
"""Part of the cache key; raise it when notes are found otherwise."""


@dataclass(frozen=True, slots=True)
class NoteSpan:
    """A file and the seconds between which its note sounds."""

    info: AudioInfo
    onset: float
    offset: float


@dataclass(frozen=True, slots=True)
class Sound:
    """Samples ``[samples]`` of peak 1, and the samples between which the note sounds."""

    samples: NDArray[np.float32]
    onset: int
    offset: int


def sound(path: Path, sample_rate: int) -> Sound:
    """Read one note and find where it sounds. Raises :class:`UserError` for unreadable or silent audio."""
    info = probe(path)
    samples = read_window(path, 0, info.samples_at(sample_rate), sample_rate, info)
    if not np.any(samples):
        raise UserError("is silent", where=str(path), fix="remove its row")
    return trim(samples, sample_rate)


def trim(samples: NDArray[np.float32], sample_rate: int) -> Sound:
    """Find where ``samples`` ``[samples]``, not all 0, sound."""
    peak = float(np.abs(samples).max())
    hop = round(FRAME_SECONDS * sample_rate)
    frames = np.pad(samples, (0, -len(samples) % hop)).reshape(-1, hop).astype(np.float64)
    level = np.sqrt(np.einsum("ij,ij->i", frames, frames) / hop)
    (sounding,) = np.nonzero(level > level.max() * 10 ** (FLOOR_DB / 20))
    return Sound(samples / np.float32(peak), int(sounding[0]) * hop, min(len(samples), int(sounding[-1] + 1) * hop))


def note_spans(paths: Sequence[Path]) -> tuple[list[NoteSpan], list[Problem]]:
    """The span of each file, in order; or every problem (unreadable, truncated, silent files) and no spans.

    A file that was changed since (by its size and time) is decoded again, together with the others of the list.
    """
    stats = [path.stat() for path in paths]
    stamps = [f"{os.path.abspath(path)}:{stat.st_size}:{stat.st_mtime_ns}" for path, stat in zip(paths, stats, strict=True)]
    key = {
        "files": hashlib.sha256("\n".join(stamps).encode()).hexdigest(),
        "floor": FLOOR_DB,
        "frame": FRAME_SECONDS,
        "version": VERSION,
    }
    try:
        folder = cached_folder("note_spans", key, lambda folder: _write(folder, paths))
    except UserError as error:
        return [], list(error.problems)
    rows = json.loads((folder / "spans.json").read_text(encoding="utf-8"))
    return [NoteSpan(AudioInfo(*info), onset, offset) for info, onset, offset in rows], []


def _write(folder: Path, paths: Sequence[Path]) -> None:
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(_measured, paths))
    if problems := [problem for item in found if isinstance(item, list) for problem in item]:
        raise UserError(problems)
    (folder / "spans.json").write_text(json.dumps(found), encoding="utf-8")


def _measured(path: Path) -> tuple[tuple[int, int, int], float, float] | list[Problem]:
    try:
        info = probe(path)
        found = sound(path, info.sample_rate)
    except UserError as error:
        return list(error.problems)
    rate = info.sample_rate
    return (info.frames, rate, info.channels), found.onset / rate, found.offset / rate
