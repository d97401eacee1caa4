"""TextGrids of Praat (Boersma & Weenink), long and short."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from etude.adapters.annotations import Annotation, Mark
from etude.adapters.errors import UserError
from etude.adapters.formats import Contents, Format, Origin, Reading
from etude.adapters.formats._parts.text import beginning, one_line, read_text, to_number
from etude.adapters.formats._parts.tiers import Tier, contents, tiers_of

TOKEN = re.compile(r'"((?:[^"]|"")*)"|(?<!\S)(<\w+>|[-+]?\d[\d.eE+-]*)(?!\S)|(?<!\S)!.*')
"""What Praat reads of a text file: strings, flags and numbers that stand alone; everything else explains it to people."""
INTERVALS, POINTS = "IntervalTier", "TextTier"


class TextGrid(Format):
    """A tier of classes, and one of each value that is known, in milliseconds; what overlaps is in tiers with a number."""

    suffix = ".TextGrid"

    def recognises(self, start: bytes) -> bool:
        """It says so in its first lines, even if the rest is no text."""
        head = beginning(start)[:200]
        return head.startswith(("File type", '"oo', "ooBinaryFile")) and "TextGrid" in head

    def read(self, path: Path, how: Reading) -> Contents:
        """See :class:`Format`. An interval without a text is silence."""
        with path.open("rb") as file:
            if file.read(12) == b"ooBinaryFile":
                raise UserError("is a binary TextGrid", fix="save it as a text file in Praat")
        tokens = _Tokens(read_text(path))
        tokens.skip(4)
        tiers = []
        for _ in range(tokens.count() if tokens.next() == "<exists>" else 0):
            kind = tokens.text()
            tiers.append(tier := Tier(tokens.text()))
            tokens.skip(2)
            for _ in range(tokens.count()):
                start = tokens.number()
                end = tokens.number() if kind == INTERVALS else start
                if text := one_line(tokens.text()):
                    tier.add(Mark(start, end, text))
        return contents(tiers, how, "a TextGrid")

    def write(self, path: Path, annotation: Annotation, origin: Origin) -> None:
        """See :class:`Format`. A tier in which everything is a point in time is one of points."""
        tiers = tiers_of(annotation, origin.duration) or [Tier("empty")]
        end = max([round(origin.duration, 3), *(mark.end for tier in tiers for mark, _ in tier.marks)])
        lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end!r}"]
        lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
        for place, tier in enumerate(tiers, start=1):
            kind, name, rows = _rows([mark for mark, _ in tier.marks], end)
            lines += [f"    item [{place}]:", f'        class = "{kind}"', f"        name = {_quoted(tier.name)}"]
            lines += ["        xmin = 0", f"        xmax = {end!r}", f"        {name}: size = {len(rows)}"]
            for index, row in enumerate(rows, start=1):
                lines += [f"        {name} [{index}]:", *(f"            {line}" for line in row)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


class _Tokens:
    """The tokens of a file one after another. Raises :class:`UserError` where another one is due."""

    def __init__(self, text: str) -> None:
        self._found = (match for match in TOKEN.finditer(text) if not match[0].startswith("!"))
        self._last: re.Match[str] | None = None

    def next(self) -> str:
        """The next one, strings in quotes; empty at the end."""
        self._last = next(self._found, None)
        return self._last[0] if self._last else ""

    def skip(self, count: int) -> None:
        """Leave out what explains nothing."""
        for _ in range(count):
            self.next()

    def text(self) -> str:
        """The next one, a string."""
        found = self.next()
        return found[1:-1].replace('""', '"') if found.startswith('"') else self._other("a text in quotes")

    def number(self) -> float:
        """The next one, a number."""
        value = to_number(self.next())
        return self._other("a number") if value is None else value

    def count(self) -> int:
        """The next one, of how much there is."""
        value = self.number()
        return int(value) if value.is_integer() and value >= 0 else self._other("a count")

    def _other(self, due: str) -> NoReturn:
        place = f":{self._last.string.count(chr(10), 0, self._last.start()) + 1}" if self._last else ""
        found = f"has {one_line(self._last[0])[:40]} where {due} is due" if self._last else f"ends where {due} is due"
        raise UserError(found, where=place, fix="save it again in Praat")


def _rows(marks: Sequence[Mark], end: float) -> tuple[str, str, list[list[str]]]:
    """The kind of a tier, what is in it and how: points, or intervals from 0 to ``end`` without a gap, silence included."""
    if marks and all(mark.start == mark.end for mark in marks):
        return POINTS, "points", [[f"number = {mark.start!r}", f"mark = {_quoted(mark.text)}"] for mark in marks]
    found = []
    now = 0.0
    for mark in (*marks, Mark(end, end, "")):
        if mark.start > now:
            found.append(Mark(now, mark.start, ""))
        found += [mark] if mark.end > mark.start else []
        now = mark.end
    return INTERVALS, "intervals", [[f"xmin = {m.start!r}", f"xmax = {m.end!r}", f"text = {_quoted(m.text)}"] for m in found]


def _quoted(text: str) -> str:
    return '"{}"'.format(text.replace('"', '""'))
