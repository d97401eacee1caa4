"""Label tracks of Audacity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from etude.adapters import registry
from etude.adapters.annotations import Annotation, Kind, Mark, kind_of
from etude.adapters.errors import Problem
from etude.adapters.formats import Contents, Entry, Format, Origin, Reading
from etude.adapters.formats._parts import pitch
from etude.adapters.formats._parts.headerless import is_labels
from etude.adapters.formats._parts.text import beginning, one_line, read_text, to_number

BAND = "\\\t"
"""What a line of frequencies begins with; it concerns the label before it."""
LOWEST = 12.0
"""C0, 16 Hz; lower numbers at the ends of labels count something else."""


class Audacity(Format):
    """Start, end and ``class pitch``, separated by tabs; where only some records have a pitch, in a line of frequencies. Kinds
    without pitches have their name before the class, ``tags: cello``; what holds for the whole recording comes first."""

    suffix = ".txt"

    def recognises(self, start: bytes) -> bool:
        """Text whose first line has two times and perhaps a label, unless it is a table of notes without a header."""
        return is_labels(beginning(start))

    def read(self, path: Path, how: Reading) -> Contents:
        """See :class:`Format`. Of a band of frequencies, the pitch is the geometric mean; numbers at the ends of labels are
        pitches if every label has one."""
        found, kind = Contents(), kind_of(how.kind)
        others = [other for other in map(kind_of, registry.names("annotations")) if _prefix(other) and other is not kind]
        own = []
        for mark, place in _labels(read_text(path), found.problems):
            if its := next((other for other in others if mark.text.startswith(_prefix(other))), None):
                found.entries.append(Entry(its.cells(_without(mark, _prefix(its))), place, its.name))
            else:
                own.append((mark, place))
        named = [(_without(mark, _prefix(kind)), place) for mark, place in own if mark.text.startswith(_prefix(kind))]
        if 0 < len(named) < len(own):
            what = f"has {len(own) - len(named)} labels without '{_prefix(kind)}', not read"
            found.notices.append(Problem(what, fix=f"put '{_prefix(kind)}' before what is one of the {kind.name}"))
        own = named or own
        if kind.pitched and (pitched := _with_pitches([mark for mark, _ in own], how)):
            own = [(mark, place) for mark, (_, place) in zip(pitched, own, strict=True)]
            found.notices.append(Problem("is read with pitches at the ends of the labels", fix="check that it is so"))
        found.entries += [Entry(kind.cells(mark), place) for mark, place in own]
        return found

    def write(self, path: Path, annotation: Annotation, origin: Origin) -> None:
        """See :class:`Format`."""
        lines = []
        for kind, layer in sorted(annotation.by_kind(), key=lambda pair: not pair[0].whole):
            marks = kind.marks(layer, origin.duration)
            everywhere = all(mark.pitch is not None for mark in marks)
            for mark in marks:
                text = f"{_prefix(kind)}{one_line(mark.text)}"
                times = f"{mark.start:.6f}\t{mark.end:.6f}"
                lines.append(f"{times}\t{text} {mark.pitch:g}\n" if everywhere else f"{times}\t{text}\n")
                if mark.pitch is not None and not everywhere:
                    lines.append(BAND + "\t".join([f"{pitch.to_hz(mark.pitch):.6f}"] * 2) + "\n")
        path.write_text("".join(lines), encoding="utf-8")


def _prefix(kind: Kind) -> str:
    """What tells the labels of other kinds from notes."""
    return "" if kind.pitched else f"{kind.name}: "


def _without(mark: Mark, prefix: str) -> Mark:
    return replace(mark, text=mark.text.removeprefix(prefix))


def _labels(text: str, problems: list[Problem]) -> list[tuple[Mark, str]]:
    """The labels in the lines of a file, each with its place; other lines are ``problems``."""
    found: list[tuple[Mark, str]] = []
    for line, content in enumerate(text.split("\n"), start=1):
        first, second, label = [*content.removeprefix(BAND).split("\t", 2), "", ""][:3]
        one, other = to_number(first), to_number(second)
        if one is None or other is None:
            what = f"has no two times: {content[:60]!r}"
            problems += [Problem(what, f":{line}", "correct or remove it")] if content.strip() else []
        elif not content.startswith(BAND):
            found.append((Mark(one, other, label.strip()), f":{line}"))
        elif found and one > 0 < other:  # a band that is open to one side has -1 there
            mark, place = found[-1]
            found[-1] = replace(mark, pitch=pitch.of_hz(math.sqrt(one) * math.sqrt(other))), place
    return found


def _with_pitches(marks: Sequence[Mark], how: Reading) -> list[Mark]:
    """The marks with the pitches that their texts end in; none, where not every text does, or where these are class names."""
    parts = [mark.text.rpartition(" ") for mark in marks]
    pitches = [pitch.of_text(tail) for _, _, tail in parts]
    if how.labels is not None and all(mark.text in how.labels for mark in marks):
        return []
    if any(mark.pitch is not None for mark in marks) or any(p is None or not LOWEST <= p <= pitch.HIGHEST for p in pitches):
        return []
    return [replace(mark, text=head, pitch=p) for mark, (head, _, _), p in zip(marks, parts, pitches, strict=True)]
