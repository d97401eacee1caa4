"""A file format of its own: a line per record, whatever the kind."""

from __future__ import annotations

from pathlib import Path

from etude.adapters.annotations import Annotation
from etude.adapters.formats import Format, Origin


class Listing(Format):
    """Records as Python writes them."""

    suffix = ".lst"

    def write(self, path: Path, annotation: Annotation, origin: Origin) -> None:
        """See :class:`Format`."""
        path.write_text("".join(f"{record}\n" for layer in annotation.values() for record in layer), encoding="utf-8")
