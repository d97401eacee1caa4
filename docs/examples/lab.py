"""Label files as MIREX has them: start and end in seconds and a label, separated by spaces."""

from __future__ import annotations

from pathlib import Path

from etude.adapters.annotations import Annotation
from etude.adapters.formats import Format, Origin


class Lab(Format):
    """One line per record of any kind, in the order of time."""

    suffix = ".lab"

    def write(self, path: Path, annotation: Annotation, origin: Origin) -> None:
        """See :class:`Format`."""
        marks = [mark for kind, layer in annotation.by_kind() for mark in kind.marks(layer, origin.duration)]
        lines = [f"{mark.start:.4f} {mark.end:.4f} {mark.text}\n" for mark in sorted(marks, key=lambda mark: mark.start)]
        path.write_text("".join(lines), encoding="utf-8")
