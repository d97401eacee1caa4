"""Replacing a file or a folder as a whole: readers see the old one or the new one, never half of it and never none."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from etude.adapters.errors import UserError


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; renamed to ``path`` when the block ends well, deleted otherwise.

    An :class:`OSError` in the block (full disk, no permission) becomes a :class:`UserError`; ``path`` is then as it was.
    """
    partial = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        try:
            yield partial
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot be written: {error.strerror or error}", where=str(path), fix="free some space or name another place"
        ) from None


def replace_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write ``files`` (name -> content) beside ``folder`` and swap them in when all of them are safely on disk.

    Other files that ``folder`` already holds stay in it. Raises :class:`UserError`, with ``folder`` as it was, when the disk is
    full or refuses.
    """
    folder = folder.expanduser().resolve()
    partial = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    try:
        partial.mkdir(parents=True)
        for name, content in files.items():
            with (partial / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if folder.exists():
            shutil.copymode(folder, partial)
            _swap(partial, folder)
        else:
            partial.rename(folder)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if not isinstance(error, OSError):
            raise
        size = sum(map(len, files.values())) / 1e6
        raise UserError(
            f"cannot be written: {error.strerror or error}; it needs {size:.2f} MB",
            where=str(folder),
            fix="free some space or name another folder; what was there is unchanged",
        ) from None
    if partial.exists():  # now the old folder; never delete what was not written here
        for entry in partial.iterdir():
            if entry.name not in files:
                entry.rename(folder / entry.name)
        shutil.rmtree(partial, ignore_errors=True)


def _swap(new: Path, old: Path) -> None:
    """Exchange two folders: in one step where the system can, else in renames that are undone if one fails."""
    if not old.is_dir():
        raise NotADirectoryError(0, "a file of that name is in the way")
    if _exchange(new, old):
        return
    aside = new.with_name(f"{new.name}-old")
    old.rename(aside)
    try:
        new.rename(old)
    except BaseException:
        aside.rename(old)
        raise
    aside.rename(new)


def _exchange(one: Path, other: Path) -> bool:
    if sys.platform not in ("linux", "darwin"):
        return False
    libc, paths = ctypes.CDLL(None), (os.fsencode(one), os.fsencode(other))
    at_cwd, swap = -100, 2  # AT_FDCWD; RENAME_EXCHANGE on Linux, RENAME_SWAP on macOS
    if sys.platform == "darwin":
        return bool(libc.renamex_np(*paths, swap) == 0)
    return hasattr(libc, "renameat2") and bool(libc.renameat2(at_cwd, paths[0], at_cwd, paths[1], swap) == 0)
