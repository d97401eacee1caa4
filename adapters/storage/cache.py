"""Derived data (rendered phrases, frozen states) that is made once and found again by what it was made from."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

FEATURES = "features"
"""The folder of the feature store, in which every entry says what it is and has a lock."""


def cache_root() -> Path:
    """``$ETUDE_CACHE``, else ``$XDG_CACHE_HOME/etude``, else ``~/.cache/etude``."""
    if chosen := os.environ.get("ETUDE_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "etude"


def cached_folder(kind: str, key: Mapping[str, Any], build: Callable[[Path], None]) -> Path:
    """The folder that ``build`` fills, built on first use; ``key`` (JSON) must name everything its content depends on.

    It is built under a temporary name and renamed when complete: an interrupted build leaves nothing that could be taken for
    a finished one, and of two concurrent builds the first to finish wins.
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    folder = cache_root() / kind / digest
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{digest}-", dir=folder.parent))
    try:
        build(partial)
        (partial / "key.json").write_text(json.dumps(key, indent=2, sort_keys=True))
        try:
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


@dataclass(frozen=True)
class Kept:
    """A folder in the cache."""

    folder: Path
    what: str
    bytes: int
    used: datetime
    """When it was last used, as far as the file system tells."""
    lock: Path | None = None
    """Locked while somebody computes its content."""

    @property
    def id(self) -> str:
        """Short enough to type."""
        return hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]

    def remove(self) -> bool:
        """Delete it unless somebody computes its content just now; returns whether it is gone."""
        from filelock import FileLock, Timeout

        try:
            if self.lock is None:
                shutil.rmtree(self.folder)
            else:
                with FileLock(self.lock, timeout=0):
                    shutil.rmtree(self.folder)
                self.lock.unlink(missing_ok=True)
        except (OSError, Timeout):
            return False
        return True


def kept() -> list[Kept]:
    """Everything in the cache, the least recently used first."""
    found = []
    for folder in cache_root().glob("*/*"):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        files = [path.stat() for path in folder.rglob("*") if path.is_file()]
        used = datetime.fromtimestamp(max((file.st_mtime for file in files), default=folder.stat().st_mtime))
        what, lock = folder.parent.name.replace("_", " "), None
        if folder.parent.name == FEATURES:
            what, lock = _about(folder), folder.with_suffix(".lock")
        found.append(Kept(folder, what, sum(file.st_size for file in files), used, lock))
    return sorted(found, key=lambda item: item.used)


def _about(folder: Path) -> str:
    try:
        details = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "incomplete"
    return ", ".join(f"{name} {value}" for name, value in details.items())
