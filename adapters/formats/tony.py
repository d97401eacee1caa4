"""Notes as Tony (Mauch et al., TENOR 2015) and Sonic Visualiser export them: tables without a header."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from etude.adapters.annotations import Mark, kind_of
from etude.adapters.errors import Problem
from etude.adapters.formats import Contents, Entry, Format, Reading
from etude.adapters.formats._parts import pitch
from etude.adapters.formats._parts.dialect import separator
from etude.adapters.formats._parts.headerless import is_notes
from etude.adapters.formats._parts.text import beginning, read_text, to_number


class Tony(Format):
    """Time, value, duration and perhaps, by Sonic Visualiser, level and label, separated by commas or tabs."""

    suffix = ".csv"

    def recognises(self, start: bytes) -> bool:
        """Text whose lines have three numbers at least."""
        return is_notes(beginning(start))

    def read(self, path: Path, how: Reading) -> Contents:
        """See :class:`Format`. Values are Hz, unless there is none that is not a MIDI number."""
        kind, found = kind_of(how.kind), Contents()
        lines = [(place, line) for place, line in enumerate(read_text(path).split("\n"), start=1) if line.strip()]
        mark = separator(lines[0][1]) if lines else ","
        rows = [(f":{place}", [cell.strip(' "') for cell in line.split(mark, 4)]) for place, line in lines]
        hertz = _in_hertz([row for _, row in rows])
        for place, row in rows:
            start, value, duration = (to_number(cell) for cell in [*row, "", "", ""][:3])
            midi = pitch.of_hz(value) if hertz and value is not None else value
            if start is None or midi is None or duration is None:
                what = f"has no time, pitch and duration: {mark.join(row)[:60]!r}"
                found.problems.append(Problem(what, place, "correct it, or remove the line"))
                continue
            text = next((cell for cell in row[3:] if to_number(cell) is None), "")
            found.entries.append(Entry(kind.cells(Mark(start, start + duration, text, midi)), place))
        unit = "Hz" if hertz else "MIDI number"
        found.notices.append(Problem(f"is read as time, {unit} and duration", fix="check that it is so"))
        return found


def _in_hertz(rows: Sequence[Sequence[str]]) -> bool:
    """Whether values are Hz, as Tony always has them; it has no column but the three."""
    values = [row[1] for row in rows if len(row) > 1]
    if all(len(row) < 4 for row in rows):
        return not all((value := to_number(text)) is None or (value <= pitch.HIGHEST and value.is_integer()) for text in values)
    return pitch.in_hertz(values, "the second column")
