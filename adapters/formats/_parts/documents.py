"""JSON that is not trusted."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from etude.adapters.errors import UserError
from etude.adapters.formats._parts.text import beginning, read_text

JAMS_KEYS = ("annotations", "file_metadata", "sandbox")


def first_key(start: bytes) -> str:
    """The first key of the object that a JSON file begins with; empty where it does not."""
    match = re.match(r'\{\s*"(\w*)"\s*:', beginning(start))
    return match[1] if match else ""


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises :class:`UserError` for anything else, :class:`OSError` where it cannot be read."""
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"is faulty JSON: {error}", fix="save it again in the program that wrote it") from None
    if not isinstance(found, dict):
        raise UserError("is JSON, but no object", fix="save it again in the program that wrote it")
    return found
