"""What the shell completes: recipes and adapter folders, by a look at file names only."""

from __future__ import annotations

from glob import escape, glob
from pathlib import Path

from etude.recipes import packaged


def recipe_names(incomplete: str) -> list[str]:
    """Packaged recipes."""
    return [name for name in packaged() if name.startswith(incomplete)]


def recipes(incomplete: str) -> list[str]:
    """Packaged recipes, and recipe files here and one folder down."""
    return [*recipe_names(incomplete), *_found(incomplete, "*.yaml")]


def adapters(incomplete: str) -> list[str]:
    """Adapter folders here and one folder down."""
    return [str(Path(file).parent) for file in _found(incomplete, "*/adapter.json")]


def _found(incomplete: str, pattern: str) -> list[str]:
    start = escape(incomplete)
    return sorted({*glob(start + pattern), *glob(f"{start}*/{pattern}")})
