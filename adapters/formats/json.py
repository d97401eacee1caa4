"""JSON, with everything that is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from etude.adapters import registry
from etude.adapters.annotations import Annotation, kind_of
from etude.adapters.errors import Problem, UserError
from etude.adapters.formats import Contents, Entry, Format, Origin, Reading
from etude.adapters.formats._parts.documents import JAMS_KEYS, first_key, read_object


class Json(Format):
    """One object: recording, duration, adapter, and the records of each kind with every field; unknown ones are ``null``."""

    suffix = ".json"

    def recognises(self, start: bytes) -> bool:
        """An object, unless it is in JAMS."""
        return first_key(start) not in ("", *JAMS_KEYS)

    def read(self, path: Path, how: Reading) -> Contents:
        """See :class:`Format`. Kinds that nobody annotated are ``null`` or not there."""
        found = Contents()
        document = read_object(path)
        layers = {name: document[name] for name in registry.names("annotations") if document.get(name) is not None}
        if not layers:
            fix = f"it has none of the keys {', '.join(registry.names('annotations'))}"
            raise UserError("is JSON, but no annotation that etude wrote", fix=fix)
        for name, layer in layers.items():
            if not isinstance(layer, list):
                found.problems.append(Problem(f"{name} is no list", fix="export the annotation again"))
                continue
            found.kinds.append(name)
            for index, record in enumerate(layer):
                place = f", {name}[{index}]"
                if isinstance(record, dict) and all(isinstance(value, str | int | float | None) for value in record.values()):
                    found.entries.append(Entry(kind_of(name).plain_cells(record), place, name))
                else:
                    what = "is no record: an object of texts and numbers"
                    found.problems.append(Problem(what, place, "correct or remove it"))
        return found

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
