"""Names of classes that a slip of the keyboard tells apart."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable


def alike(names: Iterable[str | None]) -> list[tuple[str, ...]]:
    """Groups of different names that differ only in case, spaces or Unicode form, each sorted; ``None`` is no name."""
    groups: dict[str, set[str]] = {}
    for name in dict.fromkeys(filter(None, names)):
        folded = "".join(unicodedata.normalize("NFKC", name).casefold().split())
        groups.setdefault(unicodedata.normalize("NFKC", folded), set()).add(name)
    return [tuple(sorted(group)) for group in groups.values() if len(group) > 1]
