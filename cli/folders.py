"""Folders that a command will write to, tried before the work begins."""

from __future__ import annotations

import os
from pathlib import Path

from etude.adapters.errors import UserError


def check_writable(folder: Path, option: str) -> None:
    """Raise :class:`UserError` where ``folder``, or the nearest one above it that exists, does not take new files.

    Nothing is created yet. ``option`` is what the user named it with.
    """
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise UserError("is a file, not a folder", where=f"{option} {nearest}", fix="name another folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(
            "cannot be written to", where=f"{option} {nearest}", fix="change its permissions or name another folder"
        )


def make_folder(folder: Path) -> None:
    """Create ``folder`` and those above it. Raises :class:`UserError` when the system refuses."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot be created: {error.strerror}", where=str(folder), fix="name another folder") from None
