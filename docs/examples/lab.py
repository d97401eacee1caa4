"""Label files as MIREX has them: start and end in seconds and a label, separated by spaces."""

from __future__ import annotations

import re
from pathlib import Path

from etude.adapters.annotations import Annotation, Mark, kind_of
from etude.adapters.errors import Problem
from etude.adapters.formats import Contents, Entry, Format, Origin, Reading

LINE = re.compile(r"(\d+\.?\d*) +(\d+\.?\d*) +(\S.*)")


class Lab(Format):
    """One line per record of any kind, in the order of time."""

    suffix = ".lab"

    def recognises(self, start: bytes) -> bool:
        """Whether the first line is one."""
        return LINE.match(start.decode(errors="replace").partition("\n")[0]) is not None

    def read(self, path: Path, how: Reading) -> Contents:
        """See :class:`Format`."""
        found = Contents()
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            if match := LINE.fullmatch(line):
                mark = Mark(float(match[1]), float(match[2]), match[3])
                found.entries.append(Entry(kind_of(how.kind).cells(mark), f":{number}"))
            else:
                found.problems.append(Problem("has no start, end and label", f":{number}", "correct or remove it"))
        return found

    def write(self, path: Path, annotation: Annotation, origin: Origin) -> None:
        """See :class:`Format`."""
        marks = [mark for kind, layer in annotation.by_kind() for mark in kind.marks(layer, origin.duration)]
        lines = [f"{mark.start:.4f} {mark.end:.4f} {mark.text}\n" for mark in sorted(marks, key=lambda mark: mark.start)]
        path.write_text("".join(lines), encoding="utf-8")
