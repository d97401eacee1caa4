"""Where each of many isolated notes sounds in its file: found once, by decoding it, and kept in the cache."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from etude.adapters.audio import AudioInfo, probe
from etude.adapters.cache import cached_folder
from etude.adapters.errors import Problem, UserError
from etude.adapters.recorded_notes import FLOOR_DB, FRAME_SECONDS, sound

VERSION = 1
"""Part of the cache key; raise it when notes are found otherwise."""


@dataclass(frozen=True, slots=True)
class NoteSpan:
    """A file and the seconds between which its note sounds."""

    info: AudioInfo
    onset: float
    offset: float


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
