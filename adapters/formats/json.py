"""JSON, with everything that is known."""

from __future__ import annotations

import json
from pathlib import Path

from etude.adapters import registry
from etude.adapters.annotations import Annotation, kind_of
from etude.adapters.formats import Format, Origin


class Json(Format):
    """One object: recording, duration, adapter, and the records of each kind with every field; unknown ones are ``null``."""

    suffix = ".json"

    def write(self, path: Path, annotation: Annotation, origin: Origin) -> None:
        """See :class:`Format`."""
        # Kinds of other distributions are there if they were found: what else is installed must not change a result.
        kinds = sorted({*registry.own_names("annotations"), *annotation})
        document = {
            "recording": origin.source.name,
            "duration": origin.duration,
            "adapter": origin.adapter,
            **{name: kind_of(name).plain(getattr(annotation, name)) for name in kinds},
        }
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
