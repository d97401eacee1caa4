"""JSON, with everything that is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from etude.adapters import registry
from etude.adapters.annotations import Annotation, kind_of
from etude.adapters.formats import Format, Origin


class Json(Format):
    """One object: recording, duration, adapter, and the records of each kind with every field; unknown ones are ``null``."""

    suffix = ".json"

    def write(self, path: Path, annotation: Annotation, origin: Origin) -> None:
        """See :class:`Format`."""
        text = json.dumps(document(annotation, origin), indent=2, ensure_ascii=False, allow_nan=False)
        path.write_text(text + "\n", encoding="utf-8")


def document(annotation: Annotation, origin: Origin) -> dict[str, Any]:
    """What the file holds, as JSON has it."""
    # Kinds of other distributions are there if they were found: what else is installed must not change a result.
    kinds = sorted({*registry.own_names("annotations"), *annotation})
    return {
        "recording": origin.source.name,
        "duration": origin.duration,
        "adapter": origin.adapter,
        **{name: kind_of(name).plain(getattr(annotation, name)) for name in kinds},
    }
