"""What people call the columns of a table, and how they write times and pitches in them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from etude.adapters.annotations import Kind
from etude.adapters.errors import Problem, UserError, nearest
from etude.adapters.formats._parts import pitch
from etude.adapters.formats._parts.dialect import Table
from etude.adapters.formats._parts.text import listed, to_number

ALIASES: dict[str, tuple[str, ...]] = {
    "onset_time": ("onset", "start", "start_time", "begin", "begin_time", "time"),
    "offset_time": ("offset", "end", "end_time", "stop", "stop_time"),
    "technique": ("techniques", "label", "labels", "ipt", "playing_technique"),
    "tag": ("tags", "label", "labels"),
    "pitch": ("pitches", "midi", "midi_pitch", "pitch_midi", "midi_note", "note_number"),
    "instrument": ("instruments",),
    "confidence": ("probability",),
}
"""Column of a kind -> other names for it, folded."""
DURATIONS = ("duration", "dur")
HERTZ = ("hz", "freq", "frequency", "f0", "pitch_hz", "freq_hz", "frequency_hz", "f0_hz")
VAGUE = ("note", "notes", "value")
"""Pitches, in one unit or the other, where there is nothing else in the column."""
DURATION, FREQUENCY = "duration in s", "frequency in Hz"
"""Columns in place of ``offset_time`` and ``pitch``; no kind has any of this name."""
OPTIONAL = ("instrument", "confidence")
"""Columns that a kind may read although no CSV must have them."""
TIMES = ("onset_time", "offset_time", "time", DURATION)
CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d{1,2}(?:\.\d*)?)")
MISSPELT = 0.8
"""How like a column another name is that is taken for a slip (:func:`difflib.get_close_matches`)."""


def fold(name: str) -> str:
    """A name without case, and without the unit of seconds: ``Onset (s)`` is ``onset``."""
    return re.sub(r"_(s|sec|secs|seconds)$", "", re.sub(r"\W+", "_", name.casefold()).strip("_"))


def column_names(table: Table, kind: Kind, given: Mapping[str, str]) -> dict[str, str]:
    """What the header says -> the column of ``kind`` that it is; ``given`` are columns that a user has said the names of.

    Raises :class:`UserError` for columns that are missing, misspelt or in doubt, all at once.
    """
    named = [name for name in table.header if name]
    folded = {name: fold(name) for name in named}
    problems = [missing(name, named) for name in given.values() if name not in named]
    names = {name: column for column, name in given.items() if name in named}
    known = set(given)
    wanted = [column for column in dict.fromkeys([*kind.columns, *OPTIONAL]) if column not in given]
    sources: list[tuple[str, tuple[str, ...], str]] = [(column, (column,), column) for column in wanted]
    sources += [(column, ALIASES.get(column, ()), column) for column in wanted]
    sources += [("offset_time", DURATIONS, DURATION), ("pitch", HERTZ, FREQUENCY), ("pitch", VAGUE, "")]
    for column, others, read in sources:
        found = [name for name in named if name not in names and folded[name] in others] if column in wanted else []
        if others is VAGUE:
            found = [name for name in found if all(pitch.of_text(text) is not None for text in _filled(table, name))]
        if not found or column in known:
            continue
        name = column if column in found else found[0]
        if len(found) > 1 and name != column:
            fix = f"name it in data.columns, as in {{{column}: {name}}}, or rename the others"
            problems.append(Problem(f"has {listed(found)}, each of which may be the column '{column}'", ":1", fix))
        if others is VAGUE:
            read = FREQUENCY if pitch.in_hertz(_filled(table, name), f"'{name}'") else "pitch"
        names[name] = read
        known.add(column)
        if name != column:
            table.read_as.append(f"'{name}' as {column}" + (" in Hz" if read == FREQUENCY else ""))
    lacking = [column for column in kind.required if column not in known]
    lacking += kind.some_of[:1] if not known.intersection(kind.some_of) else []
    unknown = {folded[name] for name in named if name not in names}
    slips = [c for c in kind.columns if c not in (*known, *lacking) and get_close_matches(c, unknown, 1, MISSPELT)]
    problems += [missing(column, named) for column in (*lacking, *slips)]
    if problems:
        raise UserError(problems)
    return names


def _filled(table: Table, name: str) -> list[str]:
    return [cells[name] for _, cells in table.rows if cells[name]]


def missing(column: str, header: Sequence[str]) -> Problem:
    """That a header lacks a column."""
    named = [name for name in header if name]
    return Problem(f"lacks the column '{column}'", ":1", nearest(column, named) if named else "the header line is empty")


def convert(rows: Sequence[dict[str, str]]) -> list[str]:
    """Make the cells of all rows, by column, seconds and MIDI numbers; what is neither stays. Returns what else there was."""
    columns = set(rows[0] if rows else ())
    clocks = [column for column in TIMES if column in columns and any(":" in cells[column] for cells in rows)]
    for column in clocks:
        for cells in rows:
            cells[column] = _seconds(cells[column])
    if DURATION in columns:
        for cells in rows:
            start, duration = to_number(cells["onset_time"]), to_number(cells[DURATION])
            cells["offset_time"] = cells[DURATION] if start is None or duration is None else repr(start + duration)
    if FREQUENCY in columns:
        for cells in rows:
            midi = pitch.of_hz(to_number(cells[FREQUENCY]) or 0.0)
            cells["pitch"] = repr(midi) if midi is not None else cells[FREQUENCY] and f"{cells[FREQUENCY]} Hz"
    named = [cells for cells in rows if pitch.of_name(cells.get("pitch", "")) is not None]
    if pitch.german([cells["pitch"] for cells in named]):
        named = []
    for cells in named:
        cells["pitch"] = repr(pitch.of_name(cells["pitch"]))
    return ["times as minutes:seconds"] * bool(clocks) + [pitch.NAMES_READ] * bool(named)


def _seconds(cell: str) -> str:
    """A time as ``m:s`` or ``h:m:s`` in seconds; another cell as it is."""
    match = CLOCK.fullmatch(cell)
    if not match or float(match[3]) >= 60 or (match[1] and int(match[2]) >= 60):
        return cell
    return repr(round(int(match[1] or 0) * 3600 + int(match[2]) * 60 + float(match[3]), 6))
