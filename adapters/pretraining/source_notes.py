"""Recorded notes as something to learn from: their instrument and pitch, never their technique."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from etude.adapters.datasets._parts.recorded_notes import parse_rows, select_rows
from etude.adapters.errors import UserError
from etude.adapters.recipe.pretraining import RecordingsConfig
from etude.adapters.sound.audio import probe, read_window

LEAD_SECONDS = 0.5
"""Silence that a recording may begin with without losing anything of the longest note."""
SILENT = 1e-3
"""Peak up to which a note counts as silent."""


@dataclass(frozen=True, slots=True)
class SourceNote:
    """One recorded note; MIDI pitch or ``None`` where it is not known."""

    path: Path
    instrument: str
    pitch: float | None
    source: str
    licence: str


def source_notes(config: RecordingsConfig, longest: float) -> list[SourceNote]:
    """The notes that ``config`` selects, of which up to ``longest`` seconds are going to be drawn.

    Every file is decoded once, so that none fails hours later. Raises :class:`UserError` with every problem of them.
    """
    table = Path(config.notes)
    rows, problems = select_rows(table, {"source": config.sources}, "instrument")
    notes, faults = parse_rows(table, rows, needed="instrument")
    problems += faults
    found: list[SourceNote] = []
    for note in notes:
        if note.split != config.split:
            continue
        try:
            _check(note.path, longest)
        except UserError as error:
            problems += error.problems
        found.append(SourceNote(note.path, note.instrument, note.pitch, note.source, note.licence))
    if problems:
        raise UserError(problems)
    if not found:
        raise UserError("no note is left to learn from", where=str(table), fix="widen recordings.sources")
    return found


def _check(path: Path, longest: float) -> None:
    """Raise :class:`UserError` for audio that cannot be decoded to its end, and for what :func:`draw` would find silent."""
    info = probe(path)
    samples = read_window(path, 0, info.frames, info.sample_rate, info)
    if np.abs(samples).max(initial=0) <= SILENT:
        raise UserError("is silent", where=str(path), fix="remove its row")
    if np.abs(samples[: round((longest + LEAD_SECONDS) * info.sample_rate)]).max() <= SILENT:
        fix = "cut off the silence before the note"
        raise UserError(f"is silent for its first {longest + LEAD_SECONDS:g} s", where=str(path), fix=fix)


def draw(
    notes: Sequence[SourceNote], sample_rate: int, longest: float, rng: Generator
) -> tuple[SourceNote, NDArray[np.float32]]:
    """One of ``notes`` and its samples ``[samples]``, long enough for ``longest`` seconds after a short silence."""
    note = notes[int(rng.integers(len(notes)))]
    info = probe(note.path)
    count = min(info.samples_at(sample_rate), round((longest + LEAD_SECONDS) * sample_rate))
    return note, read_window(note.path, 0, count, sample_rate, info)
