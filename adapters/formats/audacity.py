"""Label tracks of Audacity."""

from __future__ import annotations

from pathlib import Path

from etude.adapters.annotations import Annotation
from etude.adapters.formats import Format, Origin


class Audacity(Format):
    """Start, end and ``class pitch``, separated by tabs; what holds for the whole recording comes first, in one label."""

    suffix = ".txt"

    def write(self, path: Path, annotation: Annotation, origin: Origin) -> None:
        """See :class:`Format`."""
        labels: list[tuple[float, float, str]] = []
        for kind, layer in sorted(annotation.by_kind(), key=lambda pair: not pair[0].whole):
            marks = kind.marks(layer, origin.duration)
            if kind.whole and marks:
                labels.append((0.0, origin.duration, ", ".join(mark.text for mark in marks)))
            elif marks:
                labels += [(m.start, m.end, m.text if m.pitch is None else f"{m.text} {m.pitch:g}") for m in marks]
        lines = [f"{start:.6f}\t{end:.6f}\t{' '.join(text.split())}\n" for start, end, text in labels]
        path.write_text("".join(lines), encoding="utf-8")
