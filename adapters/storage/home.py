"""The folder that something was made in, told by what was made as nothing but how far above itself it lies."""

from __future__ import annotations

import os
from pathlib import Path


def steps_up(home: Path, folder: Path) -> str:
    """``../..`` from ``folder`` to the folder ``home`` above it; empty when ``folder`` does not lie in it."""
    home, folder = home.resolve(), folder.resolve()
    return Path(os.path.relpath(home, folder)).as_posix() if folder.is_relative_to(home) else ""


def home_above(folder: Path, steps: str) -> Path | None:
    """The folder that ``steps`` of :func:`steps_up` lead to now; ``None`` for none, and for what leads down or elsewhere."""
    return (folder.resolve() / steps).resolve() if steps and set(Path(steps).parts) <= {".."} else None
